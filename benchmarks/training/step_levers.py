"""What each lever is worth: the same training step with it and without it, in turns in one process.

The step is put together from the trainer's own parts; a lever is off where the part is replaced by what programs do
that do not use it.
"""

import functools
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, cast
from unittest import mock

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler

from masktrain_trainer.config import Architecture, Hyperparameters, Precision
from masktrain_trainer.model import loss as loss_module
from masktrain_trainer.model.loss import DetectionLoss
from masktrain_trainer.model.precision import choose_format, with_layout
from masktrain_trainer.model.yolo import build_yolo
from masktrain_trainer.train.optimizer import FlatUpdate, ModelEma, TensorUpdate, build_optimizer
from masktrain_trainer.train.step import MAX_GRADIENT_NORM

from .report import compared, emit
from .training_parts import CLASSES, random_batch
from .workload import Workload

STEPS_PER_ROUND = 4
WARM_UP_STEPS = 2


@dataclass(frozen=True)
class Recipe:
    """The levers of one step; the defaults are what the trainer does where bfloat16 is not multiplied in hardware."""

    channels_last: bool = True
    fused_optimizer: bool = True
    foreach_ema: bool = True
    foreach_clip: bool = True
    flat: bool = True
    """Then the three before it, which are by tensor, do not apply."""
    loss_of_matches: bool = True
    """On a CPU; a GPU's loss keeps candidates that do not match."""
    bfloat16: bool = False
    compiled: bool = False


BY_TENSOR = Recipe(flat=False)

RECIPES: Mapping[str, tuple[Recipe, Recipe]] = {
    "channels_last": (Recipe(), Recipe(channels_last=False)),
    "flat buffers": (Recipe(), BY_TENSOR),
    "fused optimizer": (BY_TENSOR, replace(BY_TENSOR, fused_optimizer=False)),
    "foreach EMA": (BY_TENSOR, replace(BY_TENSOR, foreach_ema=False)),
    "foreach gradient clip": (BY_TENSOR, replace(BY_TENSOR, foreach_clip=False)),
    "loss of matches only": (Recipe(), Recipe(loss_of_matches=False)),
    "bfloat16 autocast": (Recipe(bfloat16=True), Recipe()),
    "torch.compile": (Recipe(compiled=True), Recipe()),
}
"""With and without. The trainer turns bfloat16 on by itself where the device multiplies it; compiling is on request."""


def compare(workload: Workload, *, rounds: int) -> None:
    for name, (with_it, without) in RECIPES.items():
        emit(
            f"lever/{name}/{workload}",
            **_measure(workload, with_it, without, rounds),
            default=_is_default(with_it, workload),
        )


def _is_default(recipe: Recipe, workload: Workload) -> bool:
    """Buffers are flat on CPUs; on GPUs the levers by tensor are in force."""
    chosen = Recipe(flat=workload.device == "cpu")
    return recipe in (chosen, replace(chosen, bfloat16=_chosen_format(workload) is torch.bfloat16))


def _chosen_format(workload: Workload) -> torch.dtype:
    return choose_format(Precision.AUTO, torch.device(workload.device))


def _measure(workload: Workload, with_it: Recipe, without: Recipe, rounds: int) -> dict[str, Any]:
    steps = {"with": build_step(workload, with_it), "without": build_step(workload, without)}
    speeds: dict[str, list[float]] = {name: [] for name in steps}
    for run in steps.values():
        _seconds(run, WARM_UP_STEPS)
    for _ in range(rounds):
        for name, run in steps.items():
            speeds[name].append(STEPS_PER_ROUND * workload.batch_size / _seconds(run, STEPS_PER_ROUND))
    return compared(speeds["with"], speeds["without"], peer_name="the same step without it", unit="images/s")


def build_step(workload: Workload, recipe: Recipe) -> Callable[[], None]:
    """Forward, loss, backward, clip, optimizer and average on one resident batch."""
    torch.manual_seed(0)
    device = torch.device(workload.device)
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    model = with_layout(build_yolo(Architecture(workload.architecture), CLASSES).to(device), layout)
    h = Hyperparameters()
    loss = DetectionLoss(model.anchors, h, image_size=workload.image_size, num_classes=CLASSES).to(device)
    optimizer = _optimizer(model, workload.batch_size, fused=recipe.fused_optimizer)
    ema = ModelEma(model, h.ema_decay, h.ema_ramp_steps)
    update = FlatUpdate(model, optimizer) if recipe.flat else TensorUpdate(model, optimizer)
    average = functools.partial(update.average, ema) if recipe.foreach_ema else _average_one_by_one(ema, model)
    scaler = GradScaler(enabled=False)
    network = cast("nn.Module", torch.compile(model)) if recipe.compiled else model
    batch = random_batch(workload.batch_size, workload.image_size)
    images_BCHW, targets_M6 = batch.images_BCHW.to(device), batch.targets_M6.to(device)

    def run() -> None:
        inputs_BCHW = images_BCHW.to(dtype=torch.float32, memory_format=layout).div_(255)
        with torch.autocast(device.type, torch.bfloat16) if recipe.bfloat16 else nullcontext():
            raws = network(inputs_BCHW)
        with nullcontext() if recipe.loss_of_matches else mock.patch.object(loss_module, "without_misses", _unchanged):
            total, _ = loss(raws, targets_M6)
        total.backward()
        if recipe.foreach_clip:
            update.clip(MAX_GRADIENT_NORM)
        else:
            nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM, foreach=False)
        update.step(scaler)
        update.clear_gradients()
        average()

    return run


def _unchanged(found: loss_module.Candidates) -> loss_module.Candidates:
    return found


def _optimizer(model: nn.Module, batch_size: int, *, fused: bool) -> torch.optim.Optimizer:
    optimizer = build_optimizer(model, Hyperparameters(learning_rate=1e-4), batch_size)
    for group in optimizer.param_groups:
        group["fused"] = fused
    return optimizer


def _average_one_by_one(ema: ModelEma, model: nn.Module) -> Callable[[], None]:
    """The textbook's way: a loop over two state dicts."""

    @torch.no_grad()
    def update() -> None:
        ema.updates += 1
        decay, current = ema.decay_at(ema.updates), model.state_dict()
        for name, averaged in ema.module.state_dict().items():
            if averaged.is_floating_point():
                averaged.mul_(decay).add_((1 - decay) * current[name])

    return update


def _seconds(run: Callable[[], None], steps: int) -> float:
    started = _now()
    for _ in range(steps):
        run()
    return _now() - started


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
