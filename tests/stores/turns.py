"""Several writers whose store operations take turns in an order that a seed decides and can repeat."""

import queue
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from masktrain_trainer.stores import Store

OPERATIONS = {"put", "read", "read_with_etag", "download", "head", "list", "delete", "copy", "discard_unfinished"}


@dataclass
class Turns:
    """Runs each of `writers` in a thread of its own, one store operation of one of them at a time."""

    seed: int
    _go: dict[str, threading.Semaphore] = field(default_factory=dict)
    _arrivals: "queue.Queue[tuple[str, bool]]" = field(default_factory=queue.Queue)
    _errors: dict[str, BaseException] = field(default_factory=dict)

    def run(self, store: Store, writers: Mapping[str, Callable[[Store], None]]) -> dict[str, BaseException]:
        """What each writer that failed raised."""
        choose = random.Random(self.seed)
        self._go = {name: threading.Semaphore(0) for name in writers}
        threads = [threading.Thread(target=self._work, args=(name, store, work)) for name, work in writers.items()]
        for thread in threads:
            thread.start()
        waiting = {name for name, ended in (self._arrivals.get() for _ in writers) if not ended}
        while waiting:
            self._go[chosen := choose.choice(sorted(waiting))].release()
            if self._arrivals.get()[1]:
                waiting.discard(chosen)
        for thread in threads:
            thread.join()
        return self._errors

    def wait(self, name: str) -> None:
        self._arrivals.put((name, False))
        self._go[name].acquire()

    def _work(self, name: str, store: Store, work: Callable[[Store], None]) -> None:
        try:
            work(TakingTurns(store, self, name))
        except Exception as error:  # noqa: BLE001
            self._errors[name] = error
        finally:
            self._arrivals.put((name, True))


class TakingTurns:
    """A store each of whose operations waits for its turn."""

    def __init__(self, store: Store, turns: Turns, name: str) -> None:
        self._store, self._turns, self._name = store, turns, name

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._store, attribute)
        if attribute not in OPERATIONS:
            return found

        def in_turn(*arguments: Any, **options: Any) -> Any:
            self._turns.wait(self._name)
            return list(found(*arguments, **options)) if attribute == "list" else found(*arguments, **options)

        return in_turn
