"""Attempts of a job whose ranks can be ended at an exact optimizer step.

Every rank is the real worker in a process of its own; uploader and restore stage are the real ones too. Only torchrun
and the supervisor are left out: they take seconds to start, and end ranks no differently.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from masktrain_trainer.checkpoint.keys import Fence, JobKeys
from masktrain_trainer.checkpoint.restore import restore
from masktrain_trainer.checkpoint.snapshot import read_snapshot
from masktrain_trainer.checkpoint.spool import Spool
from masktrain_trainer.checkpoint.uploader import Uploader
from masktrain_trainer.checkpoint.writer import CheckpointWriter
from masktrain_trainer.config import Keep, Outcome, RunConfig
from masktrain_trainer.files import write_text_atomically
from masktrain_trainer.pod.outcome import read_outcomes
from masktrain_trainer.run_directory import RestoreResult, RunDirectory
from masktrain_trainer.stores import Store, open_store
from tests.ddp.fork_host import ForkHost
from tests.ddp.ports import free_port
from tests.ddp.traced_rank import Event, RankOrder


@dataclass
class Attempt:
    """One gang from its start to its end."""

    folder: Path
    config: dict[str, Any]
    data: Path
    ranks: int
    event: Event | None = None
    exit_codes: list[int] = field(default_factory=list)

    @property
    def run(self) -> RunDirectory:
        return RunDirectory(self.folder / "run")

    @property
    def spool(self) -> Spool:
        return Spool(self.folder / "spool")

    def carry_out(self, host: ForkHost, restored: RestoreResult) -> None:
        """From the restored checkpoint to the end, whatever that is."""
        self.run.create()
        write_text_atomically(self.run.restore_result, restored.to_json())
        port, config = free_port(), json.dumps(self.config)
        orders = [
            RankOrder(rank, self.ranks, port, self.folder, self.data, config, self.event) for rank in range(self.ranks)
        ]
        self.exit_codes = host.run_gang(orders)

    def trace(self, rank: int) -> dict[int, str]:
        """Optimizer step to digest of all that it changed."""
        rows = (line.split() for line in (self.folder / f"trace-{rank}").read_text().splitlines())
        return {int(step): digest for step, digest in rows}

    @property
    def outcomes(self) -> list[Outcome | None]:
        return read_outcomes(self.run, range(self.ranks))

    @property
    def log(self) -> str:
        return "\n".join((self.folder / f"log-{rank}").read_text() for rank in range(self.ranks))

    def last_state(self) -> dict[str, Any]:
        """The newest snapshot that the training handed over."""
        return read_snapshot(self.spool.waiting()[-1])[0]


@dataclass(frozen=True)
class Job:
    """Attempts that follow each other, with the store between them."""

    host: ForkHost
    folder: Path
    data: Path
    training: dict[str, Any]
    ranks: int = 2

    def attempt(self, number: int, event: Event | None = None, **training: Any) -> Attempt:
        """Run one from the newest stored checkpoint to its end, whatever that is."""
        folder, config = self.folder / str(number), self._config(number, training)
        folder.mkdir(parents=True)
        restored = restore(self._store, RunConfig.model_validate(config), f"pod-{number}", folder / "restore")
        attempt = Attempt(folder, config, self.data, self.ranks, event)
        attempt.carry_out(self.host, restored)
        return attempt

    def upload(self, attempt: Attempt, number: int) -> None:
        """Store what the attempt handed over and nobody has stored yet."""
        uploader = Uploader(
            CheckpointWriter(self._store, self._keys, Fence(number, 0)),
            spool=attempt.spool,
            status_file=attempt.folder / "uploader.json",
            keep=Keep.BEST,
        )
        while uploader.store_waiting():
            pass

    @property
    def _store(self) -> Store:
        return open_store(f"file://{self.folder / 'store'}", None, None)

    @property
    def _keys(self) -> JobKeys:
        return JobKeys("team", "tiny", "uid-1")

    def _config(self, number: int, training: dict[str, Any]) -> dict[str, Any]:
        whole: dict[str, Any] = {"imageSize": 64, "batchSize": 4, "workers": 0, **self.training, **training}
        return run_config(f"file://{self.folder / 'store'}", whole, attempt=number)


def run_config(
    store: str, training: dict[str, Any], *, dataset: str = "file:///unused.zip", attempt: int = 0
) -> dict[str, Any]:
    return {
        "namespace": "team",
        "name": "tiny",
        "uid": "uid-1",
        "attempt": attempt,
        "model": {"architecture": "yolov5n"},
        "dataset": {"uri": dataset},
        "training": training,
        "checkpoint": {"uri": store},
        "hangTimeoutSeconds": 60,
        "stopGraceSeconds": 60,
    }
