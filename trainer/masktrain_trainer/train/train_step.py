"""One batch forward and backward, and an optimizer step whenever enough batches are accumulated."""

import inspect
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from masktrain_trainer.data.loader import Batch
from masktrain_trainer.model.loss import DetectionLoss
from masktrain_trainer.model.yolo import Yolo

from .distributed import Ranks
from .multi_scale import resized
from .precision import autocast
from .state import TrainingState

MAX_GRADIENT_NORM = 10.0


def distribute(model: Yolo, ranks: Ranks) -> nn.Module:
    """Average gradients over the ranks.

    Batch statistics are not broadcast at every forward pass: training never reads them, and the averaged model, which
    does, is rank 0's everywhere.
    """
    if ranks.alone:
        return model
    device_ids = [ranks.device.index] if ranks.device.type == "cuda" else None
    network = DistributedDataParallel(
        _Distributed(model), device_ids=device_ids, gradient_as_bucket_view=True, **_without_buffer_broadcast()
    )
    _settle_buckets(network)
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


def _settle_buckets(network: DistributedDataParallel) -> None:
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
        self._network = distribute(state.model, ranks)
        self._parameters = [parameter for parameter in state.model.parameters() if parameter.requires_grad]

    def backward(self, batch: Batch, *, synchronise: bool, image_size: int | None = None) -> Tensor:
        """Add this batch's gradients; box, objectness and class loss come back, on the device.

        With `image_size` the images are scaled to that side first. Only the batch before an optimizer step synchronises
        the ranks. DDP averages over ranks, so the loss is multiplied by their number to make the sum over all images.
        """
        images_BCHW = to_input(batch.images_BCHW, self._parameters[0])
        if image_size is not None:
            images_BCHW = resized(images_BCHW, image_size)
        with self._synchronised(synchronise):
            with autocast(self._ranks.device, self._dtype):
                raws = self._network(images_BCHW)
            total, items_3 = self._loss(raws, batch.targets_M6.to(self._ranks.device, non_blocking=True))
            self._state.scaler.scale(total * self._ranks.world_size).backward()
        return cast("Tensor", items_3)

    def step(self) -> None:
        """Clip, step, and let the average follow. The EMA lives on rank 0; the others get it when it is needed."""
        state = self._state
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(self._parameters, MAX_GRADIENT_NORM, foreach=True)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        if self._ranks.leads:
            state.ema.update(state.model)

    def _synchronised(self, synchronise: bool) -> AbstractContextManager[object]:
        if synchronise or not isinstance(self._network, DistributedDataParallel):
            return nullcontext()
        return cast("AbstractContextManager[object]", self._network.no_sync())


def to_input(images_BCHW: Tensor, weights: Tensor) -> Tensor:
    """Bytes to 0..1 in the weights' format, on their device: the bus carries a quarter of what floats would take.

    Channels last, like the weights: convolutions are a quarter faster so, on CPUs and on GPUs with tensor cores.
    """
    on_device = images_BCHW.to(weights.device, non_blocking=True)
    return on_device.to(dtype=weights.dtype, memory_format=torch.channels_last).div_(255)
