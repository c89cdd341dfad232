"""What the node pools say to one job: whether its gang may start now, and where."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from masktrain_operator.api.conditions import Reason


@dataclass(frozen=True)
class Capacity:
    """An answer of admission. `pool` is None while no pool is chosen.

    `boot_cost`: USD that the nodes cost before anybody could use them, if they came for this job.
    """

    is_ready: bool
    reason: Reason
    message: str
    pool: str | None = None
    hourly_rate: Decimal | None = None
    boot_cost: Decimal = Decimal(0)
    boot_gpu_seconds: int = 0

    @property
    def needs_a_person(self) -> bool:
        """Whether waiting alone will not help."""
        return self.reason in (Reason.POOL_NOT_FOUND, Reason.POOL_TOO_SMALL)


@dataclass(frozen=True)
class NodeRate:
    """What a node of a pool costs, from its creation on."""

    hourly_rate: Decimal
    gpus: int
    created: datetime
