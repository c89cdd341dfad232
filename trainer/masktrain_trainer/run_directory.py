"""The folder through which the processes of one pod talk to each other, and the documents that lie in it.

The supervisor, the stages before training, the ranks and the report share nothing else. Every document is replaced
atomically, so that a reader sees the old or the new one and never half of it. Needs no torch.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field, ValidationError

from .config import CheckpointRef, Contract, DatasetSummary, Losses, Phase, StepResult, Steps

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True)
class RunDirectory:
    root: Path

    def create(self) -> None:
        """Start empty: what a crashed container left behind in the volume must not be mistaken for this run's."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.artifacts.mkdir(parents=True)

    @property
    def stop(self) -> Path:
        """Exists once the pod was asked to stop."""
        return self.root / "stop"

    @property
    def progress(self) -> Path:
        return self.root / "progress.json"

    @property
    def artifacts(self) -> Path:
        """Files that are published next to best.pt."""
        return self.root / "artifacts"

    @property
    def evaluation(self) -> Path:
        """What the last validation of the best weights found: the report's source."""
        return self.root / "evaluation.json"

    @property
    def best_model(self) -> Path:
        """The weights that best.pt will have, for the steps that follow the training."""
        return self.root / "best.pt"

    @property
    def unproven_twins(self) -> Path:
        """Where twins of best.pt lie until they are measured."""
        return self.root / "twins"

    @property
    def export_result(self) -> Path:
        return self.root / "export.json"

    @property
    def media_result(self) -> Path:
        """What became of the sample media."""
        return self.root / "media.json"

    @property
    def media_scratch(self) -> Path:
        """Where sample media are downloaded to, and where what is drawn on them lies until it is finished."""
        return self.root / "media"

    @property
    def evaluated_media(self) -> Path:
        """Among the artifacts, since it is published with them."""
        return self.artifacts / "evaluation"

    @property
    def devices_result(self) -> Path:
        return self.root / "devices.json"

    @property
    def prepare_result(self) -> Path:
        return self.root / "prepare.json"

    @property
    def restore_result(self) -> Path:
        return self.root / "restore.json"

    @property
    def restored(self) -> Path:
        return self.root / "restore"

    @property
    def uploader_status(self) -> Path:
        return self.root / "uploader.json"

    @property
    def torchrun_logs(self) -> Path:
        return self.root / "torchrun"

    @property
    def rank_store(self) -> Path:
        """Where ranks that are all on this node find each other."""
        return self.root / "ranks"

    def heartbeat(self, local_rank: int) -> Path:
        return self.root / f"heartbeat-{local_rank}"

    def worker_pid(self, local_rank: int) -> Path:
        return self.root / f"worker-{local_rank}.pid"

    def stacks(self, local_rank: int) -> Path:
        """Where faulthandler writes the stacks of a rank that hangs."""
        return self.root / f"stacks-{local_rank}.txt"

    def outcome(self, local_rank: int) -> Path:
        return self.root / f"outcome-{local_rank}.json"


def read_document(path: Path, model: type[Document]) -> Document | None:
    """The document, or None while it does not exist or was not written by us."""
    try:
        return model.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def read_steps(run: RunDirectory) -> Steps:
    """What is known by now of what follows the training."""
    exported, evaluated = (read_document(path, StepResult) for path in (run.export_result, run.media_result))
    return Steps(exported=exported, evaluated=evaluated)


class StageFailure(Contract):
    reason: str
    message: str


# Read as this class, too, by whoever looks for a failure only, whatever the subclass adds.
class StageResult(Contract, extra="ignore"):
    """What a stage before training leaves for the supervisor: its failure, or what the subclass says."""

    failure: StageFailure | None = None


class PrepareResult(StageResult):
    summary: DatasetSummary | None = None


class RestoreResult(StageResult):
    """`file` is the verified state to go on from; `completed` means an earlier container finished everything.

    `skipped` says in a sentence each why newer checkpoints were passed over.
    """

    run: int = 0
    restored: CheckpointRef | None = None
    file: str | None = None
    skipped: list[str] = Field(default=[])
    completed: bool = False
    outputs: list[str] = Field(default=[])
    best: CheckpointRef | None = None
    steps: Steps = Steps()
    """Of a completed job."""


class TwinRow(Contract):
    """A twin of best.pt as the report shows it; `refused` says why it is not there."""

    name: str
    kind: str
    megabytes: float
    map50: float
    map50_95: float
    frames_per_second: float
    refused: str | None = None


class ExportResult(StepResult):
    """`original`: best.pt, measured in the same way."""

    original: TwinRow | None = None
    twins: list[TwinRow] = Field(default=[])


class TrainingProgress(Contract):
    """A subset of `Progress`, with the same meanings."""

    phase: Phase
    epoch: int
    epochs: int
    batch: int = 0
    batches: int = 0
    step: int
    images_per_second: float | None = None
    eta_seconds: int | None = None
    losses: Losses | None = None
    map50: float | None = None
    map50_95: float | None = None
    stopped_early: bool = False
    fitness_warning: str | None = None
