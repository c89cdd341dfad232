"""What fits into a GPU's memory: the batch size of a run, and what to say when a batch turns out to be too large.

Both are found by trying on the very same GPU. An estimate from the memory at a failure could not tell: it is full then,
however little was still missing.
"""

import gc
import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from masktrain_trainer.checkpoint.state_files import load_state
from masktrain_trainer.config import TrainingSpec
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.heartbeat import Activity
from masktrain_trainer.model.precision import autocast
from masktrain_trainer.model.yolo import Yolo, build_yolo
from masktrain_trainer.run_directory import RestoreResult, read_document

from .distributed import Ranks
from .initialise import freeze
from .state import Context, TrainingState
from .step import SPREAD

log = logging.getLogger(__name__)

MEMORY_SHARE = 0.8
"""Of a GPU's memory; the rest is for fragmentation and for batches with many boxes."""
TRIED = (1, 2, 4, 8, 16)
COPIES_OF_WEIGHTS = 4
"""That training holds and a trial does not: the average, two moments of Adam, and the buckets that ranks exchange."""


def choose_batch_size(context: Context) -> Context:
    """The context with the batch size of this run; the same on all ranks.

    Raises UserError if the batch cannot be dealt evenly to the ranks.
    """
    training, ranks = context.training, context.ranks
    if not training.auto_batch:
        return _with_batch_size(context, _dealt_evenly(training.batch_size, ranks))
    begun_with = ranks.broadcast(_restored(context) if ranks.leads else None)
    if begun_with is not None:
        return _with_batch_size(context, _dealt_evenly(begun_with, ranks))
    if ranks.device.type != "cuda":
        per_rank = max(1, training.batch_size // ranks.world_size)
        log.info("training.autoBatch measures GPUs; on CPUs the batch is %d", per_rank * ranks.world_size)
        return _with_batch_size(context, per_rank * ranks.world_size)
    # The smallest GPU decides, because every rank takes the same number.
    per_rank = min(ranks.gather(_measure_batch(context)))
    log.info("training.autoBatch: %d images fit on each of %d rank(s)", per_rank, ranks.world_size)
    return _with_batch_size(context, per_rank * ranks.world_size)


def largest_batch(measured: Sequence[tuple[int, int]], budget: float) -> int:
    """Images whose memory, extrapolated linearly from (images, bytes), stays within `budget` bytes; at least 1."""
    if len(measured) < 2:
        return max((images for images, _ in measured), default=1)
    images_N, bytes_N = np.array(measured, np.float64).T
    per_image, fixed = np.polyfit(images_N, bytes_N, 1)
    # A small model may not show any growth; then only what was tried is known to fit.
    if per_image <= 0:
        return measured[-1][0]
    return max(1, int((budget - fixed) / per_image))


def _measure_batch(context: Context) -> int:
    """Images that fit on this rank's GPU, found with a model of its own that is thrown away again."""
    device = context.ranks.device
    free, total = torch.cuda.mem_get_info(device)
    model = build_yolo(context.config.model.architecture, len(context.prepared.names)).to(device)
    freeze(model, context.training.freeze)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    measured: list[tuple[int, int]] = []
    for images in TRIED:
        try:
            measured.append((images, _peak_bytes(model, images, context)))
        except torch.OutOfMemoryError:
            break
    del model
    gc.collect()  # modules refer to each other in circles, which only the collector frees
    torch.cuda.empty_cache()
    # What is taken already counts, this process's CUDA context included.
    budget = MEMORY_SHARE * total - (total - free) - COPIES_OF_WEIGHTS * weights
    return min(largest_batch(measured, budget), len(context.prepared.train.images))


def _peak_bytes(model: Yolo, images: int, context: Context) -> int:
    """Of a forward and a backward pass of grey images, the weights included."""
    device, side = context.ranks.device, largest_side(context.training, context.config.model.architecture.max_stride)
    torch.cuda.reset_peak_memory_stats(device)
    grey_BCHW = torch.full((images, 3, side, side), 0.45, device=device).to(memory_format=torch.channels_last)
    with autocast(device, context.format):
        raws = model(grey_BCHW)
    # Any loss will do: what is measured is what the backward pass holds.
    torch.stack([raw.float().square().sum() for raw in raws]).sum().backward()  # type: ignore[no-untyped-call]
    return torch.cuda.max_memory_allocated(device)


def largest_side(training: TrainingSpec, stride: int) -> int:
    """Of the images of any batch, in pixels."""
    scale = 1 + SPREAD if training.multi_scale else 1.0
    return int(training.image_size * scale) // stride * stride


def _restored(context: Context) -> int | None:
    """The batch size that a stored checkpoint was trained with: its place in the epoch is counted in such batches."""
    restored = read_document(context.run.restore_result, RestoreResult)
    if restored is None or restored.file is None:
        return None
    return int(load_state(Path(restored.file), mapped=True)["training"]["batchSize"])


def _dealt_evenly(batch_size: int, ranks: Ranks) -> int:
    if batch_size % ranks.world_size:
        raise InvalidConfiguration(
            f"training.batchSize {batch_size} counts the images of all ranks together and must be a multiple of their "
            f"number, {ranks.world_size}.",
        )
    return batch_size


def _with_batch_size(context: Context, batch_size: int) -> Context:
    training = context.training.model_copy(update={"batch_size": batch_size})
    return replace(context, config=context.config.model_copy(update={"training": training}))


SHARE = 0.9
"""Of what fits in a trial: a training's memory gets fragmented, and some batches have more boxes than others."""
GIBIBYTE = 1 << 30


TRIALS_SHARE = 0.25
"""Of the time without a heartbeat after which a rank counts as hung: the others wait in a collective meanwhile."""


def untried(context: Context) -> str:
    """The sentence as long as nothing has been tried."""
    per_rank = context.training.batch_size // context.ranks.world_size
    return out_of_memory_sentence(context, per_rank, None, _gpu(context.ranks.device))


def explain_out_of_memory(
    context: Context,
    state: TrainingState,
    error: torch.OutOfMemoryError,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Free what the failed step held, and find out by trials which batch fits; a sentence for the user."""
    end = clock() + TRIALS_SHARE * context.config.hang_timeout_seconds
    traceback.clear_frames(error.__traceback__)  # they hold the activations of the step that failed
    state.optimizer.zero_grad(set_to_none=True)
    _release()
    per_rank = context.training.batch_size // context.ranks.world_size
    # A synchronised batch norm would wait in the trial for ranks that have no part in it.
    waits_for_others = context.training.sync_batch_norm and not context.ranks.alone
    trial = partial(try_batch, context, state)
    fits = None if waits_for_others else largest_that_fits(trial, per_rank, lambda: clock() < end)
    return out_of_memory_sentence(context, per_rank, fits, _gpu(context.ranks.device))


def largest_that_fits(
    trial: Callable[[int], None], below: int, in_time: Callable[[], bool] = lambda: True
) -> int | None:
    """By bisection the largest number of images under `below` whose trial does not run out of memory, less a reserve;
    0 if there is none. No trial begins once it is late: then the largest that was seen to fit, or None.
    """
    fits, too_many = 0, below
    while too_many - fits > 1:
        if not in_time():
            return max(1, int(fits * SHARE)) if fits else None
        middle = (fits + too_many) // 2
        try:
            trial(middle)
            fits = middle
        except torch.OutOfMemoryError as error:
            # The error's frames hold the activations of the trial.
            traceback.clear_frames(error.__traceback__)
            too_many = middle
        _release()
    return max(1, int(fits * SHARE)) if fits else 0


def try_batch(context: Context, state: TrainingState, images: int) -> None:
    """Forward and backward of a grey batch, beside the moments that the optimizer has not got yet.

    `torch.autograd.grad` and not `backward`, which would wake DDP's reducer. Raises OutOfMemoryError.
    """
    context.heartbeat.beat(Activity.SAVING)
    weights = [parameter for parameter in state.model.parameters() if parameter.requires_grad]
    moments = [torch.empty_like(weight) for weight in weights if not state.optimizer.state.get(weight)]
    side = largest_side(context.training, context.config.model.architecture.max_stride)
    grey_BCHW = torch.full((images, 3, side, side), 0.45, device=context.ranks.device)
    with autocast(context.ranks.device, context.format):
        raws = state.model(grey_BCHW.to(memory_format=torch.channels_last))
    total = torch.stack([raw.float().square().sum() for raw in raws]).sum()
    torch.autograd.grad(total, weights, allow_unused=True)
    del moments


def out_of_memory_sentence(context: Context, per_rank: int, fits: int | None, gpu: str) -> str:
    """`fits`: images on each rank, 0 if not even one; None if it could not be tried."""
    spec, world_size = context.training, context.ranks.world_size
    if fits:
        advice = f"{fits} fit on each, so set training.batchSize to {fits * world_size} or lower training.imageSize"
    elif fits is None and per_rank > 1:
        advice = f"try half of it, training.batchSize {per_rank // 2 * world_size}, or lower training.imageSize"
    else:
        advice = "not even one fits, so lower training.imageSize or take a smaller model.architecture"
    return (
        f"The memory of {gpu} is too small for {per_rank} images of {spec.image_size} px on each of {world_size} "
        f"rank(s), training.batchSize {spec.batch_size}: {advice}."
    )


def _gpu(device: torch.device) -> str:
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.name} ({properties.total_memory / GIBIBYTE:.1f} GiB)"


def _release() -> None:
    gc.collect()
    torch.cuda.empty_cache()
