"""What the rules of the planner answer with. `plan` turns a decision into writes, `status.transitions` into a status.

A rule neither sets a condition nor deletes anything: it says what is to happen, and why in one sentence.
"""

from dataclasses import dataclass

from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.status import Restarts

from .types import Capacity


@dataclass(frozen=True)
class Start:
    """Create the Job of attempt `number`. `capacity` is what node pools answered, if they were asked."""

    number: int
    capacity: Capacity | None


@dataclass(frozen=True)
class Continue:
    """The newest attempt has not ended: it starts or runs."""


@dataclass(frozen=True)
class Waiting:
    """Attempt `number` cannot be created yet, because others have to give something first: nodes, a quota."""

    number: int
    reason: Reason
    message: str


@dataclass(frozen=True)
class Restarting:
    """Between two attempts: the back-off, or the end of the old pods.

    `restarts` is the account of the attempt whose end was just seen; None if that stands in the status already.
    `is_overdue`: what it waits for should be over, and is not in the operator's hands.
    """

    reason: Reason
    message: str
    restarts: Restarts | None = None
    is_overdue: bool = False


@dataclass(frozen=True)
class Blocked:
    """Nothing goes on until a person has acted."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Complete:
    """The newest attempt has trained to the end."""


@dataclass(frozen=True)
class Failed:
    """No attempt follows. `restarts` as in `Restarting`."""

    reason: str
    message: str
    restarts: Restarts | None = None


@dataclass(frozen=True)
class Finished:
    """The job ended earlier. `expired`: what it left behind may go, too."""

    expired: bool


Decision = Start | Continue | Waiting | Restarting | Blocked | Complete | Failed | Finished
