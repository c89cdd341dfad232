"""One attempt of a job on this machine, under the supervisor of the pods: the same stages, torchrun and store."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from masktrain_trainer.config import CONFIG_VARIABLE, POD_UID_VARIABLE, Outcome, Progress
from masktrain_trainer.train.launch import Launch
from masktrain_trainer.train.paths import Paths
from masktrain_trainer.train.supervisor import Supervisor

from .job import LocalJob
from .scratch import memory_folder
from .screen import following

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
        with _hang_up_as_stop(), following(supervisor.progress):
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
    own = {CONFIG_VARIABLE: job.config.to_json(), POD_UID_VARIABLE: str(uuid.uuid4()), "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **job.environment, **own}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _hang_up_as_stop() -> Iterator[None]:
    previous = signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, previous)
