"""What takes long is done by one process at a time, and a waiting person is told what happens and how long it took."""

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

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


@contextlib.contextmanager
def one_at_a_time(lock: Path, others: str) -> Iterator[None]:
    """Hold the file `lock` while the block runs. Somebody who has to wait is told for which `others`."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step(f"Waiting for {others}"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
