"""What a trainer tells the operator: the body of `GET /progress` and the container's termination message."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from .base import Contract
from .exit_codes import FailureReason

TERMINATION_MESSAGE_LIMIT = 4096
"""Bytes of a termination message that the kubelet keeps."""


class Phase(StrEnum):
    STARTING = "Starting"
    PREPARING = "Preparing"
    RESTORING = "Restoring"
    RENDEZVOUS = "Rendezvous"
    TRAINING = "Training"
    VALIDATING = "Validating"
    DRAINING = "Draining"
    FINISHED = "Finished"


class DatasetSummary(Contract):
    """What was found in the data set; `images` and `boxes` count the training split."""

    classes: list[str]
    images: int
    boxes: int
    validation_images: int
    validation_boxes: int
    skipped_images: int = 0
    warnings: list[str] = Field(default=[], description="One sentence per skipped image or oddity, at most ten.")


class Losses(Contract):
    box: float
    objectness: float
    classification: float


# Unknown keys are a newer version's: it stands in result.json, which is read after a roll-back, too.
class CheckpointRef(Contract, extra="ignore"):
    """A file in the store whose checksum was verified."""

    uri: str
    sha256: str
    size_bytes: int
    epoch: int
    step: int
    fitness: float | None = Field(default=None, description="0.1 mAP50 + 0.9 mAP50-95, of the epoch's validation.")
    verified_at: datetime


class OutcomeKind(StrEnum):
    COMPLETE = "Complete"
    USER_ERROR = "UserError"
    STOPPED = "Stopped"
    HUNG = "Hung"
    FENCED = "Fenced"
    CRASHED = "Crashed"

    @classmethod
    def _missing_(cls, value: object) -> "OutcomeKind | None":
        """A kind of another version: the exit code says what follows, the outcome's sentence why."""
        return cls.CRASHED if isinstance(value, str) else None


class Outcome(Contract):
    kind: OutcomeKind
    reason: FailureReason | str = Field(description="One CamelCase word.")
    message: str = Field(description="One sentence for a person: what is wrong, where, what to do.")

    @classmethod
    def complete(cls, message: str) -> "Outcome":
        return cls(kind=OutcomeKind.COMPLETE, reason="Complete", message=message)

    @classmethod
    def stopped(cls, message: str) -> "Outcome":
        return cls(kind=OutcomeKind.STOPPED, reason="Stopped", message=message)

    @classmethod
    def hung(cls, message: str) -> "Outcome":
        return cls(kind=OutcomeKind.HUNG, reason="Hung", message=message)

    @classmethod
    def crashed(cls, reason: str, message: str) -> "Outcome":
        return cls(kind=OutcomeKind.CRASHED, reason=reason, message=message)

    @classmethod
    def user_error(cls, reason: FailureReason | str, message: str) -> "Outcome":
        """The user's input cannot work; trying again would give the same answer."""
        return cls(kind=OutcomeKind.USER_ERROR, reason=reason, message=message)


class Progress(Contract):
    """The state of one attempt as its rank-0 pod sees it. Epochs count from 0; `epoch` is the one in work.

    `map50` and `map50_95` are those of the last finished validation: of the averaged weights while training, and at the
    end of best.pt.
    """

    attempt: int
    run: int = 0
    phase: Phase | str = Field(
        default=Phase.STARTING, union_mode="left_to_right", description="A word of the trainer's own version."
    )
    detail: str = ""
    dataset: DatasetSummary | None = None
    epoch: int = 0
    epochs: int = 0
    batch: int = Field(default=0, description="Batches of the epoch in work that are done.")
    batches: int = Field(default=0, description="Batches of an epoch.")
    step: int = 0
    images_per_second: float | None = None
    eta_seconds: int | None = None
    losses: Losses | None = None
    # By hand, because the common rule would spell them map50 and map5095.
    map50: float | None = Field(default=None, alias="mAP50")
    map50_95: float | None = Field(default=None, alias="mAP50_95")
    stopped_early: bool = False
    resumed_from: CheckpointRef | None = None
    skipped_checkpoints: list[str] = Field(
        default=[], description="One sentence per newer checkpoint that was passed over because it did not verify."
    )
    best: CheckpointRef | None = None
    last: CheckpointRef | None = None
    store_error: str | None = Field(default=None, description="Why the newest checkpoint could not be stored, if so.")
    outputs: list[str] = Field(default=[], description="URIs of the files left for the user, once complete.")
    outcome: Outcome | None = None
    updated_at: datetime
