"""What both trainers are given: the drawn mask data set, as the zip that ours reads and unpacked for the other."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from examples.masks.build import build_dataset
from examples.masks.look import CLASSES

VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Workload:
    """One training. `train_images` is a multiple of the batch size: one trainer drops an incomplete batch."""

    architecture: str
    image_size: int
    batch_size: int
    epochs: int
    train_images: int
    device: str = "cpu"
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.architecture}-{self.image_size}px-batch{self.batch_size}-{self.device}"


@dataclass(frozen=True)
class DrawnDataset:
    """`archive` is the zip, `description` the data.yaml of the unpacked copy, with absolute paths."""

    archive: Path
    description: Path


def draw_dataset(folder: Path, *, train_images: int, image_size: int) -> DrawnDataset:
    """Draw `train_images` pictures and a quarter as many for validation."""
    images = round(train_images / (1 - VALIDATION_SHARE))
    archive = build_dataset(folder / f"masks-{image_size}.zip", images=images, size=image_size)
    unpacked = folder / f"masks-{image_size}"
    with zipfile.ZipFile(archive) as content:
        content.extractall(unpacked)
    description = unpacked / "absolute.yaml"
    document = {
        "train": str(unpacked / "train" / "images"),
        "val": str(unpacked / "valid" / "images"),
        "nc": len(CLASSES),
        "names": list(CLASSES),
    }
    description.write_text(yaml.safe_dump(document), encoding="utf-8")
    return DrawnDataset(archive, description)
