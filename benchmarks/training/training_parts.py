"""The parts of a training as the trainer puts them together, in this process, for measurements from inside."""

from dataclasses import dataclass

import torch

from masktrain_trainer.config import Architecture, Hyperparameters, Precision
from masktrain_trainer.data.loader import Batch
from masktrain_trainer.model.loss import DetectionLoss
from masktrain_trainer.model.precision import build_scaler, choose_format, with_layout
from masktrain_trainer.model.yolo import Yolo, build_yolo
from masktrain_trainer.train.distributed import Ranks
from masktrain_trainer.train.optimizer import ModelEma, build_optimizer
from masktrain_trainer.train.state import EarlyStopping, TrainingState
from masktrain_trainer.train.step import TrainStep

from .workload import Workload

CLASSES = 3
BOXES_PER_IMAGE = 8


@dataclass(frozen=True)
class Parts:
    state: TrainingState
    loss: DetectionLoss
    step: TrainStep
    dtype: torch.dtype


def single_rank(device: str) -> Ranks:
    place = torch.device("cuda", 0) if device == "cuda" else torch.device("cpu")
    return Ranks(rank=0, local_rank=0, world_size=1, local_world_size=1, device=place)


def build_parts(workload: Workload, precision: str, ranks: Ranks | None = None) -> Parts:
    ranks = ranks or single_rank(workload.device)
    dtype = choose_format(Precision(precision), ranks.device)
    torch.manual_seed(0)
    model = build_yolo(Architecture(workload.architecture), CLASSES)
    with_layout(model.to(ranks.device), torch.channels_last)
    loss = DetectionLoss(model.anchors, Hyperparameters(), image_size=workload.image_size, num_classes=CLASSES)
    state = build_state(model, workload, dtype, ranks.device)
    return Parts(state, loss.to(ranks.device), TrainStep(ranks, dtype, state, loss.to(ranks.device)), dtype)


def build_state(model: Yolo, workload: Workload, dtype: torch.dtype, device: torch.device) -> TrainingState:
    h = Hyperparameters()
    return TrainingState(
        model=model,
        ema=ModelEma(model, h.ema_decay, h.ema_ramp_steps),
        optimizer=build_optimizer(model, h, workload.batch_size),
        scaler=build_scaler(device, dtype),
        early_stopping=EarlyStopping(0),
        loss_sums_3=torch.zeros(3, device=device),
    )


def random_batch(batch_size: int, image_size: int) -> Batch:
    """Noise with boxes, as a loader hands it over."""
    generator = torch.Generator().manual_seed(0)
    targets_M6 = torch.rand(batch_size * BOXES_PER_IMAGE, 6, generator=generator)
    targets_M6 *= torch.tensor([batch_size, CLASSES, 1, 1, 0.5, 0.5])
    targets_M6[:, :2].floor_()
    images_BCHW = torch.randint(256, (batch_size, 3, image_size, image_size), dtype=torch.uint8, generator=generator)
    return Batch(images_BCHW, targets_M6, torch.arange(batch_size))
