"""A training step: batches forward and backward, each loss looked at, and the optimizer once enough are accumulated."""

import inspect
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.parallel import DistributedDataParallel

from masktrain_trainer.data.loader import Batch
from masktrain_trainer.model.loss import DetectionLoss
from masktrain_trainer.model.precision import autocast, to_input
from masktrain_trainer.model.yolo import Yolo

from .distributed import Ranks
from .optimizer import FlatUpdate, TensorUpdate
from .state import TrainingState

SIZE_STREAM = 0x512E
"""Separates these random numbers from those of order and augmentation."""
SPREAD = 0.5
"""Sizes go from 1 - SPREAD to 1 + SPREAD of the training's."""


@dataclass(frozen=True)
class MultiScale:
    """Draws a size for each batch: a pure function of seed and iteration, so ranks agree and resumed runs go on alike.

    stride: sizes are multiples of it, the model's largest.
    """

    image_size: int
    stride: int
    seed: int

    def at(self, iteration: int) -> int:
        """Side in pixels. Iterations count batches through the whole run."""
        smallest = max(round(self.image_size * (1 - SPREAD)) // self.stride, 1)
        largest = round(self.image_size * (1 + SPREAD)) // self.stride
        rng = np.random.default_rng([self.seed, iteration, SIZE_STREAM])
        return int(rng.integers(smallest, largest + 1)) * self.stride


def resized(images_BCHW: Tensor, image_size: int) -> Tensor:
    """Square images, bilinearly; the very same if they have that size."""
    if images_BCHW.shape[-1] == image_size:
        return images_BCHW
    scaled_BCHW = interpolate(images_BCHW, size=(image_size, image_size), mode="bilinear", align_corners=False)
    return scaled_BCHW.contiguous(memory_format=torch.channels_last)


log = logging.getLogger(__name__)

NAMED_IMAGES = 8
SKIPPED_IN_A_ROW = 8
"""Bad losses that float16 is allowed: each halves the scale of the gradients, 65536 at first."""


@dataclass(frozen=True)
class BadLoss:
    """The first batch whose loss was not finite; `items` are box, objectness and class loss.

    `image_names` are those that the samples were made for; a mosaic shows three more of the split in each.
    """

    step: int
    epoch: int
    items: tuple[float, float, float]
    image_names: tuple[str, ...]
    in_a_row: int = 1

    def sentence(self) -> str:
        again = f", and not in {self.in_a_row} batches in a row" if self.in_a_row > 1 else ""
        box, objectness, classification = self.items
        others = len(self.image_names) - NAMED_IMAGES
        names = ", ".join(self.image_names[:NAMED_IMAGES]) + (f" and {others} more" if others > 0 else "")
        return (
            f"The loss is not finite at step {self.step} of epoch {self.epoch}{again}: box {box:.4g}, objectness "
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

    def __init__(self, image_names: Sequence[str], *, tolerated: int = 0) -> None:
        """tolerated: bad losses in a row that are no reason to end, for a number format whose steps may be skipped."""
        self._image_names = image_names
        self._tolerated = tolerated
        self._bad_in_a_row = 0
        self._copies: deque[_Copy] = deque()
        self.bad: BadLoss | None = None

    def watch(self, items_3: torch.Tensor, image_indices_B: torch.Tensor, *, step: int, epoch: int) -> None:
        arrived = None
        if items_3.is_cuda:
            # Pinned memory: a copy to pageable memory would wait for the device after all.
            host_3 = torch.empty(3, dtype=items_3.dtype, pin_memory=True)
            host_3.copy_(items_3, non_blocking=True)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record()  # type: ignore[no-untyped-call]
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
        if torch.isfinite(copy.items_3).all():
            self._bad_in_a_row = 0
            return
        self._bad_in_a_row += 1
        if self._bad_in_a_row <= self._tolerated:
            log.warning(
                "the loss of a batch in step %d is beyond float16: the step is skipped, and gradients are scaled less",
                copy.step,
            )
        else:
            box, objectness, classification = copy.items_3.tolist()
            names = tuple(self._image_names[index] for index in copy.image_indices_B.tolist())
            items = (box, objectness, classification)
            self.bad = BadLoss(copy.step, copy.epoch, items, names, self._bad_in_a_row)


def _has_arrived(copy: _Copy) -> bool:
    return copy.arrived is None or bool(copy.arrived.query())  # type: ignore[no-untyped-call]


class StatisticsGuard:
    """Undoes what a batch with a bad loss did to the batch norms' statistics, without a word to the host.

    A step that is skipped leaves the weights alone, but by then the forward pass has changed the statistics, and NaN
    would stay in them, and in their average, for good.
    """

    def __init__(self, model: nn.Module) -> None:
        self._live = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self._kept_N = self._flat()

    def judge(self, items_3: Tensor) -> None:
        """After a batch: keep what it did to the statistics if its losses are finite, else go back."""
        self._kept_N = torch.where(items_3.isfinite().all(), self._flat(), self._kept_N)
        parts = torch.split(self._kept_N, [buffer.numel() for buffer in self._live])
        torch._foreach_copy_(self._live, [part.view_as(own) for part, own in zip(parts, self._live, strict=True)])

    def _flat(self) -> Tensor:
        return torch.cat([buffer.flatten() for buffer in self._live])


@contextmanager
def tried_convolutions(on: bool) -> Iterator[None]:
    """Let cuDNN time its algorithms for each new shape and keep the fastest; for shapes that stay the same."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = on
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


MAX_GRADIENT_NORM = 10.0
"""YOLOv5's."""


def distribute(model: Yolo, ranks: Ranks) -> nn.Module:
    """Average gradients over the ranks. Drops gradients that are there.

    Batch statistics are not broadcast at every forward pass: training never reads them, and the averaged model, which
    does, is rank 0's everywhere.
    """
    if ranks.alone:
        return model
    device_ids = [ranks.device.index] if ranks.device.type == "cuda" else None
    network = DistributedDataParallel(
        _Distributed(model),
        device_ids=device_ids,
        # Gradients as views spare a copy of all of them in memory. On CPUs they are views of a buffer of ours.
        gradient_as_bucket_view=ranks.device.type == "cuda",
        **_without_buffer_broadcast(),
    )
    _lay_out_buckets(network)
    return network


class _Distributed(nn.Module):
    """What DDP wraps: the model, and a pass through nothing but its parameters."""

    def __init__(self, model: Yolo) -> None:
        super().__init__()
        self.model = model

    def forward(self, images_BCHW: Tensor | None) -> Any:
        if images_BCHW is not None:
            return self.model(images_BCHW)
        return torch.stack([parameter.sum() for parameter in self.parameters() if parameter.requires_grad]).sum()


def _lay_out_buckets(network: DistributedDataParallel) -> None:
    """After its first backward pass DDP lays out the gradients' buckets anew, in the order in which gradients came.

    The place in a bucket decides in which order the gradients of three or more ranks are added: without this pass a
    resumed run would add them in another order than one that is past that point, and differ in the last bit.
    """
    network(None).backward()
    network.zero_grad(set_to_none=True)


def _without_buffer_broadcast() -> dict[str, Any]:
    """Newer versions of torch renamed the option and warn about the old name."""
    new = "forward_sync_buffers"
    names = inspect.signature(DistributedDataParallel.__init__).parameters
    return {new if new in names else "broadcast_buffers": False}


class TrainStep:
    """Gradients are summed over images, as YOLOv5 does: the loss of a batch grows with its size."""

    def __init__(self, ranks: Ranks, dtype: torch.dtype, state: TrainingState, loss: DetectionLoss) -> None:
        """dtype: what forward passes compute in."""
        self._ranks = ranks
        self._dtype = dtype
        self._state = state
        self._loss = loss
        # A GPU's kernels take hundreds of tensors at once, and would add each gradient to a buffer by one of its own.
        update = TensorUpdate if ranks.device.type == "cuda" else FlatUpdate
        # First: whatever wraps a model keeps its tensors.
        self.update = update(state.model, state.optimizer)
        self._network = distribute(state.model, ranks)
        self.update.attach_gradients()
        self._weights = next(state.model.parameters())
        self._guard = StatisticsGuard(state.model) if state.scaler.is_enabled() else None

    def backward(self, batch: Batch, *, synchronise: bool, image_size: int | None = None) -> Tensor:
        """Add this batch's gradients; box, objectness and class loss come back, on the device.

        With `image_size` the images are scaled to that side first. Only the batch before an optimizer step synchronises
        the ranks. DDP averages over ranks, so the loss is multiplied by their number to make the sum over all images.
        """
        images_BCHW = to_input(batch.images_BCHW, self._weights)
        # On the device, when the bytes have crossed the bus at their first size.
        if image_size is not None:
            images_BCHW = resized(images_BCHW, image_size)
        # Around the forward pass, too: DDP decides there whether the backward pass will synchronise.
        with self._synchronised(synchronise):
            with autocast(self._ranks.device, self._dtype):
                raws = self._network(images_BCHW)
            total, items_3 = self._loss(raws, batch.targets_M6.to(self._ranks.device, non_blocking=True))
            self._state.scaler.scale(total * self._ranks.world_size).backward()
        if self._guard is not None:
            self._guard.judge(items_3)
        return cast("Tensor", items_3)

    def step(self) -> None:
        """Clip, step, and let the average follow. The EMA lives on rank 0; the others get it when it is needed."""
        update, scaler = self.update, self._state.scaler
        scaler.unscale_(update.optimizer)  # the norm that is clipped is that of the true gradients
        update.clip(MAX_GRADIENT_NORM)
        update.step(scaler)
        scaler.update()
        update.clear_gradients()
        if self._ranks.leads:
            update.average(self._state.ema)

    def _synchronised(self, synchronise: bool) -> AbstractContextManager[object]:
        if synchronise or not isinstance(self._network, DistributedDataParallel):
            return nullcontext()
        return cast("AbstractContextManager[object]", self._network.no_sync())
