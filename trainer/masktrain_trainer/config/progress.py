"""What a trainer tells the operator: the body of `GET /progress` and the container's termination message.

The image of a trainer may be anybody's, so every field has bounds. Figures beyond them count as the bound and texts are
cut, so that neither side ever stumbles over one: a training that diverges goes on telling how far it is.
"""

import math
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from .base import Contract, plain_text
from .exit_codes import FailureReason

TERMINATION_MESSAGE_LIMIT = 4096
"""Bytes of a termination message that the kubelet keeps."""
MOST_CLASSES, LONGEST_CLASS_NAME = 10_000, 256
MOST_OUTPUTS = 256
LONGEST_URI = 2048
_MOST_SENTENCES = 10
_MOST_SPLITS = 3

_Number = TypeVar("_Number", int, float)


def _within(number: _Number, least: _Number, most: _Number) -> _Number:
    """`most` also for what is no number."""
    return max(least, number) if number <= most else most


def _moment(written: datetime) -> datetime:
    """In a year that any time zone can tell."""
    if not 2000 <= written.year < 2200:
        raise ValueError("is not a time of this or the next century")
    return written if written.tzinfo is not None else written.replace(tzinfo=UTC)


def _text(longest: int) -> BeforeValidator:
    return BeforeValidator(lambda text: plain_text(text, longest) if isinstance(text, str) else text)


def _first(most: int) -> Any:
    """The first items of a list that may be longer."""
    return BeforeValidator(lambda items: items[:most] if isinstance(items, list | tuple) else items)


def _short_uris(items: Any) -> Any:
    return [uri for uri in items if len(str(uri)) <= LONGEST_URI] if isinstance(items, list | tuple) else items


def _word(reason: str) -> str:
    """What Kubernetes takes as a reason."""
    return re.sub(r"[^A-Za-z0-9]", "", reason)[:64] or "Unknown"


Count = Annotated[int, AfterValidator(lambda number: _within(number, 0, 10**15))]
Small = Annotated[int, AfterValidator(lambda number: _within(number, 0, 10**9))]
"""Epochs, attempts, seconds: a billion of them is beyond any training."""
Rate = Annotated[float, AfterValidator(lambda number: _within(number, 0.0, 1e9))]
Share = Annotated[float, AfterValidator(lambda number: _within(0.0 if math.isnan(number) else number, 0.0, 1.0))]
"""0 for what is no number."""
Moment = Annotated[datetime, AfterValidator(_moment)]
Name = Annotated[str, _text(256)]
Sentence = Annotated[str, _text(2048)]
Uri = Annotated[str, Field(max_length=LONGEST_URI), AfterValidator(lambda uri: plain_text(uri, LONGEST_URI))]
"""One that is too long is none: cut, it would name something else."""


class Phase(StrEnum):
    STARTING = "Starting"
    PREPARING = "Preparing"
    RESTORING = "Restoring"
    RENDEZVOUS = "Rendezvous"
    TRAINING = "Training"
    VALIDATING = "Validating"
    DRAINING = "Draining"
    FINISHED = "Finished"


class SplitCounts(Contract):
    """A split's images by their labels, and what of it is not trained on or measured with."""

    split: Name
    labelled: Count = 0
    without_label: Count = 0
    empty_label: Count = 0
    label_without_image: Count = 0
    skipped_images: Count = 0
    dropped_rows: Count = Field(default=0, description="Label rows that cannot be read, of images that are used.")


class DatasetSummary(Contract):
    """What was found in the data set; `images` and `boxes` count the training split."""

    classes: Annotated[list[Name], _first(MOST_CLASSES)]
    images: Count
    boxes: Count
    validation_images: Count
    validation_boxes: Count
    skipped_images: Count = 0
    splits: Annotated[list[SplitCounts], _first(_MOST_SPLITS)] = Field(default=[], description="One for each split.")
    warnings: Annotated[list[Sentence], _first(_MOST_SENTENCES)] = Field(
        default=[], description="One sentence per oddity, skipped image or dropped label row, at most ten."
    )


class Losses(Contract):
    box: Rate
    objectness: Rate
    classification: Rate


# Unknown keys are a newer version's: it stands in result.json, which is read after a roll-back, too.
class CheckpointRef(Contract, extra="ignore"):
    """A file in the store whose checksum was verified."""

    uri: Uri
    sha256: Name
    size_bytes: Count
    epoch: Small
    step: Count
    fitness: Share | None = Field(default=None, description="0.1 mAP50 + 0.9 mAP50-95, of the epoch's validation.")
    verified_at: Moment

    @property
    def fitness_warning(self) -> str | None:
        """What a person has to know of a model whose validation found no fitness above 0."""
        if self.fitness:
            return None
        return (
            f"No validation gave best.pt, the weights of epoch {self.epoch}, a fitness above 0, so nothing says that "
            "they are good: look at what `masktrain detect` draws with them before they are used."
        )


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
    reason: FailureReason | Annotated[str, AfterValidator(_word)] = Field(
        union_mode="left_to_right", description="One CamelCase word."
    )
    message: Sentence = Field(description="One sentence for a person: what is wrong, where, what to do.")

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


def _one_word(value: object) -> object:
    """As Kubernetes takes reasons of conditions; whatever else a pod says is no reason to read nothing of it."""
    return value if isinstance(value, str) and re.fullmatch("[A-Z][A-Za-z0-9]{0,63}", value) else "Other"


# Unknown keys are a newer version's: it stands in result.json, too.
class StepResult(Contract, extra="ignore"):
    """What became of a step that follows the training and costs it nothing: `reason` is one CamelCase word."""

    done: bool
    reason: Annotated[str, BeforeValidator(_one_word)]
    message: Sentence


class Steps(Contract, extra="ignore"):
    """What became of all that followed a training; None for what was not asked for, or is not over."""

    exported: StepResult | None = Field(default=None, description="What became of spec.export.")
    evaluated: StepResult | None = Field(default=None, description="What became of spec.evaluation.")


class Progress(Contract):
    """The state of one attempt as its rank-0 pod sees it. Epochs count from 0; `epoch` is the one in work.

    `map50` and `map50_95` are those of the last finished validation: of the averaged weights while training, and at the
    end of best.pt.
    """

    attempt: Small
    run: Small = 0
    phase: Phase | Annotated[str, _text(64)] = Field(
        default=Phase.STARTING, union_mode="left_to_right", description="A word of the trainer's own version."
    )
    detail: Sentence = ""
    dataset: DatasetSummary | None = None
    epoch: Small = 0
    epochs: Small = 0
    batch: Count = Field(default=0, description="Batches of the epoch in work that are done.")
    batches: Count = Field(default=0, description="Batches of an epoch.")
    step: Count = 0
    images_per_second: Rate | None = None
    eta_seconds: Small | None = None
    losses: Losses | None = None
    # By hand, because the common rule would spell them map50 and map5095.
    map50: Share | None = Field(default=None, alias="mAP50")
    map50_95: Share | None = Field(default=None, alias="mAP50_95")
    stopped_early: bool = False
    fitness_warning: Sentence | None = Field(
        default=None,
        description="Once training has ended without a fitness above 0: why, what best.pt is, and what to do.",
    )
    resumed_from: CheckpointRef | None = None
    skipped_checkpoints: Annotated[list[Sentence], _first(_MOST_SENTENCES)] = Field(
        default=[], description="One sentence per newer checkpoint that was passed over because it did not verify."
    )
    best: CheckpointRef | None = None
    last: CheckpointRef | None = None
    store_error: Sentence | None = Field(
        default=None, description="Why the newest checkpoint could not be stored, if so."
    )
    outputs: Annotated[list[Uri], BeforeValidator(_short_uris), _first(MOST_OUTPUTS)] = Field(
        default=[], description="URIs of the files left for the user, once complete."
    )
    exported: StepResult | None = Field(default=None, description="What became of spec.export.")
    evaluated: StepResult | None = Field(default=None, description="What became of spec.evaluation.")
    outcome: Outcome | None = None
    updated_at: Moment

    @property
    def model_warning(self) -> str | None:
        """What a person has to know of a best.pt that no fitness has chosen, also from versions that do not say it."""
        if self.fitness_warning is None and self.best is not None and self.outcome is not None:
            return self.best.fitness_warning if self.outcome.kind is OutcomeKind.COMPLETE else None
        return self.fitness_warning
