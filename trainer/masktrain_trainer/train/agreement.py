"""What all ranks decide together at a step boundary, without ever waiting for each other.

Each rank adds its wishes to a small all-reduce on the control group and reads the sum one step later: by then it has
long arrived. So every rank acts on the same wishes at the same step, which a file or a clock alone could not give.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Wishes:
    """`stop`: the pod was asked to stop. `diverged`: a loss is not finite. `checkpoint`: the interval is over."""

    stop: bool = False
    diverged: bool = False
    checkpoint: bool = False


class StepAgreement:
    """`exchange` must be called by all ranks at the same steps. A wish of any rank counts for all."""

    def __init__(self, group: dist.ProcessGroup | None, world_size: int) -> None:
        self._group = group
        self._world_size = world_size
        self._sums_3 = torch.zeros(3, dtype=torch.int32)
        self._pending: dist.Work | None = None

    def exchange(self, wishes: Wishes) -> Wishes:
        """Put in this step's wishes, take out what was agreed on the step before."""
        agreed = self.settle()
        self._sums_3 = torch.tensor([wishes.stop, wishes.diverged, wishes.checkpoint], dtype=torch.int32)
        if self._world_size > 1:
            self._pending = dist.all_reduce(self._sums_3, group=self._group, async_op=True)
        return agreed

    def settle(self) -> Wishes:
        """What is agreed and not yet read, if anything; used where no further step follows."""
        if self._pending is not None:
            self._pending.wait()
            self._pending = None
        stop, diverged, checkpoint = (bool(count) for count in self._sums_3.tolist())
        self._sums_3 = torch.zeros(3, dtype=torch.int32)
        return Wishes(stop, diverged, checkpoint)
