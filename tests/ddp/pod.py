"""A whole trainer pod as processes of this machine: the real supervisor with everything it starts."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from masktrain_trainer.config import CheckpointRef, Outcome, Phase, Progress
from masktrain_trainer.heartbeat import Activity, read_heartbeat
from masktrain_trainer.run_directory import RunDirectory
from tests.ddp.ports import free_port

MASKTRAIN = Path(sys.executable).with_name("masktrain")


@dataclass
class Pod:
    """`folder` holds the pod's volumes; `store` outlives the pod, as a bucket does."""

    folder: Path
    store: Path
    dataset: Path
    training: dict[str, Any]
    name: str = "tiny"
    uid: str = "uid-1"
    attempt: int = 0
    ranks: int = 2
    keep: str = "Best"
    device: str = "cpu"
    hang_timeout: int = 120
    process: subprocess.Popen[bytes] = field(init=False)
    port: int = field(default_factory=free_port)
    after: dict[str, Any] = field(default_factory=dict)
    """What follows the training: `export`, `evaluation`."""
    launcher: tuple[str, ...] = ()
    """A command that starts the supervisor in its own place."""

    def start(self) -> "Pod":
        self.folder.mkdir()
        with (self.folder / "log").open("wb") as log:
            environment = {**os.environ, **self._environment()}
            command = [*self.launcher, str(MASKTRAIN), "supervise"]
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        return self

    def wait(self, timeout: float = 300) -> int:
        return self.process.wait(timeout)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End every process of the pod without notice, as the loss of its node does."""
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def signal_rank(self, rank: int, number: signal.Signals) -> None:
        os.kill(int((self.folder / "workspace" / "run" / f"worker-{rank}.pid").read_text()), number)

    def freeze_rank(self, rank: int) -> None:
        """Stop it in the middle of training: validating and saving may take longer before they count as hanging."""
        heartbeat = RunDirectory(self.folder / "workspace" / "run").heartbeat(rank)
        while True:
            self.signal_rank(rank, signal.SIGSTOP)
            time.sleep(0.05)  # it may be on the other core, some instructions ahead
            beat = read_heartbeat(heartbeat)
            if beat is not None and beat.activity is Activity.TRAINING:
                return
            self.signal_rank(rank, signal.SIGCONT)

    def wait_until(self, condition: Callable[[Progress], bool], timeout: float = 300) -> Progress:
        """Poll `/progress` as the operator does."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            progress = self.progress()
            if progress is not None and condition(progress):
                return progress
            time.sleep(0.05)
        raise AssertionError(f"the pod never got there; its log:\n{self.log}")

    def progress(self) -> Progress | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/progress", timeout=5) as answer:
                return Progress.model_validate_json(answer.read())
        except OSError:
            return None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def last_words(self) -> Progress:
        return Progress.model_validate_json((self.folder / "termination-log").read_bytes())

    @property
    def outcome(self) -> Outcome:
        outcome = self.last_words.outcome
        assert outcome is not None
        return outcome

    @property
    def last_checkpoint(self) -> CheckpointRef:
        last = self.last_words.last
        assert last is not None
        return last

    def _environment(self) -> dict[str, str]:
        config = {
            "namespace": "team",
            "name": self.name,
            "uid": self.uid,
            "attempt": self.attempt,
            "model": {"architecture": "yolov5n"},
            "dataset": {"uri": f"file://{self.dataset}"},
            "training": {"imageSize": 64, "batchSize": 4, "workers": 0, **self.training},
            "checkpoint": {"uri": f"file://{self.store}", "keep": self.keep},
            "hangTimeoutSeconds": self.hang_timeout,
            "stopGraceSeconds": 90,
            **self.after,
        }
        return {
            "MASKTRAIN_CONFIG": json.dumps(config),
            "MASKTRAIN_DEVICE": self.device,
            "MASKTRAIN_WORKSPACE": str(self.folder / "workspace"),
            "MASKTRAIN_SHARED_MEMORY": str(self.folder / "shm"),
            "MASKTRAIN_TERMINATION_LOG": str(self.folder / "termination-log"),
            "MASKTRAIN_PROGRESS_PORT": str(self.port),
            "PET_NNODES": "1",
            "PET_NPROC_PER_NODE": str(self.ranks),
            "PET_NODE_RANK": "0",
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(free_port()),
            "OMP_NUM_THREADS": "1",
        }


def is_training(progress: Progress) -> bool:
    return progress.phase is Phase.TRAINING and progress.step > 0


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, also those in sessions of their own."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listed.splitlines())}
    children = [child for child, parent in parents.items() if parent == pid]
    return [*children, *(found for child in children for found in descendants(child))]
