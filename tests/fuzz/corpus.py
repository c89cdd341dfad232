"""Valid inputs, small and of many kinds, that are then damaged."""

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn

from masktrain_trainer.checkpoint.spool import SnapshotMeta
from masktrain_trainer.checkpoint.state_files import slim_model
from masktrain_trainer.config import Architecture
from masktrain_trainer.export.yolov5 import write_yolov5
from masktrain_trainer.model.yolo import build_yolo
from masktrain_trainer.weights.load import load_weights
from tests.unit.trainer.data.exports import GOOD_LABELS, export, picture

NAMES = ["mask", "no mask"]

DATA_YAMLS = (
    "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n",
    "path: .\ntrain: train/images\nval: valid/images\nnames:\n  0: cat\n  1: dog\n",
    "# of an editor\r\ntrain: [train/images]\r\nval: valid\\images\r\nnc: 2\r\nnames: [cat, 12:30]\r\n",
    "train: /data/x/train/images\nval: /data/x/valid/images\ntest: ''\nnames: {0: yes, 1: 007}\nroboflow: {a: b}\n",
    "&a names: [cat, dog]\ntrain: &t train/images\nval: *t\nkpt_shape: [2, 3]\n",
)
LABELS = (
    GOOD_LABELS,
    "0 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9\n1 0.5 0.5 0.2 0.2\n",
    "1 0.50000001 1.0000000000000002 0.25 1e-1\r\n\r\n0 .5 .5 .5 .5\n",
    "\ufeff0 0.5 0.5 0.4 0.3",
    "",
)


@dataclass(frozen=True)
class Corpus:
    """`members`: a data set's files by name, of which each case damages one. `weights`: files of torch."""

    members: Mapping[str, bytes]
    pictures: Mapping[str, bytes]
    weights: Mapping[str, bytes]


def build(folder: Path) -> Corpus:
    """Written in `folder`."""
    members = {name: body if isinstance(body, bytes) else body.encode() for name, body in export().items()}
    return Corpus(members, pictures(), weights(folder))


def pictures() -> dict[str, bytes]:
    """One of each kind, by its ending."""
    colours = Image.open(io.BytesIO(picture(7, height=40, width=56)))
    deep = np.random.default_rng(0).integers(0, 65_536, (32, 24), dtype=np.uint16)
    found = {
        "a.jpg": picture(3),
        "deep.png": cv2.imencode(".png", deep)[1].tobytes(),
        "cmyk.jpg": _saved(colours.convert("CMYK"), "JPEG"),
        "progressive.jpg": _saved(colours, "JPEG", progressive=True),
        "palette.png": _saved(colours.convert("P"), "PNG"),
        "alpha.png": _saved(colours.convert("RGBA"), "PNG"),
        "two.gif": _saved(colours.convert("P"), "GIF", save_all=True, append_images=[colours.convert("P")]),
    }
    for kind in ("BMP", "TIFF", "WEBP", "PPM"):
        found[f"a.{kind.lower()}"] = _saved(colours, kind)
    turned = Image.Exif()
    turned[0x0112] = 6
    found["turned.jpg"] = _saved(colours, "JPEG", exif=turned)
    return found


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    body = io.BytesIO()
    image.save(body, kind, **options)
    return body.getvalue()


def weights(folder: Path) -> dict[str, bytes]:
    """Of us, of YOLOv5, and of others, as torch writes them."""
    torch.manual_seed(0)
    model = build_yolo(Architecture.YOLOV5N, len(NAMES)).half()
    state = {
        "ema": {"state_dict": model.state_dict()},
        "model_info": {"architecture": "yolov5n", "names": NAMES, "image_size": 64},
        "metrics": {},
        "training": {},
    }
    ours, theirs = folder / "best.pt", folder / "yolov5.pt"
    torch.save(
        slim_model(state, SnapshotMeta(epoch=3, step=9, fitness=0.5, is_best=True, reason="final")),
        ours,
    )
    write_yolov5(load_weights(str(ours), None), theirs)
    small = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    found = {"ours": ours.read_bytes(), "yolov5": theirs.read_bytes()}
    for name, document, options in (
        ("state dict", small.state_dict(), {}),
        ("module", small, {}),
        ("legacy", {"model": small.state_dict(), "epoch": 3}, {"_use_new_zipfile_serialization": False}),
    ):
        body = io.BytesIO()
        torch.save(document, body, **options)
        found[name] = body.getvalue()
    script = io.BytesIO()
    with warnings.catch_warnings():
        # Old, and what people have.
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(small), script)
    return found | {"TorchScript": script.getvalue()}
