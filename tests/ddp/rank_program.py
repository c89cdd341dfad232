"""What each rank of the DDP tests runs under torchrun: the gradient of one batch, and the weights after five steps."""

import sys
from datetime import timedelta
from pathlib import Path

import torch

from masktrain_trainer.config import Architecture, Hyperparameters
from masktrain_trainer.data.loader import Batch
from masktrain_trainer.model.loss import DetectionLoss
from masktrain_trainer.model.precision import build_scaler
from masktrain_trainer.model.yolo import Yolo, build_yolo
from masktrain_trainer.train.distributed import Ranks, process_groups
from masktrain_trainer.train.optimizer import ModelEma, build_optimizer
from masktrain_trainer.train.state import EarlyStopping, TrainingState
from masktrain_trainer.train.step import TrainStep

WORLD_SIZE = 2
IMAGES_PER_RANK = 2
IMAGE_SIZE = 64
CLASSES = 3
STEPS = 5
FORMATS = {"float32": torch.float32, "float64": torch.float64}


def start_model(dtype: torch.dtype) -> Yolo:
    torch.manual_seed(0)
    return build_yolo(Architecture.YOLOV5N, CLASSES).to(dtype)


def shard(rank: int, step: int = 0) -> Batch:
    """Random pixels and three boxes per image."""
    generator = torch.Generator().manual_seed(1000 * step + rank)
    images = torch.randint(0, 256, (IMAGES_PER_RANK, 3, IMAGE_SIZE, IMAGE_SIZE), generator=generator, dtype=torch.uint8)
    rows = 3 * IMAGES_PER_RANK
    positions = torch.arange(IMAGES_PER_RANK).repeat_interleave(3).float()
    classes = torch.randint(0, CLASSES, (rows,), generator=generator).float()
    boxes = 0.2 + 0.5 * torch.rand(rows, 4, generator=generator)
    return Batch(images, torch.column_stack([positions, classes, boxes]), torch.arange(IMAGES_PER_RANK))


def build_step(model: Yolo, ranks: Ranks) -> tuple[TrainStep, TrainingState]:
    h = Hyperparameters()
    optimizer = build_optimizer(model, h, IMAGES_PER_RANK * ranks.world_size)
    scaler = build_scaler(ranks.device, torch.float32)
    state = TrainingState(model, ModelEma(model, 0.9, 10), optimizer, scaler, EarlyStopping(0), torch.zeros(3))
    loss = DetectionLoss(model.anchors, h, image_size=IMAGE_SIZE, num_classes=CLASSES)
    return TrainStep(ranks, torch.float32, state, loss), state


def gradients(model: Yolo) -> dict[str, torch.Tensor]:
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


def compute_gradient(ranks: Ranks, dtype: torch.dtype, of_rank: int) -> dict[str, torch.Tensor]:
    model = start_model(dtype)
    step, _ = build_step(model, ranks)
    step.backward(shard(of_rank), synchronise=True)
    return gradients(model)


def train_five_steps(ranks: Ranks) -> dict[str, torch.Tensor]:
    """Two batches a step, of which only the second synchronises."""
    model = start_model(torch.float32)
    step, _ = build_step(model, ranks)
    for number in range(STEPS):
        step.backward(shard(ranks.rank, 2 * number), synchronise=False)
        step.backward(shard(ranks.rank, 2 * number + 1), synchronise=True)
        step.step()
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def main() -> None:
    output = Path(sys.argv[1])
    torch.set_num_threads(1)
    with process_groups(timedelta(seconds=60)) as ranks:
        found = {name: compute_gradient(ranks, dtype, ranks.rank) for name, dtype in FORMATS.items()}
        found["weights"] = train_five_steps(ranks)
        torch.save(found, output / f"rank-{ranks.rank}.pt")


if __name__ == "__main__":
    main()
