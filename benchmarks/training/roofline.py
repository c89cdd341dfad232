"""The hardware's speed limit: images per second if every kernel of a training step ran at the device's own pace.

The roofline model (Williams, Waterman, Patterson 2009): a step takes at least its floating-point operations by the
peak, and at least its traffic with memory by the bandwidth. Both are counted over the graph of forward and backward as
it is run, each kernel reading its inputs and writing its outputs once: convolution, batch norm and activation apart.
Kernels that are fused beat that bound; caches that hold a layer's pictures do, too, which is why it says little about
CPUs.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from masktrain_trainer.config import Architecture, Precision
from masktrain_trainer.model.precision import choose_format
from masktrain_trainer.model.yolo import build_yolo

from .bare_model import CLASSES
from .report import emit
from .workload import Workload

COUNTED_IMAGES = 2
"""Batch norm needs more than one."""
COPIED_BYTES = {"cpu": 2**28, "cuda": 2**31}
"""Far more than any cache holds."""
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
ROUNDS = 20
_VIEWS = ("aten.view", "aten.t.", "aten.detach", "aten.permute", "aten.transpose", "aten.expand", "aten.slice")


@dataclass(frozen=True)
class Work:
    """Of one image, forward and backward."""

    operations: float
    """Floating-point, a multiplication with its addition counted as two."""
    traffic: float
    """Bytes read and written."""


@dataclass(frozen=True)
class Device:
    operations_per_second: float
    bytes_per_second: float

    def images_per_second(self, work: Work) -> float:
        return min(self.operations_per_second / work.operations, self.bytes_per_second / work.traffic)


def measure(workload: Workload, *, precision: str) -> float:
    """Print the limit of this device for the workload's model, and return it in images per second."""
    place = torch.device(workload.device)
    dtype = choose_format(Precision(precision), place)
    work = count(Architecture(workload.architecture), workload.image_size, dtype)
    device = measure_device(place, dtype)
    limit = device.images_per_second(work)
    emit(
        f"roofline/{workload.architecture}-{workload.image_size}px-{workload.device}",
        value=round(limit, 2),
        unit="images/s",
        gflop_per_image=round(work.operations / 1e9, 2),
        megabytes_per_image=round(work.traffic / 1e6, 1),
        measured_tflops=round(device.operations_per_second / 1e12, 3),
        measured_gigabytes_per_second=round(device.bytes_per_second / 1e9, 1),
        bound="memory" if limit < device.operations_per_second / work.operations else "arithmetic",
        format=str(dtype).removeprefix("torch."),
    )
    return limit


def count(architecture: Architecture, image_size: int, dtype: torch.dtype) -> Work:
    """Counted on tensors without memory: no device is needed."""
    with torch.device("meta"):
        model = build_yolo(architecture, CLASSES).to(dtype)
        images_BCHW = torch.empty(COUNTED_IMAGES, 3, image_size, image_size, dtype=dtype)
    traffic = _Traffic()
    with FlopCounterMode(display=False) as operations, traffic:
        torch.autograd.backward([raw.sum() for raw in model(images_BCHW)])
    return Work(operations.get_total_flops() / COUNTED_IMAGES, traffic.bytes / COUNTED_IMAGES)


class _Traffic(TorchDispatchMode):
    """Adds up the tensors that each kernel reads and writes; what only looks at a tensor in another way is none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), keywords: dict[str, Any] | None = None
    ) -> Any:
        result = function(*arguments, **(keywords or {}))
        if not str(function).startswith(_VIEWS):
            touched = tree_leaves((arguments, keywords, result))
            self.bytes += sum(tensor.nbytes for tensor in touched if isinstance(tensor, Tensor))
        return result


def measure_device(device: torch.device, dtype: torch.dtype) -> Device:
    """What a copy and a product of matrices reach: no kernel of a model is faster."""
    source = torch.zeros(COPIED_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    side = MATRIX_SIDE[device.type]
    matrix = torch.randn(side, side, device=device).to(dtype)
    return Device(
        operations_per_second=2 * side**3 / _seconds(lambda: matrix @ matrix, device),
        bytes_per_second=2 * source.nbytes / _seconds(lambda: target.copy_(source), device),
    )


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """The shortest of some rounds: what disturbs a measurement only ever makes it longer."""
    run()
    return min(_timed(run, device) for _ in range(ROUNDS))


def _timed(run: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
