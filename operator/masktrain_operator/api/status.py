"""The status of a MaskTrainingJob. Numbers that are not integers are strings, as Kubernetes' API rules ask."""

import copy
import decimal
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from masktrain_trainer.config import Phase, StoreAuth, plain_text

_YEARS = range(1970, 9000)
"""At the ends of what a datetime holds, neither time zones nor limits could be added."""


def _to_utc(moment: datetime) -> datetime:
    if moment.year not in _YEARS:
        raise ValueError("is no time of a cluster")
    return moment.astimezone(UTC)


def _to_whole_seconds(moment: datetime) -> datetime:
    """As metav1.Time: UTC, without fractions, so that a value read back equals the one written."""
    # The API server cuts fractions off: a value with them would differ from what is read back, and be written for ever.
    return _to_utc(moment).replace(microsecond=0)


Time = Annotated[datetime, AfterValidator(_to_whole_seconds)]
MicroTime = Annotated[datetime, AfterValidator(_to_utc)]
"""As metav1.MicroTime: what is billed by the second is not rounded on the way."""


def _cut(length: int) -> BeforeValidator:
    """What others say (a scheduler, a log, a data set) may be of any length and hold anything; a status is one line."""
    return BeforeValidator(lambda text: plain_text(text, length) if isinstance(text, str) else text)


def _number(written: str) -> str:
    try:
        decimal.Decimal(written)
    except decimal.InvalidOperation:
        raise ValueError("is not a decimal number") from None
    return written


_LARGEST_AMOUNT = decimal.Decimal("1e15")


def _amount(written: str) -> str:
    number = decimal.Decimal(written)
    # Not a number compares with nothing, and a sum of more digits than a context holds cannot be rounded to cents.
    if not number.is_finite() or abs(number) > _LARGEST_AMOUNT:
        raise ValueError("is not an amount of money")
    return written


Decimal = Annotated[str, Field(max_length=32), AfterValidator(_number)]
Money = Annotated[Decimal, AfterValidator(_amount)]
Name = Annotated[str, _cut(256), Field(max_length=256)]
Sentence = Annotated[str, _cut(4096), Field(max_length=4096)]
StoredUri = Annotated[str, Field(max_length=2048)]
Word = TypeVar("Word", bound=StrEnum)
Open = Annotated[
    Word | str,
    # pydantic's smart mode would leave a plain string one, and never make it a word of the enumeration.
    Field(union_mode="left_to_right"),
    _cut(256),
    WithJsonSchema({"type": "string", "maxLength": 256}),
]
"""A word of this version's enumeration, or what another version (of the operator, of a trainer image) says instead.

The schema takes any: the API server would otherwise refuse the whole status for one word that it does not know.
"""
Model = TypeVar("Model", bound=BaseModel)


class StatusModel(BaseModel):
    """Unknown keys are dropped, not refused: a newer operator may have written the status before a roll-back."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, validate_default=True
    )

    @classmethod
    def read(cls, document: object) -> Self:
        """A stored status, without what this version cannot read of it."""
        return read_leniently(cls, document) or cls()


def read_leniently(model: type[Model], document: object) -> Model | None:
    """What another version wrote, without the parts that do not fit `model`; None if nothing is left that does.

    A part that a required field is missing from is left out whole, and a list that is too long is cut: one oddity never
    costs more than itself, because a condition that is lost may start a finished job anew.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        findings = error.errors(include_url=False, include_input=False)
    # A copy: the document may be a cache's own, and what was derived from that counts on it as it is.
    return _read_repaired(model, copy.deepcopy(document), findings)


def _read_repaired(model: type[Model], rest: Any, findings: Sequence[ErrorDetails]) -> Model | None:
    # More than once: what was taken out may be what the part around it requires.
    while True:
        # From the back and the depth: the places of the others stay right when an item of a list goes.
        places = {_place(rest, finding): finding for finding in findings}
        for place in sorted(places, key=_order, reverse=True):
            if not place:
                return None
            _repair(rest, place, places[place])
        try:
            return model.model_validate(rest)
        except ValidationError as error:
            findings = error.errors(include_url=False, include_input=False)


def _place(document: Any, finding: ErrorDetails) -> tuple[int | str, ...]:
    """The path of what has to go: the whole part if something is missing from it; empty if that is all there is."""
    path = finding["loc"][:-1] if finding["type"] == "missing" else finding["loc"]
    for depth, key in enumerate(path):
        try:
            document = document[key]
        except (KeyError, IndexError, TypeError):
            return path[:depth]  # from here on the path names members of a union
    return path


def _order(place: tuple[int | str, ...]) -> list[tuple[int, str]]:
    return [(key, "") if isinstance(key, int) else (-1, key) for key in place]


def _repair(document: Any, place: tuple[int | str, ...], finding: ErrorDetails) -> None:
    for key in place[:-1]:
        document = document[key]
    found = document[place[-1]]
    if finding["type"] == "too_long" and isinstance(found, list):
        document[place[-1]] = found[: finding["ctx"]["max_length"]]
    else:
        del document[place[-1]]


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(StatusModel):
    """The fields of metav1.Condition."""

    type: str = Field(max_length=316, description="Name of the condition.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: Name = Field(min_length=1, description="One CamelCase word for programs.")
    message: Sentence = Field(default="", description="One sentence for people.")
    observed_generation: int | None = Field(default=None, ge=0, description="Generation of the spec it was set for.")
    last_transition_time: Time = Field(description="When the status last changed.")


class State(StrEnum):
    """What this version writes; another one may have written another word."""

    PENDING = "Pending"
    STARTING = "Starting"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    COMPLETE = "Complete"
    FAILED = "Failed"


class LastFailure(StatusModel):
    attempt: int = Field(ge=0, description="The attempt that failed.")
    kind: Name = Field(description="UserError, Stopped, Preempted, Hung, Fenced or Crashed.")
    reason: Name = Field(description="One CamelCase word for programs.")
    message: Sentence = Field(description="One sentence for people.")
    time: Time = Field(description="When the operator saw it.")


class Restarts(StatusModel):
    total: int = Field(default=0, ge=0, description="Attempts after the first.")
    without_progress: int = Field(
        default=0, ge=0, description="Crashes and hangs since the last newer checkpoint; limited by the spec."
    )
    preemptions_without_progress: int = Field(
        default=0,
        ge=0,
        description="Preemptions, stops and fenced attempts since the last newer checkpoint; not limited.",
    )
    step_at_start: int = Field(
        default=0, ge=0, description="Step of the newest checkpoint when the current attempt started."
    )
    last_failure: LastFailure | None = Field(default=None, description="Why the newest failed attempt ended.")
    retry_time: Time | None = Field(default=None, description="The next attempt does not start before this.")


class StatusLosses(StatusModel):
    """Means over the epoch in work."""

    box: Decimal = Field(description="Loss of the boxes (CIoU).")
    objectness: Decimal = Field(description="Loss of the objectness.")
    classification: Decimal = Field(description="Loss of the classes.")


class StatusProgress(StatusModel):
    phase: Open[Phase] | None = Field(default=None, description="What the rank-0 pod is doing.")
    detail: Sentence | None = Field(default=None, description="The same in words.")
    epoch: int = Field(default=0, ge=0, description="Epoch in work, from 0.")
    epochs: int = Field(default=0, ge=0, description="Epochs to train.")
    step: int = Field(default=0, ge=0, description="Optimizer steps taken.")
    images_per_second: Decimal | None = Field(default=None, description="Training images per second over all ranks.")
    eta_seconds: int | None = Field(default=None, description="Estimated time to the end.")
    losses: StatusLosses | None = Field(default=None, description="Mean losses of the epoch in work.")
    map50: Decimal | None = Field(
        default=None, alias="mAP50", description="mAP50 of the last validation; of best.pt once complete."
    )
    map50_95: Decimal | None = Field(
        default=None, alias="mAP50_95", description="mAP50-95 of the last validation; of best.pt once complete."
    )
    updated_at: Time | None = Field(default=None, description="When the trainer said so.")


class StatusCheckpoint(StatusModel):
    uri: StoredUri = Field(description="Where the file is.")
    sha256: Name = Field(description="Its SHA-256, verified in the store.")
    size_bytes: int = Field(ge=0, description="Its size.")
    epoch: int = Field(ge=0, description="Epoch it was taken in, from 0.")
    step: int = Field(ge=0, description="Optimizer step it was taken at.")
    fitness: Decimal | None = Field(default=None, description="0.1 mAP50 + 0.9 mAP50-95.")
    verified_at: Time = Field(description="When the checksum was verified.")


class StatusCheckpoints(StatusModel):
    best: StatusCheckpoint | None = Field(
        default=None, description="The fittest so far; the newest while none has a fitness above 0."
    )
    last: StatusCheckpoint | None = Field(default=None, description="The newest.")
    resumed_from: StatusCheckpoint | None = Field(default=None, description="Where the current attempt started.")
    skipped: list[Sentence] = Field(
        default=[], max_length=10, description="Newer checkpoints that the current attempt passed over, and why."
    )


class StatusDataset(StatusModel):
    classes: list[Name] = Field(max_length=2000, description="Class names in order.")
    images: int = Field(ge=0, description="Images to train on.")
    boxes: int = Field(ge=0, description="Labelled objects on them.")
    validation_images: int = Field(ge=0, description="Images to validate on.")
    validation_boxes: int = Field(ge=0, description="Labelled objects on them.")
    skipped_images: int = Field(default=0, ge=0, description="Images left out because they could not be read.")


class StatusCost(StatusModel):
    """USD on nodes of a GPUNodePool, from list prices: the job's share of each node's GPUs while it held them."""

    amount: Money = Field(default="0.0000", description="All of it, the boot of nodes that came for the job included.")
    idle_amount: Money = Field(default="0.0000", description="The part before the containers started.")
    gpu_seconds: int = Field(default=0, ge=0, description="GPU seconds in amount.")
    hourly_rate: Money | None = Field(default=None, description="USD per hour with all workers of an attempt.")
    currency: Name = Field(default="USD", description="Of all amounts.")
    reserved_until: MicroTime | None = Field(
        default=None, description="Up to here nodes are counted that are kept for an attempt that has not begun."
    )
    settled_amount: Money = Field(default="0.0000", description="Of earlier attempts.")
    settled_idle_amount: Money = Field(default="0.0000", description="Of earlier attempts, before they started.")
    settled_gpu_seconds: int = Field(default=0, ge=0, description="Of earlier attempts.")


class MaskTrainingJobStatus(StatusModel):
    observed_generation: int | None = Field(default=None, ge=0, description="Generation of the spec last acted on.")
    conditions: list[Condition] = Field(
        default=[],
        max_length=32,
        description="Complete, Failed, Reconciling, Stalled, DatasetVerified, CheckpointFresh, ProgressUnknown, "
        "WriteRefused, BestUnknown, Exported, Evaluated.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    state: Open[State] | None = Field(default=None, description="One word for people; programs read the conditions.")
    attempt: int | None = Field(default=None, ge=0, description="Number of the newest attempt, from 0.")
    attempt_uid: Name | None = Field(
        default=None, description="Uid of the newest attempt's batch Job: pods that outlive it are known by it."
    )
    restarts: Restarts = Field(default=Restarts(), description="Attempts after the first, and why.")
    progress: StatusProgress | None = Field(default=None, description="Where training stands.")
    checkpoints: StatusCheckpoints = Field(default=StatusCheckpoints(), description="Files verified in the store.")
    dataset: StatusDataset | None = Field(default=None, description="What was found in the data set.")
    store_auth: Open[StoreAuth] | None = Field(
        default=None,
        description="Who signs to oci:// stores of which the spec leaves it unsaid; settled when the job was new.",
    )
    node_pool: Name | None = Field(default=None, description="GPUNodePool of the newest attempt.")
    cost: StatusCost | None = Field(default=None, description="What the job has cost, if its nodes have a price.")
    outputs: list[StoredUri] = Field(default=[], max_length=256, description="Files left for the user.")
    start_time: Time | None = Field(default=None, description="When the first attempt was created.")
    waiting_since: Time | None = Field(
        default=None,
        description="Since when the job waits for the workers of an attempt that could start; limited by the spec.",
    )
    nodes_held_since: Time | None = Field(
        default=None,
        description="Since when nodes of a GPUNodePool are kept for workers that have not all started.",
    )
    completion_time: Time | None = Field(default=None, description="When the job completed or failed.")

    def to_manifest(self) -> dict[str, object]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
