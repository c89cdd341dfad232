"""What to do when a GPU's memory is not enough: the batch that fits, found by trying on the very same GPU.

An estimate from the memory at the failure could not tell: it is full then, however little was still missing.
"""

import gc
import traceback
from collections.abc import Callable
from functools import partial

import torch

from .batch_size import largest_side
from .context import Context
from .precision import autocast
from .state import TrainingState

SHARE = 0.9
"""Of what fits in a trial: a training's memory gets fragmented, and some batches have more boxes than others."""
GIBIBYTE = 1 << 30


def explain_out_of_memory(context: Context, state: TrainingState, error: torch.OutOfMemoryError) -> str:
    """Free what the failed step held, and find out by trials which batch fits; a sentence for the user."""
    traceback.clear_frames(error.__traceback__)
    state.optimizer.zero_grad(set_to_none=True)
    _release()
    per_rank = context.training.batch_size // context.ranks.world_size
    waits_for_others = context.training.sync_batch_norm and not context.ranks.alone
    fits = None if waits_for_others else largest_that_fits(partial(try_batch, context, state), per_rank)
    return sentence(context, per_rank, fits, _gpu(context.ranks.device))


def largest_that_fits(trial: Callable[[int], None], below: int) -> int:
    """By bisection the largest number of images under `below` whose trial does not run out of memory, less a reserve;
    0 if there is none.
    """
    fits, too_many = 0, below
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        try:
            trial(middle)
            fits = middle
        except torch.OutOfMemoryError as error:
            traceback.clear_frames(error.__traceback__)
            too_many = middle
        _release()
    return max(1, int(fits * SHARE)) if fits else 0


def try_batch(context: Context, state: TrainingState, images: int) -> None:
    """Forward and backward of a grey batch, beside the moments that the optimizer has not got yet.

    `torch.autograd.grad` and not `backward`, which would wake DDP's reducer. Raises OutOfMemoryError.
    """
    weights = [parameter for parameter in state.model.parameters() if parameter.requires_grad]
    moments = [torch.empty_like(weight) for weight in weights if not state.optimizer.state.get(weight)]
    side = largest_side(context.training, context.config.model.architecture.max_stride)
    grey_BCHW = torch.full((images, 3, side, side), 0.45, device=context.ranks.device)
    with autocast(context.ranks.device, context.format):
        raws = state.model(grey_BCHW.to(memory_format=torch.channels_last))
    total = torch.stack([raw.float().square().sum() for raw in raws]).sum()
    torch.autograd.grad(total, weights, allow_unused=True)
    del moments


def sentence(context: Context, per_rank: int, fits: int | None, gpu: str) -> str:
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
