"""What is known of a snapshot beside its tensors."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SnapshotMeta:
    """`reason` is interval, epoch, stop or final. `fitness` is set where `epoch` was validated with these weights.

    A `periodic` one is kept for good (training.savePeriod).
    """

    epoch: int
    step: int
    fitness: float | None
    is_best: bool
    reason: str
    periodic: bool = False
