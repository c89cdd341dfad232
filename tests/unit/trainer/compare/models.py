"""Untrained models that see what their last layer is biased to see, and films for them."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from masktrain_trainer.checkpoint.spool import SnapshotMeta
from masktrain_trainer.checkpoint.state_files import slim_model
from masktrain_trainer.config import Architecture
from masktrain_trainer.model.blocks import Detect
from masktrain_trainer.model.yolo import build_yolo


def write_model(path: Path, names: Sequence[str], *, seed: int = 0, sees: int = 0, objectness: float = 1.0) -> Path:
    """Sees class `sees` everywhere, more surely with more `objectness`."""
    torch.manual_seed(seed)
    model = build_yolo(Architecture.YOLOV5N, len(names))
    with torch.no_grad():
        detect = model.model[-1]
        assert isinstance(detect, Detect)
        for head in detect.m:
            assert isinstance(head, torch.nn.Conv2d)
            assert head.bias is not None
            head.bias.view(3, -1)[:, 4] = objectness
            head.bias.view(3, -1)[:, 5 + sees] = 3
    state = {
        "ema": {"state_dict": model.state_dict()},
        "model_info": {"architecture": "yolov5n", "names": list(names), "image_size": 64},
        "metrics": {},
        "training": {},
    }
    torch.save(slim_model(state, SnapshotMeta(epoch=3, step=9, fitness=0.5, is_best=True, reason="final")), path)
    return path


def write_film(path: Path, frames: int = 16, size: tuple[int, int] = (96, 64), rate: float = 10.0) -> Path:
    """A square that crosses a changing ground; `size` is width and height."""
    file = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    assert file.isOpened()
    rng = np.random.default_rng(0)
    for frame in range(frames):
        ground = cv2.resize(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8), size)
        place = round(frame * size[0] / frames)
        cv2.rectangle(ground, (place, 20), (place + 15, 35), (255, 255, 255), -1)
        file.write(ground)
    file.release()
    return path
