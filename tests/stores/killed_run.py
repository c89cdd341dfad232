"""A run in a process of its own that ends by SIGKILL at a given change of its store. Imported once, then forked."""

import os
import signal
from pathlib import Path
from typing import Any, Never

from masktrain_trainer.checkpoint.keys import Fence
from masktrain_trainer.config import StoreSpec
from masktrain_trainer.stores import ObjectInfo, Store, open_store
from tests.stores.training_run import Wrapped, artifacts, train

FENCE = Fence(0, 0)
SURVIVED = 3


class KilledAt(Wrapped):
    """Ends the process right before its n-th change of the store, or in the middle of it if that is a file's write."""

    def __init__(self, store: Store, changes: int, *, during: bool) -> None:
        super().__init__(store)
        self.left, self.during = changes, during

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0 and self.during:
            os.fsync = die  # type: ignore[assignment]  # the store syncs a file that is written, and then renames it
        elif self.left < 0:
            die()

    def put(self, key: str, body: bytes | Path, **options: Any) -> ObjectInfo:
        self._count()
        return self.store.put(key, body, **options)

    def copy(self, source: str, destination: str) -> None:
        self._count()
        self.store.copy(source, destination)

    def delete(self, key: str) -> None:
        self._count()
        self.store.delete(key)


def die(*_: object) -> Never:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody survives SIGKILL")


def killed_run(
    uri: str, spec: StoreSpec | None, credentials: Path | None, folder: Path, changes: int, during: bool
) -> Never:
    """Train and complete as `FENCE`, until the kill; exit code `SURVIVED` if it never came."""
    store: Store = KilledAt(open_store(uri, spec, credentials), changes, during=during)
    train(store, folder, FENCE, [10, 20, 30, 40]).finish(artifacts(folder))
    os._exit(SURVIVED)
