"""A model that has learnt something, so that a loss of accuracy is a number: coloured rectangles, in seconds."""

import zipfile
from pathlib import Path

import torch

from masktrain_trainer.checkpoint.spool import SnapshotMeta
from masktrain_trainer.checkpoint.state_files import slim_model
from masktrain_trainer.config import Architecture, Hyperparameters
from masktrain_trainer.data.loader import ValBatch, val_batches
from masktrain_trainer.data.prepared import PreparedDataset
from masktrain_trainer.data.source.data_yaml import read_data_yaml
from masktrain_trainer.data.source.verify import verify_splits
from masktrain_trainer.model.blocks import Detect
from masktrain_trainer.model.loss import DetectionLoss
from masktrain_trainer.model.precision import to_input
from masktrain_trainer.model.yolo import Yolo, build_yolo
from tests.ddp.tiny_dataset import write_dataset

SIDE = 64
STEPS = 180


def prepare_rectangles(folder: Path) -> PreparedDataset:
    """The export lies unpacked in `folder`/export."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(write_dataset(folder / "rectangles.zip", training=32, validation=24)) as archive:
        archive.extractall(folder / "export")
    described = read_data_yaml(folder / "export")
    found = verify_splits(
        described.images,
        described.files,
        output=folder,
        classes=len(described.names),
        image_size=SIDE,
        processes=1,
        say=lambda _: None,
    )
    return PreparedDataset(names=described.names, image_size=SIDE, train=found["train"].split, val=found["val"].split)


def write_trained(path: Path, prepared: PreparedDataset) -> Path:
    """A best.pt of a yolov5n."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = build_yolo(Architecture.YOLOV5N, len(prepared.names))
    head = model.model[-1]
    assert isinstance(head, Detect)
    with torch.no_grad():
        for convolution in head.m:
            assert isinstance(convolution.bias, torch.Tensor)
            convolution.bias.view(3, -1)[:, 4] -= 4  # it begins with seeing nothing
    learn(model, list(val_batches(prepared, prepared.train, image_size=SIDE, batch_size=8)))
    state = {
        "ema": {"state_dict": model.state_dict()},
        "model_info": {"architecture": "yolov5n", "names": prepared.names, "image_size": SIDE},
        "metrics": {},
        "training": {},
    }
    torch.save(slim_model(state, SnapshotMeta(epoch=0, step=STEPS, fitness=0.5, is_best=True, reason="final")), path)
    return path


def learn(model: Yolo, batches: list[ValBatch], steps: int = STEPS) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1  # so few steps have to be enough for the averages
    loss = DetectionLoss(model.anchors, Hyperparameters(class_gain=20.0), image_size=640, num_classes=model.num_classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.003, total_steps=steps)
    for step in range(steps):
        batch = batches[step % len(batches)]
        total, _ = loss(model.train()(to_input(batch.images_BCHW, model.anchors)), batch.targets_M6)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        schedule.step()
