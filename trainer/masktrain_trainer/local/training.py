"""`masktrain train` and `masktrain preflight`: one attempt of a job on this machine, or all that can fail before it.

The attempt runs under the supervisor of the pods. On a terminal what the processes say scrolls, and below it a table of
the running epoch moves. Elsewhere (a file, a pipe, CI) nothing moves: the lines stand alone.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from masktrain_trainer.config import (
    CONFIG_VARIABLE,
    POD_UID_VARIABLE,
    FailureReason,
    Outcome,
    OutcomeKind,
    Phase,
    Progress,
    RunConfig,
    Steps,
)
from masktrain_trainer.data.cpu_limit import cpu_limit
from masktrain_trainer.data.prepare import MOST_WARNINGS, SKIPPED, prepare
from masktrain_trainer.data.prepared import load_prepared
from masktrain_trainer.errors import user_error
from masktrain_trainer.model.yolo import build_yolo
from masktrain_trainer.pod.follow_up import what_is_missing
from masktrain_trainer.pod.launch import Launch, Paths
from masktrain_trainer.pod.outcome import exit_code
from masktrain_trainer.pod.supervisor import Supervisor
from masktrain_trainer.train.advice import advice_on_run
from masktrain_trainer.train.initialise import transfer
from masktrain_trainer.weights.load import fetch_weights

from .datasets import scratch_folder
from .job import JobOptions, LocalJob, plan_job
from .results import local_path, results_folder

Say = Callable[[str], None]
# The pods' port may be taken here, by another training for one.
_ANY_PORT = 0


def run_attempt(job: LocalJob, scratch: Path) -> tuple[Outcome, Progress]:
    """Train until the end, or until Ctrl-C, SIGTERM or a closed terminal; then a checkpoint is stored."""
    with memory_folder(scratch) as memory:
        paths = Paths(
            workspace=scratch / "workspace",
            shared_memory=memory,
            termination_log=scratch / "termination-log",
            progress_port=_ANY_PORT,
        )
        paths.workspace.mkdir()
        supervisor = Supervisor(_launch(job), paths, _environment(job))
        with _hang_up_as_stop(), live_progress(supervisor.progress):
            logging.basicConfig(
                level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout
            )
            return asyncio.run(supervisor.run()), supervisor.progress()


def _launch(job: LocalJob) -> Launch:
    return Launch(
        config=job.config,
        nodes=1,
        ranks_per_node=job.ranks,
        node_rank=0,
        master_address="127.0.0.1",
        master_port=_free_port(),
    )


def _environment(job: LocalJob) -> dict[str, str]:
    # Unbuffered, because into a pipe Python writes only when some kilobytes have gathered.
    own = {CONFIG_VARIABLE: job.config.to_json(), POD_UID_VARIABLE: str(uuid.uuid4()), "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **job.environment, **own}


def _free_port() -> int:
    with socket.socket() as probe:
        # torchrun's static rendezvous wants to know the number beforehand.
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _hang_up_as_stop() -> Iterator[None]:
    # asyncio handles SIGTERM only; a closed terminal shall store a checkpoint as well.
    previous = signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, previous)


_STANDARD_STREAMS = (1, 2)
_REFRESHES_PER_SECOND = 4
_LAST_WORDS_SECONDS = 2.0
_BAR_WIDTH = 40
_IN_TRAINING = {Phase.TRAINING, Phase.VALIDATING}


@contextlib.contextmanager
def live_progress(read: Callable[[], Progress]) -> Iterator[None]:
    """Show the progress that `read` gives, for as long as the context lasts, if standard output is a terminal."""
    if not sys.stdout.isatty():
        yield
        return
    with _captured_output() as (terminal, lines):
        console = Console(file=os.fdopen(terminal, "w", closefd=False))
        live = Live(
            console=console,
            get_renderable=lambda: progress_table(read()),
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
            # What children write goes past Python, so that output is caught by its descriptors instead.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        scroll = threading.Thread(target=_scroll, args=(lines, console), daemon=True)
        with live:
            scroll.start()
            yield
    # Bounded: a grandchild that holds the pipe open would keep the command from ending.
    scroll.join(_LAST_WORDS_SECONDS)


def progress_table(progress: Progress) -> RenderableType:
    """The table of a moment."""
    head = Text(f"{progress.phase}  ", style="bold").append(progress.detail, style="dim")
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
        row.add_row(ProgressBar(pulse=True, width=_BAR_WIDTH), progress.phase.lower())
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
    # From here on only the standard streams keep the pipe open, so that it ends with their last writer.
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


def train_locally(request: JobOptions, say: Say) -> int:
    """The exit code: 0 complete, 75 stopped with a checkpoint stored, else something failed that may work next time.

    Raises UserError, InvalidDataset or StoreError if the training cannot work as it is asked for.
    """
    with scratch_folder() as scratch:
        job = plan_job(request, scratch)
        for line in (*job.notes, f"Results go to {results_folder(job.config)}."):
            say(line)
        outcome, progress = run_attempt(job, scratch)
    if outcome.kind is OutcomeKind.USER_ERROR:
        raise user_error(FailureReason(outcome.reason), outcome.message)
    for line in closing_lines(outcome, progress):
        say(line)
    return exit_code(outcome)


def closing_lines(outcome: Outcome, progress: Progress) -> list[str]:
    """How it ended, what to do next, and where the results lie."""
    if outcome.kind is OutcomeKind.COMPLETE:
        warning = progress.model_warning
        steps = Steps(exported=progress.exported, evaluated=progress.evaluated)
        warnings = [f"warning: {text}" for text in (warning, *what_is_missing(steps)) if text]
        return [outcome.message, *warnings, *(f"  {local_path(uri)}" for uri in progress.outputs)]
    if outcome.kind is OutcomeKind.STOPPED:
        return [outcome.message, "The same command goes on from there."]
    return [f"{outcome.reason}: {outcome.message}", "The same command tries again from the last checkpoint."]


_MEMORY = Path("/dev/shm")  # noqa: S108 - memory, where the system has such a folder


@contextmanager
def memory_folder(fallback: Path) -> Iterator[Path]:
    parent = _MEMORY if os.access(_MEMORY, os.W_OK) else fallback
    with tempfile.TemporaryDirectory(prefix="masktrain-", dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def check_job(request: JobOptions, say: Say) -> None:
    """Fetch and check data and weights as a pod would, and comment on the settings.

    Raises UserError, InvalidDataset or StoreError.
    """
    with scratch_folder() as scratch:
        job = plan_job(request, scratch)
        for note in job.notes:
            say(note)
        prepared = scratch / "workspace" / "data"
        prepare(job.config, prepared, processes=cpu_limit())
        for sentence in _unshown_skips(prepared):
            say(sentence)
        say(f"weights: {_weights(job.config, len(load_prepared(prepared).names), scratch)}")
        _advise(job, prepared, say)
    say("Nothing stands in the way of a training.")


def _unshown_skips(prepared: Path) -> list[str]:
    """Preparing shows the first warnings only."""
    skipped = (prepared / SKIPPED).read_text(encoding="utf-8").splitlines()
    return skipped if len(skipped) > MOST_WARNINGS else []


def _weights(config: RunConfig, classes: int, scratch: Path) -> str:
    if config.model.from_scratch:
        return "none, the training starts from scratch"
    file = fetch_weights(config.model, config.checkpoint.store, None, scratch / "weights.pt")
    return transfer(build_yolo(config.model.architecture, classes), file.state_dict)


def _advise(job: LocalJob, prepared: Path, say: Say) -> None:
    for line in advice_on_run(job.config, load_prepared(prepared), job.ranks):
        say(f"advice: {line}")
