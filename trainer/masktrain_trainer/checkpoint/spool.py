"""What training, the supervisor and the uploader share: the spool of snapshots, and the uploader's status.

The spool is a folder in shared memory where the training process leaves snapshots for the uploader. At most two wait,
and the periodic ones: a newer snapshot replaces a waiting one, but an ordinary one never replaces a best, and nothing
replaces a periodic one while there is memory. The uploader takes one at a time, by renaming it, so that writer and
reader never hold the same file. One file that is no longer needed is kept for the next snapshot: writing over memory
that is there already costs half as much as getting new.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from masktrain_trainer.config import CheckpointRef, Contract


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


class UploaderStatus(Contract):
    """`pending` counts snapshots that wait or are being stored."""

    best: CheckpointRef | None = None
    last: CheckpointRef | None = None
    store_error: str | None = None
    pending: int = 0
    uploaded: int = 0
    outputs: list[str] = Field(default=[])
    finished: bool = False


_BEST = ".best"
_LAST = ".last"
_PERIODIC = ".periodic"
_WAITING = (_BEST, _LAST, _PERIODIC)
_TAKEN = ".taken"
_SPARE = "spare"


@dataclass(frozen=True)
class Spool:
    """File names: `<number>.best`, `.last` and `.periodic` wait, the same with `.taken` behind is the uploader's."""

    folder: Path

    def unfinished(self) -> Path:
        """The file to write the next snapshot over. There is one writer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "next.tmp"
        if not path.exists():
            with contextlib.suppress(FileNotFoundError):
                return (self.folder / _SPARE).rename(path)
            path.touch(mode=0o600)
        return path

    def publish(self, unfinished: Path, *, is_best: bool, is_periodic: bool = False) -> None:
        """Offer the written snapshot, and drop the waiting ones that it makes useless."""
        useless = (_LAST, _BEST) if is_best else (_LAST,)
        replaced = [path for path in self.waiting() if path.suffix in useless]
        kind = _PERIODIC if is_periodic else _BEST if is_best else _LAST
        unfinished.rename(self.folder / f"{self._next_number():08d}{kind}")
        for path in replaced:
            self.release(path)

    def release(self, path: Path) -> None:
        """Give up a snapshot; nothing may read it any more."""
        with contextlib.suppress(FileNotFoundError):  # the uploader took it in this moment
            path.rename(self.folder / _SPARE)

    def make_room(self) -> None:
        """Free memory at the cost of waiting snapshots that are not a best."""
        for path in (self.folder / _SPARE, *(path for path in self.waiting() if path.suffix != _BEST)):
            path.unlink(missing_ok=True)

    def waiting(self) -> list[Path]:
        """Oldest first."""
        return sorted(path for path in self.folder.glob("*") if path.suffix in _WAITING)

    def take(self) -> Path | None:
        """The oldest waiting snapshot, now the caller's, to be released; first one that a failed or ended uploader had
        taken, unless a newer one makes it useless.
        """
        for taken in sorted(self.folder.glob(f"*{_TAKEN}")):
            if not self._is_useless(taken):
                return taken
            self.release(taken)
        for path in self.waiting():
            with contextlib.suppress(FileNotFoundError):  # replaced by the writer in this moment
                return path.rename(path.with_name(path.name + _TAKEN))
        return None

    def pending(self) -> int:
        return sum(1 for path in self.folder.glob("*") if path.suffix in (*_WAITING, _TAKEN))

    def _is_useless(self, taken: Path) -> bool:
        is_best = taken.stem.endswith(_BEST)
        if taken.stem.endswith(_PERIODIC):
            return False
        return any(path.suffix == _BEST or not is_best for path in self.waiting())

    def _next_number(self) -> int:
        numbers = [int(name) for path in self.folder.glob("*") if (name := path.name.partition(".")[0]).isdigit()]
        return max(numbers, default=0) + 1
