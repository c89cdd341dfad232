"""The speed limit: forward and backward passes of the same model on random images that lie on the device already.

No data loading, no loss function, no optimizer: the sum of the raw predictions is differentiated.
"""

import time
from collections.abc import Callable

import torch

from masktrain_trainer.config import Architecture, Precision
from masktrain_trainer.model.precision import autocast, choose_format, with_layout
from masktrain_trainer.model.yolo import build_yolo

from .workload import Workload

CLASSES = 3
WARM_UP_PASSES = 3
SECONDS = 10.0


def bare_images_per_second(workload: Workload, precision: str) -> float:
    device = torch.device(workload.device)
    dtype = choose_format(Precision(precision), device)
    model = build_yolo(Architecture(workload.architecture), CLASSES)
    with_layout(model.to(device), torch.channels_last)
    shape = (workload.batch_size, 3, workload.image_size, workload.image_size)
    images_BCHW = torch.rand(shape, device=device).to(memory_format=torch.channels_last)

    def run() -> None:
        model.zero_grad(set_to_none=True)
        with autocast(device, dtype):
            raws = model(images_BCHW)
        torch.autograd.backward([raw.float().sum() for raw in raws])

    for _ in range(WARM_UP_PASSES):
        run()
    passes = max(WARM_UP_PASSES, round(SECONDS / _seconds(run, 1, device)))
    return passes * workload.batch_size / _seconds(run, passes, device)


def _seconds(run: Callable[[], None], passes: int, device: torch.device) -> float:
    started = _now(device)
    for _ in range(passes):
        run()
    return _now(device) - started


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
