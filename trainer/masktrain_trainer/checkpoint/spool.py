"""The folder in shared memory where the training process leaves snapshots for the uploader.

At most two wait: a newer snapshot replaces a waiting one, but an ordinary one never replaces a best. The uploader takes
one at a time, by renaming it, so that writer and reader never hold the same file.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

_BEST = ".best"
_LAST = ".last"
_TAKEN = ".taken"


@dataclass(frozen=True)
class Spool:
    folder: Path

    def unfinished(self) -> Path:
        """Where the next snapshot is written. There is one writer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / "next.tmp"

    def publish(self, unfinished: Path, *, is_best: bool) -> None:
        """Offer the written snapshot, and drop the waiting ones that it makes useless."""
        replaced = self.waiting() if is_best else [path for path in self.waiting() if path.suffix == _LAST]
        unfinished.rename(self.folder / f"{self._next_number():08d}{_BEST if is_best else _LAST}")
        for path in replaced:
            path.unlink(missing_ok=True)

    def make_room(self) -> None:
        """Drop waiting snapshots that are not a best."""
        for path in self.waiting():
            if path.suffix == _LAST:
                path.unlink(missing_ok=True)

    def waiting(self) -> list[Path]:
        """Oldest first."""
        return sorted(path for path in self.folder.glob("*") if path.suffix in (_BEST, _LAST))

    def take(self) -> Path | None:
        """The oldest waiting snapshot, now the caller's; the one that an ended uploader had taken comes first."""
        for path in [*sorted(self.folder.glob(f"*{_TAKEN}")), *self.waiting()]:
            taken = path.with_suffix(_TAKEN)
            with contextlib.suppress(FileNotFoundError):  # replaced by the writer in this moment
                return path.rename(taken)
        return None

    def pending(self) -> int:
        return sum(1 for path in self.folder.glob("*") if path.suffix in (_BEST, _LAST, _TAKEN))

    def _next_number(self) -> int:
        numbers = [int(path.stem) for path in self.folder.glob("*") if path.stem.isdigit()]
        return max(numbers, default=0) + 1
