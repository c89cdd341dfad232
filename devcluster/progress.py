"""Tells a waiting person what happens and how long it took."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

console = Console(stderr=True, highlight=False)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Show `what` while the block runs, and its duration afterwards."""
    start = time.monotonic()
    with console.status(what):
        yield
    console.print(f"{what}: {time.monotonic() - start:.1f} s")


@contextlib.contextmanager
def counted_step(what: str) -> Iterator[Callable[[str], None]]:
    """Like `step`, with a running clock; call the result for each thing done, with its name."""
    start = time.monotonic()
    columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what)

        def done(thing: str) -> None:
            progress.advance(task)
            progress.update(task, description=f"{what}: {progress.tasks[0].completed:.0f} done, last {thing}")

        yield done
    console.print(f"{what}: {time.monotonic() - start:.1f} s")
