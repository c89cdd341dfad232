"""Noticing a loss that is no longer a number, without ever waiting for the device."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch

NAMED_IMAGES = 8


@dataclass(frozen=True)
class BadLoss:
    """The first batch whose loss was not finite; `items` are box, objectness and class loss.

    `image_names` are those that the samples were made for; a mosaic shows three more of the split in each.
    """

    step: int
    epoch: int
    items: tuple[float, float, float]
    image_names: tuple[str, ...]

    def sentence(self) -> str:
        box, objectness, classification = self.items
        others = len(self.image_names) - NAMED_IMAGES
        names = ", ".join(self.image_names[:NAMED_IMAGES]) + (f" and {others} more" if others > 0 else "")
        return (
            f"The loss is not finite at step {self.step} of epoch {self.epoch}: box {box:.4g}, objectness "
            f"{objectness:.4g}, class {classification:.4g}, with the images {names}; checkpoints from before are kept; "
            "lower training.hyperparameters.learningRate, or set training.precision to Float32 if it is not."
        )


@dataclass(frozen=True)
class _Copy:
    items_3: torch.Tensor
    arrived: torch.cuda.Event | None
    step: int
    epoch: int
    image_indices_B: torch.Tensor


class LossWatch:
    """Copies every batch's loss to the host and looks at it when it has arrived; on a CPU that is at once."""

    def __init__(self, image_names: Sequence[str]) -> None:
        self._image_names = image_names
        self._copies: deque[_Copy] = deque()
        self.bad: BadLoss | None = None

    def watch(self, items_3: torch.Tensor, image_indices_B: torch.Tensor, *, step: int, epoch: int) -> None:
        arrived = None
        if items_3.is_cuda:
            host_3 = torch.empty(3, dtype=items_3.dtype, pin_memory=True)
            host_3.copy_(items_3, non_blocking=True)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record()
            items_3 = host_3
        self._copies.append(_Copy(items_3, arrived, step, epoch, image_indices_B))

    def look(self, *, wait: bool = False) -> BadLoss | None:
        """The first bad loss among those that have arrived, or among all with `wait`."""
        while self._copies and self.bad is None and (wait or _has_arrived(self._copies[0])):
            copy = self._copies.popleft()
            if copy.arrived is not None:
                copy.arrived.synchronize()
            self._judge(copy)
        return self.bad

    def _judge(self, copy: _Copy) -> None:
        if not torch.isfinite(copy.items_3).all():
            box, objectness, classification = copy.items_3.tolist()
            names = tuple(self._image_names[index] for index in copy.image_indices_B.tolist())
            self.bad = BadLoss(copy.step, copy.epoch, (box, objectness, classification), names)


def _has_arrived(copy: _Copy) -> bool:
    return copy.arrived is None or bool(copy.arrived.query())  # type: ignore[no-untyped-call]
