"""`masktrain detect`: weights and pictures in, pictures with boxes and one line each out."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from masktrain_trainer.config import StoreSpec
from masktrain_trainer.errors import StoreError, UnusableWeights
from masktrain_trainer.predict.drawing import LabelledBox, draw_boxes
from masktrain_trainer.predict.predictor import Detection, DetectionOptions, Detector
from masktrain_trainer.stores import open_object
from masktrain_trainer.weights.detector import DetectorWeights
from masktrain_trainer.weights.load import read_weights

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class UnreadableSource(Exception):
    """`str()` says which source cannot be used and why."""


def list_images(source: Path) -> list[Path]:
    """The image itself, or a folder's images at any depth, by name. Raises UnreadableSource if there are none."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UnreadableSource(f"{source} does not exist.")
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise UnreadableSource(f"The folder {source} holds no image ({', '.join(sorted(SUFFIXES))}).")
    return found


def read_image(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) RGB, upright as its EXIF orientation says. Raises UnreadableSource."""
    try:
        with Image.open(path) as file:
            return np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise UnreadableSource(f"{path} is not a readable image: {error}.") from error


def output_names(images: list[Path], source: Path) -> Iterator[tuple[Path, Path]]:
    """Each image with the relative path of its picture; the sub-folders of a source folder are kept."""
    root = source if source.is_dir() else source.parent
    for image in images:
        yield image, image.relative_to(root)


class DetectionError(Exception):
    """`str()` is one sentence for the person at the terminal."""


def run_detection(
    weights: str, source: Path, output: Path, options: DetectionOptions, endpoint: str | None = None
) -> Iterator[str]:
    """Draw the detections of every image of `source` into `output`; yields one line for each. Raises DetectionError.

    An unreadable image of a folder is named and passed over.
    """
    try:
        images = list_images(source)
    except UnreadableSource as error:
        raise DetectionError(str(error)) from error
    detector = Detector(load_weights(weights, endpoint), options)
    for image, name in output_names(images, source):
        yield _detect_one(detector, image, output / name, skip_unreadable=source.is_dir())


def load_weights(weights: str, endpoint: str | None) -> DetectorWeights:
    """A best.pt or a .pt of YOLOv5, a local file or an object. Raises DetectionError.

    Credentials come from the usual AWS_* variables, or from Oracle's config file.
    """
    try:
        if "://" not in weights:
            return read_weights(Path(weights))
        store, key = open_object(weights, StoreSpec(endpoint=endpoint), None)
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / "weights.pt"
            store.download(key, local)
            return read_weights(local)
    except FileNotFoundError as error:
        raise DetectionError(f"The weights {weights} do not exist.") from error
    except OSError as error:
        raise DetectionError(f"The weights {weights} cannot be read: {error.strerror}.") from error
    except UnusableWeights as error:
        raise DetectionError(f"{weights} {error}") from error
    except (StoreError, ValueError) as error:
        raise DetectionError(str(error)) from error


def summarise(name: str, detections: Sequence[Detection]) -> str:
    """`a.jpg: 2 mask, 1 no mask`; classes in the order of the model."""
    counts = Counter((detection.class_index, detection.name) for detection in detections)
    return f"{name}: " + (", ".join(f"{count} {label}" for (_, label), count in sorted(counts.items())) or "nothing")


def _detect_one(detector: Detector, image: Path, output: Path, *, skip_unreadable: bool) -> str:
    try:
        pixels = read_image(image)
    except UnreadableSource as error:
        if skip_unreadable:
            return f"skipped: {error}"
        raise DetectionError(str(error)) from error
    detections = detector(pixels)
    boxes = [LabelledBox(found.xyxy, found.class_index, f"{found.name} {found.confidence:.2f}") for found in detections]
    output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_boxes(pixels, boxes)).save(output)
    return f"{summarise(str(image), detections)} -> {output}"
