"""What training, the supervisor and the uploader share: the spool of snapshots, the uploader's status and exit codes.

The spool is a folder in shared memory where the training process leaves snapshots for the uploader. A newer snapshot
replaces a waiting plain one, a best is replaced by a newer best only, and a periodic one or that of a stop by nothing.
The uploader takes one at a time, by renaming it, so that writer and reader never hold the same file. One file that is
no longer needed is kept for the next snapshot: writing over memory that is there already costs half as much as getting
new.
"""

import contextlib
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from pydantic import Field

from masktrain_trainer.config import CheckpointRef, Contract, ExitCode


@dataclass(frozen=True)
class SnapshotMeta:
    """`reason` is interval, epoch, stop or final. `fitness` is set where `epoch` was validated with these weights.

    A `periodic` one is kept for good (training.savePeriod).
    """

    epoch: int
    step: int
    fitness: float | None
    is_best: bool
    reason: str
    periodic: bool = False

    @property
    def at_stop(self) -> bool:
        """Whether the pod is about to go, so that nothing may be stored before this."""
        return self.reason == "stop"


class UploaderStatus(Contract):
    """`pending` counts snapshots that wait or are being stored."""

    best: CheckpointRef | None = None
    last: CheckpointRef | None = None
    store_error: str | None = None
    pending: int = 0
    uploaded: int = 0
    outputs: list[str] = Field(default=[])
    finished: bool = False


class UploaderExit(IntEnum):
    """How the uploader ends. After any other code, a crash, it is worth starting it again."""

    DONE = int(ExitCode.DONE)
    NOTHING_TO_PUBLISH = 65
    """Completing found no model that reads back: another try finds none either."""
    FENCED = int(ExitCode.FENCED)


MOST_SNAPSHOTS = 8
"""So many may lie in the spool at once. With that many a further periodic one waits as a plain one does, so that shared
memory, where batches travel too, does not fill up while the store is away."""

_LAST, _BEST, _PERIODIC, _PERIODIC_BEST, _STOP = ".last", ".best", ".periodic", ".periodic-best", ".stop"
_WAITING = (_LAST, _BEST, _PERIODIC, _PERIODIC_BEST, _STOP)
_TAKEN = ".taken"
_SPARE = "spare"


@dataclass(frozen=True)
class Spool:
    """Files are named `<number>.<kind>` while they wait, and have `.taken` behind that when they are the uploader's."""

    folder: Path

    def unfinished(self) -> Path:
        """The file to write the next snapshot over. There is one writer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "next.tmp"
        if not path.exists():
            # What a writer that was killed half-way has left is written over: nobody reads it before it is published.
            with contextlib.suppress(FileNotFoundError):
                return (self.folder / _SPARE).rename(path)
            path.touch(mode=0o600)
        return path

    def publish(self, unfinished: Path, meta: SnapshotMeta) -> None:
        """Offer the written snapshot, and drop the waiting ones that it makes useless."""
        # Every snapshot holds the whole state, so that a newer one of any kind serves a resume better than a plain one.
        useless = (_LAST, _BEST) if meta.is_best else (_LAST,)
        replaced = [path for path in self.waiting() if path.suffix in useless]
        kind = _kind(meta, crowded=self.pending() - len(replaced) >= MOST_SNAPSHOTS)
        # Offered before the old ones go: a kill in between leaves both, never none.
        unfinished.rename(self.folder / f"{self._next_number():08d}{kind}")
        for path in replaced:
            self.release(path)

    def release(self, path: Path) -> None:
        """Give up a snapshot; nothing may read it any more."""
        with contextlib.suppress(FileNotFoundError):  # the uploader took it in this moment
            path.rename(self.folder / _SPARE)

    def make_room(self) -> None:
        """Free memory at the cost of what a newer snapshot replaces anyway."""
        for path in (self.folder / _SPARE, *(path for path in self.waiting() if path.suffix == _LAST)):
            path.unlink(missing_ok=True)

    def waiting(self) -> list[Path]:
        """In the order in which they are to be stored: oldest first, but that of a stop before all."""
        found = [path for path in self.folder.glob("*") if path.suffix in _WAITING]
        return sorted(found, key=lambda path: (path.suffix != _STOP, path.name))

    def take(self) -> Path | None:
        """The next snapshot to store, now the caller's, to be released; before the oldest waiting one comes what a
        failed or ended uploader had taken, unless a newer one makes it useless.
        """
        for taken in sorted(self.folder.glob(f"*{_TAKEN}")):
            if self._is_useless(taken):
                self.release(taken)
            elif not self._stop_waits():
                return taken
        for path in self.waiting():
            with contextlib.suppress(FileNotFoundError):  # replaced by the writer in this moment
                return path.rename(path.with_name(path.name + _TAKEN))
        return None

    def pending(self) -> int:
        return sum(1 for path in self.folder.glob("*") if path.suffix in (*_WAITING, _TAKEN))

    def _is_useless(self, taken: Path) -> bool:
        kind = Path(taken.stem).suffix
        if kind == _LAST:
            return any(True for _ in self.waiting())
        return kind == _BEST and any(path.suffix in (_BEST, _PERIODIC_BEST) for path in self.waiting())

    def _stop_waits(self) -> bool:
        return any(path.suffix == _STOP for path in self.waiting())

    def _next_number(self) -> int:
        numbers = [int(name) for path in self.folder.glob("*") if (name := path.name.partition(".")[0]).isdigit()]
        return max(numbers, default=0) + 1


def _kind(meta: SnapshotMeta, *, crowded: bool) -> str:
    if meta.at_stop:
        return _STOP
    if meta.periodic and not crowded:
        return _PERIODIC_BEST if meta.is_best else _PERIODIC
    return _BEST if meta.is_best else _LAST
