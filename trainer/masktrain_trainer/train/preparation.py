"""What may be done to a model before it is trained: freezing layers, batch norms over all ranks, compiling.

None of it changes the names in the state dict, so checkpoints and best.pt look the same with and without.
"""

import logging
import os
import shutil

import torch
from torch import nn

from masktrain_trainer.config import FailureReason
from masktrain_trainer.model.yolo import Yolo

from .distributed import Ranks
from .errors import UserError

log = logging.getLogger(__name__)


def freeze(model: Yolo, layers: int) -> None:
    """The first `layers` layers keep their weights; as in YOLOv5 their batch statistics still follow the data.

    Raises UserError if nothing but the head's input would be left to train.
    """
    if layers >= len(model.model):
        raise UserError(
            FailureReason.INVALID_CONFIGURATION,
            f"training.freeze is {layers}, but this architecture has {len(model.model) - 1} layers before its head.",
        )
    for layer in model.model[:layers]:
        layer.requires_grad_(False)
    if layers:
        log.info("the first %d layers are frozen", layers)


def synchronise_batch_norms(model: Yolo, ranks: Ranks) -> None:
    """Batch norms see the batches of all ranks as one. PyTorch does that on GPUs only.

    Parameters stay the same objects; do it after the average is copied, which needs none of it.
    """
    if ranks.device.type != "cuda":
        log.info("training.syncBatchNorm has no effect on CPUs: each rank normalises over its own batch")
    elif not ranks.alone:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]


def compile_model(model: Yolo, device: torch.device) -> None:
    """Compile forward and backward passes for one size of image, at their first call.

    Raises UserError where the compiler behind torch.compile is missing.
    """
    if shutil.which(os.environ.get("CXX", "g++")) is None and shutil.which("clang++") is None:
        raise UserError(
            FailureReason.INVALID_CONFIGURATION,
            "training.compile needs a C++ compiler in the trainer's image, and there is none: "
            "use an image with g++ in compute.image, or leave training.compile out.",
        )
    log.info("the model is compiled for this %s, which takes a while", device.type)
    model.compile(dynamic=False)
