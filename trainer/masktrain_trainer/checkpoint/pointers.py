"""`last.json` and `best.json`: what the manifests say, for whoever does not list them. A cache, not the truth.

They move by compare-and-swap only. Where the server does not honour that, a writer that was cut off could move them
back, so there are none and everybody asks the manifests.
"""

import logging
from dataclasses import dataclass
from functools import cached_property

from masktrain_trainer.config import Contract
from masktrain_trainer.stores import Store
from masktrain_trainer.stores.errors import ObjectMissing, PreconditionFailed, StoreError

from .keys import Fence, JobKeys
from .manifest import Manifest

log = logging.getLogger(__name__)
_TRIES = 5


class Pointer(Contract):
    """`attempt` and `run` are the fence of whoever moved it."""

    attempt: int
    run: int
    checkpoint: str


@dataclass
class Pointers:
    """The pointers of a job, as the writer with this fence moves them."""

    store: Store
    keys: JobKeys
    fence: Fence

    @cached_property
    def _work(self) -> bool:
        return self.store.honours_conditional_writes()

    def move(self, name: str, manifest: Manifest) -> None:
        """Point `name` at a checkpoint, unless a writer with a higher fence has. Never raises: it is only a cache."""
        try:
            if self._work and not any(self._try(name, manifest) for _ in range(_TRIES)):
                log.warning("pointer %s stays: other writers move it", name)
        except StoreError as error:
            log.warning("pointer %s stays: %s", name, error)

    def _try(self, name: str, manifest: Manifest) -> bool:
        """Whether nothing is left to do."""
        key = self.keys.pointer(name)
        pointer = Pointer(attempt=self.fence.attempt, run=self.fence.run, checkpoint=manifest.id)
        current, etag = self._read(key)
        if current is not None and (current == pointer or Fence(current.attempt, current.run) > self.fence):
            return True
        try:
            self.store.put(key, pointer.to_json().encode(), if_absent=etag is None, if_match=etag)
        except PreconditionFailed:
            return False
        return True

    def _read(self, key: str) -> tuple[Pointer | None, str | None]:
        try:
            content, etag = self.store.read_with_etag(key)
        except ObjectMissing:
            return None, None
        try:
            return Pointer.model_validate_json(content), etag
        except ValueError:
            return None, etag
