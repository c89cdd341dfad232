"""The training on a terminal: what the processes say scrolls, and below it a table of the epoch in work moves.

Elsewhere (a file, a pipe, CI) nothing moves: the lines stand alone.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from masktrain_trainer.config import Phase, Progress

_STANDARD_STREAMS = (1, 2)
_REFRESHES_PER_SECOND = 4
_LAST_WORDS_SECONDS = 2.0
_BAR_WIDTH = 40
_IN_TRAINING = {Phase.TRAINING, Phase.VALIDATING}


@contextlib.contextmanager
def following(read: Callable[[], Progress]) -> Iterator[None]:
    """Show the progress that `read` gives, for as long as the context lasts, if standard output is a terminal."""
    if not sys.stdout.isatty():
        yield
        return
    with _captured_output() as (terminal, lines):
        console = Console(file=os.fdopen(terminal, "w", closefd=False))
        live = Live(
            console=console,
            get_renderable=lambda: draw(read()),
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        scroll = threading.Thread(target=_scroll, args=(lines, console), daemon=True)
        with live:
            scroll.start()
            yield
    scroll.join(_LAST_WORDS_SECONDS)


def draw(progress: Progress) -> RenderableType:
    """The table of a moment."""
    head = Text(f"{progress.phase.value}  ", style="bold").append(progress.detail, style="dim")
    if progress.phase not in _IN_TRAINING or not progress.epochs:
        return head
    return Group(_numbers(progress), _bar(progress))


def _numbers(progress: Progress) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("epoch", "box", "obj", "cls", "mAP50", "mAP50-95", "images/s", "left"):
        table.add_column(name, justify="right")
    losses = progress.losses
    parts = (losses.box, losses.objectness, losses.classification) if losses else (None,) * 3
    table.add_row(
        f"{min(progress.epoch, progress.epochs - 1)}/{progress.epochs - 1}",
        *(_number(part, 4) for part in parts),
        _number(progress.map50, 3),
        _number(progress.map50_95, 3),
        _number(progress.images_per_second, 1),
        "" if progress.eta_seconds is None else str(timedelta(seconds=progress.eta_seconds)),
    )
    return table


def _bar(progress: Progress) -> Table:
    """Of the epoch's batches."""
    row = Table.grid(padding=(0, 1))
    if progress.phase is Phase.VALIDATING or not progress.batches:
        row.add_row(ProgressBar(pulse=True, width=_BAR_WIDTH), progress.phase.value.lower())
        return row
    bar = ProgressBar(total=progress.batches, completed=progress.batch, width=_BAR_WIDTH)
    row.add_row(bar, f"{progress.batch}/{progress.batches} batches")
    return row


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


@contextlib.contextmanager
def _captured_output() -> Iterator[tuple[int, int]]:
    """Let the process and its children write into a pipe; yields the terminal and the pipe's end to read from."""
    saved = {stream: os.dup(stream) for stream in _STANDARD_STREAMS}
    reading, writing = os.pipe()
    sys.stdout.flush()
    for stream in _STANDARD_STREAMS:
        os.dup2(writing, stream)
    os.close(writing)
    try:
        yield saved[1], reading
    finally:
        sys.stdout.flush()
        for stream, terminal in saved.items():
            os.dup2(terminal, stream)


def _scroll(lines: int, console: Console) -> None:
    """Print what arrives until every writer has gone; a terminal that was closed must not hold up the writers."""
    with os.fdopen(lines, errors="replace") as arriving:
        for line in arriving:
            with contextlib.suppress(OSError):
                console.print(Text.from_ansi(line.rstrip("\n")), soft_wrap=True)
