"""Where a trainer pod keeps its files, so that a test can run a whole pod in a folder of its own."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from masktrain_trainer.config import PROGRESS_PORT, WORKSPACE

from .run_directory import RunDirectory

WORKSPACE_VARIABLE = "MASKTRAIN_WORKSPACE"
SHARED_MEMORY_VARIABLE = "MASKTRAIN_SHARED_MEMORY"
TERMINATION_LOG_VARIABLE = "MASKTRAIN_TERMINATION_LOG"
PROGRESS_PORT_VARIABLE = "MASKTRAIN_PROGRESS_PORT"


@dataclass(frozen=True)
class Paths:
    """`progress_port` 0 lets the system choose a port."""

    workspace: Path = Path(WORKSPACE)
    shared_memory: Path = Path("/dev/shm")  # noqa: S108 - the pod's memory volume
    termination_log: Path = Path("/dev/termination-log")
    progress_port: int = PROGRESS_PORT

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Paths":
        return cls(
            workspace=Path(environment.get(WORKSPACE_VARIABLE, str(cls.workspace))),
            shared_memory=Path(environment.get(SHARED_MEMORY_VARIABLE, str(cls.shared_memory))),
            termination_log=Path(environment.get(TERMINATION_LOG_VARIABLE, str(cls.termination_log))),
            progress_port=int(environment.get(PROGRESS_PORT_VARIABLE, cls.progress_port)),
        )

    @property
    def data(self) -> Path:
        """The prepared data set: `prepared.json`, image cache, labels."""
        return self.workspace / "data"

    @property
    def run(self) -> RunDirectory:
        return RunDirectory(self.workspace / "run")

    @property
    def spool(self) -> Path:
        """Snapshots between the training process and the uploader, in memory."""
        return self.shared_memory / "masktrain" / "spool"
