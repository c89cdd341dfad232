"""Several live streams at once: a thread each, frames in turn."""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath

from masktrain_trainer.errors import InvalidConfiguration, UserError

from .base import Frame, Skipped, Source, SourceOptions
from .handover import Handover
from .lists import ListLine
from .pages import is_page
from .screen import is_screen, open_screen, parse_screen
from .streams import is_stream, open_stream, open_webcam, shown_address, stream_name

WEBCAM = re.compile(r"(?:/dev/video)?(\d{1,4})", re.ASCII)


@dataclass(frozen=True)
class _Line:
    """`number`: in the list. `origin` as in Medium."""

    number: int
    origin: str
    open: Callable[[], Source]


def open_several(lines: Sequence[ListLine], options: SourceOptions) -> Source:
    """Streams' addresses, numbers of webcams and parts of the screen, one a line.

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


def parse_lines(lines: Sequence[ListLine], options: SourceOptions) -> list[_Line]:
    """Media get different names, in the order of the lines. Raises InvalidConfiguration."""
    parsed: list[_Line] = []
    taken: set[PurePath] = set()
    for line in lines:
        try:
            parsed.append(_parse(line, taken, options))
        except UserError as error:
            raise InvalidConfiguration(f"Line {line.number} of the list of streams: {error}") from None
    return parsed


def _parse(line: ListLine, taken: set[PurePath], options: SourceOptions) -> _Line:
    place, text = line
    if webcam := WEBCAM.fullmatch(text):
        number = int(webcam[1])
        if PurePath(f"webcam-{number}") in taken:
            raise InvalidConfiguration(f"webcam {number} stands there twice.")
        taken.add(PurePath(f"webcam-{number}"))
        return _Line(place, f"Webcam {number}", partial(open_webcam, number, options))
    if is_screen(text):
        parse_screen(text)
        return _Line(place, text, partial(open_screen, text, options))
    if not is_stream(text):
        raise InvalidConfiguration(
            "it is neither the address of a stream, like rtsp://…, nor the number of a webcam, nor a screen."
        )
    if is_page(text):
        raise InvalidConfiguration("pages are read one at a time: give the address as the source itself.")
    shown = shown_address(text)
    name = _free_name(stream_name(shown), taken)
    return _Line(place, shown, partial(open_stream, text, options, name=name))


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
        self._handover = Handover(len(lines))
        self._change = self._handover.change
        self._sources: list[Source] = []
        self._reasons: dict[int, str] = {}
        """By the number of the line."""

    def begin(self) -> None:
        for line in self._lines:
            threading.Thread(target=self._run, args=(line,), name=f"source {line.origin}", daemon=True).start()
        with self._change:
            self._change.wait_for(lambda: self._sources or self._handover.ended)
            if not self._sources:
                reasons = " ".join(self._reasons[number] for number in sorted(self._reasons))
                raise InvalidConfiguration(f"None of the {len(self._lines)} streams can be opened. {reasons}")

    def close(self) -> None:
        self._handover.close()
        with self._change:
            sources = list(self._sources)
        for source in sources:
            source.close()

    def __iter__(self) -> Iterator[Frame | Skipped]:
        try:
            yield from self._handover
        finally:
            self.close()

    def _run(self, line: _Line) -> None:
        """In the thread of one line."""
        try:
            if (source := self._open(line)) is not None:
                for item in source:
                    self._handover.put(item)
        except UserError as error:
            self._handover.put(Skipped(str(error)))
        finally:
            self._handover.end()

    def _open(self, line: _Line) -> Source | None:
        try:
            source = line.open()
        except UserError as error:
            sentence = f"Line {line.number}: {error}"
            with self._change:
                self._reasons[line.number] = sentence
                self._handover.put(Skipped(sentence))
            return None
        with self._change:
            self._sources.append(source)
            closed = self._handover.closed
            self._change.notify_all()
        if closed:
            source.close()
        return source
