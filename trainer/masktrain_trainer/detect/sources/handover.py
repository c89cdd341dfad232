"""Between the threads that read live sources and the one that takes: of each medium the newest frame wins."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from .base import Frame, Skipped


class Handover:
    """Sentences come before frames, and all of them; the medium whose frame has waited longest is next.

    Everything is for any thread. It ends for who takes when `end` was called for each of `readers` and nothing is left,
    or at once when it is closed.
    """

    def __init__(self, readers: int = 1) -> None:
        self.change = threading.Condition()
        """Guards all of this and what its user keeps beside it; notified of every change."""
        self._frames: dict[PurePath, Frame] = {}
        self._sentences: list[Skipped] = []
        self._readers = readers
        self.closed = False

    @property
    def ended(self) -> bool:
        """Whether nobody puts anything any more."""
        return self._readers <= 0

    @property
    def empty_of_frames(self) -> bool:
        return not self._frames

    def put(self, item: Frame | Skipped) -> None:
        """A frame takes the place of the one of its medium that nobody took."""
        with self.change:
            if isinstance(item, Skipped):
                self._sentences.append(item)
            elif not self.closed:
                self._frames[item.medium.name] = item
            self.change.notify_all()

    def end(self) -> None:
        """Of one reader."""
        with self.change:
            self._readers -= 1
            self.change.notify_all()

    def close(self) -> None:
        """May be called again."""
        with self.change:
            self.closed = True
            self._frames.clear()
            self.change.notify_all()

    def __iter__(self) -> Iterator[Frame | Skipped]:
        """One after the other; closed when whoever iterates leaves."""
        try:
            while (item := self._take()) is not None:
                yield item
        finally:
            self.close()

    def together(self) -> Iterator[tuple[Sequence[Skipped], Sequence[Frame]]]:
        """All that is there, at once: of each medium one frame."""
        while True:
            with self.change:
                self._wait()
                sentences, frames = self._sentences, list(self._frames.values())
                self._sentences, self._frames = [], {}
            if self.closed or not (sentences or frames):
                return
            yield sentences, frames

    def _take(self) -> Frame | Skipped | None:
        with self.change:
            self._wait()
            if self.closed or not (self._sentences or self._frames):
                return None
            item = self._sentences.pop(0) if self._sentences else self._frames.pop(next(iter(self._frames)))
            self.change.notify_all()
            return item

    def _wait(self) -> None:
        self.change.wait_for(lambda: self.closed or self._sentences or self._frames or self.ended)
