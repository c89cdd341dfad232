"""Several live streams at once: a thread each, frames in turn."""

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath

from masktrain_trainer.errors import InvalidConfiguration, UserError

from .base import Frame, Skipped, Source, SourceOptions
from .pages import is_page
from .screen import is_screen, open_screen, parse_screen
from .streams import is_stream, open_stream, open_webcam, shown_address, stream_name

WEBCAM = re.compile(r"(?:/dev/video)?(\d{1,4})", re.ASCII)


@dataclass(frozen=True)
class _Line:
    """`origin` as in Medium."""

    origin: str
    open: Callable[[], Source]


def open_several(lines: Sequence[str], options: SourceOptions) -> Source:
    """Streams' addresses, numbers of webcams and parts of the screen, one a line; blank lines and those that begin with
    # are passed over.

    Returns with the first that is open; the others come when they are, or a sentence. Raises UserError for a line that
    is none of them, and if none opens.
    """
    source = _Several(parse_lines(lines, options))
    try:
        source.begin()
    except BaseException:  # also a Ctrl-C: nobody else could end the threads
        source.close()
        raise
    return source


def parse_lines(lines: Sequence[str], options: SourceOptions) -> list[_Line]:
    """Media get different names, in the order of the lines. Raises InvalidConfiguration."""
    parsed: list[_Line] = []
    taken: set[PurePath] = set()
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith("#"):
            try:
                parsed.append(_parse(text, taken, options))
            except UserError as error:
                raise InvalidConfiguration(f"Line {number} of the list of streams: {error}") from None
    if not parsed:
        raise InvalidConfiguration(
            "The list of streams holds no stream: write one address or number of a webcam a line."
        )
    return parsed


def _parse(text: str, taken: set[PurePath], options: SourceOptions) -> _Line:
    if webcam := WEBCAM.fullmatch(text):
        number = int(webcam[1])
        if PurePath(f"webcam-{number}") in taken:
            raise InvalidConfiguration(f"webcam {number} stands there twice.")
        taken.add(PurePath(f"webcam-{number}"))
        return _Line(f"Webcam {number}", partial(open_webcam, number, options))
    if is_screen(text):
        parse_screen(text)
        return _Line(text, partial(open_screen, text, options))
    if not is_stream(text):
        raise InvalidConfiguration(
            "it is neither the address of a stream, like rtsp://…, nor the number of a webcam, nor a screen."
        )
    if is_page(text):
        raise InvalidConfiguration("pages are read one at a time: give the address as the source itself.")
    shown = shown_address(text)
    name = _free_name(stream_name(shown), taken)
    return _Line(shown, partial(open_stream, text, options, name=name))


def _free_name(name: PurePath, taken: set[PurePath]) -> PurePath:
    free, number = name, 1
    while free in taken:
        number += 1
        free = PurePath(f"{name}-{number}")
    taken.add(free)
    return free


class _Several:
    live = True
    frames = None

    def __init__(self, lines: Sequence[_Line]) -> None:
        self._lines = lines
        # Guards all below; notified of every change.
        self._change = threading.Condition()
        self._newest: list[Frame | None] = [None] * len(lines)
        self._sentences: deque[Skipped] = deque()
        self._sources: list[Source] = []
        self._running = len(lines)
        self._last = -1
        self._closed = False

    def begin(self) -> None:
        for index, line in enumerate(self._lines):
            threading.Thread(target=self._run, args=(index, line), name=f"source {line.origin}", daemon=True).start()
        with self._change:
            self._change.wait_for(lambda: self._sources or not self._running)
            if not self._sources:
                reasons = " ".join(told.sentence for told in self._sentences)
                raise InvalidConfiguration(f"None of the {len(self._lines)} streams can be opened. {reasons}")

    def close(self) -> None:
        with self._change:
            self._closed = True
            sources = list(self._sources)
            self._change.notify_all()
        for source in sources:
            source.close()

    def __iter__(self) -> Iterator[Frame | Skipped]:
        try:
            while (item := self._take()) is not None:
                yield item
        finally:
            self.close()

    def _take(self) -> Frame | Skipped | None:
        with self._change:
            self._change.wait_for(lambda: self._closed or self._sentences or any(self._newest) or not self._running)
            if self._closed:
                return None
            if self._sentences:
                return self._sentences.popleft()
            return self._next_frame()

    def _next_frame(self) -> Frame | None:
        """Of the stream whose turn it is, among those that have a new one."""
        count = len(self._newest)
        for index in ((self._last + step) % count for step in range(1, count + 1)):
            if (frame := self._newest[index]) is not None:
                self._newest[index] = None
                self._last = index
                return frame
        return None

    def _run(self, index: int, line: _Line) -> None:
        """In the thread of one line."""
        try:
            source = line.open()
            with self._change:
                self._sources.append(source)
                closed = self._closed
                self._change.notify_all()
            if closed:
                source.close()
            for item in source:
                self._put(index, item)
        except UserError as error:
            self._put(index, Skipped(str(error)))
        finally:
            with self._change:
                self._running -= 1
                self._change.notify_all()

    def _put(self, index: int, item: Frame | Skipped) -> None:
        with self._change:
            if isinstance(item, Skipped):
                self._sentences.append(item)
            else:
                self._newest[index] = item
            self._change.notify_all()
