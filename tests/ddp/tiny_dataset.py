"""A data set of coloured rectangles in a Roboflow export, small enough to train on within a test."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ["red", "green"]
DATA_YAML = "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['red', 'green']\n"


def write_dataset(path: Path, *, training: int = 16, validation: int = 4, data_yaml: str = DATA_YAML) -> Path:
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.yaml", data_yaml)
        for split, count in (("train", training), ("valid", validation)):
            for index in range(count):
                _write_example(archive, f"{split}/{{}}/picture-{index}", rng)
    return path


def _write_example(archive: zipfile.ZipFile, name: str, rng: np.random.Generator) -> None:
    """One grey 96 x 64 picture with one rectangle."""
    pixels = np.full((64, 96, 3), 120, np.uint8)
    label = int(rng.integers(2))
    x, y, width, height = int(rng.integers(0, 48)), int(rng.integers(0, 32)), 36, 24
    pixels[y : y + height, x : x + width] = (220, 30, 30) if label == 0 else (30, 200, 30)
    jpeg = io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG")
    archive.writestr(name.format("images") + ".jpg", jpeg.getvalue())
    box = ((x + width / 2) / 96, (y + height / 2) / 64, width / 96, height / 64)
    archive.writestr(name.format("labels") + ".txt", f"{label} " + " ".join(map(str, box)) + "\n")
