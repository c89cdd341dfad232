"""`masktrain detect`: weights and pictures in, pictures with boxes and one line each out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from masktrain_trainer.data.source.pictures import FORMATS, MOST_PIXELS
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.predict.drawing import LabelledBox, draw_boxes
from masktrain_trainer.weights.load import load_weights

from .detector import Detection, DetectionOptions, Detector

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


BATCH_SIZE = 8
"""Pictures that are read before they are detected together."""


def list_images(source: Path) -> list[Path]:
    """The image itself, or a folder's images at any depth, by name. Raises InvalidConfiguration if there are none."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InvalidConfiguration(f"{source} does not exist.")
    # Sorted, since the order of a folder differs from one file system to the next.
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise InvalidConfiguration(f"The folder {source} holds no image ({', '.join(sorted(SUFFIXES))}).")
    return found


def read_image(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) RGB, upright as its EXIF orientation says. Raises InvalidConfiguration."""
    try:
        # Whatever the file's name says, it may be of a format whose reader runs another program, such as Ghostscript.
        with Image.open(path, formats=FORMATS) as file:
            _refuse_huge(file)
            return np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
    except InvalidConfiguration:
        raise
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise InvalidConfiguration(f"{path} is not a readable image: {error}.") from error


def _refuse_huge(picture: Image.Image) -> None:
    if picture.width * picture.height > MOST_PIXELS:
        raise ValueError(f"it measures {picture.width} x {picture.height} pixels, more than {MOST_PIXELS:,}")


def output_names(images: list[Path], source: Path) -> Iterator[tuple[Path, Path]]:
    """Each image with the relative path of its picture; the sub-folders of a source folder are kept."""
    root = source if source.is_dir() else source.parent
    for image in images:
        yield image, image.relative_to(root)


def run_detection(
    weights: str, source: Path, output: Path, options: DetectionOptions, endpoint: str | None = None
) -> Iterator[str]:
    """Draw the detections of every image of `source` into `output`; yields one line for each. Raises UserError.

    An unreadable image of a folder is named and passed over.
    """
    images = list_images(source)
    detector = Detector(load_weights(weights, endpoint), options)
    named = output_names(images, source)
    while batch := list(islice(named, BATCH_SIZE)):
        yield from _detect_batch(detector, batch, output, skip_unreadable=source.is_dir())


def summarise(name: str, detections: Sequence[Detection]) -> str:
    """`a.jpg: 2 mask, 1 no mask`; classes in the order of the model."""
    counts = Counter((detection.class_index, detection.name) for detection in detections)
    return f"{name}: " + (", ".join(f"{count} {label}" for (_, label), count in sorted(counts.items())) or "nothing")


def _detect_batch(
    detector: Detector, batch: list[tuple[Path, Path]], output: Path, *, skip_unreadable: bool
) -> Iterator[str]:
    pictures = [_read(image, skip_unreadable=skip_unreadable) for image, _ in batch]
    found = iter(detector([picture for picture in pictures if not isinstance(picture, str)]))
    for (image, name), picture in zip(batch, pictures, strict=True):
        if isinstance(picture, str):
            yield f"skipped: {picture}"
        else:
            detections = next(found)
            _draw(picture, detections, output / name)
            yield f"{summarise(str(image), detections)} -> {output / name}"


def _read(image: Path, *, skip_unreadable: bool) -> NDArray[np.uint8] | str:
    """The picture, or the sentence that says why it is passed over."""
    try:
        return read_image(image)
    except InvalidConfiguration as error:
        if skip_unreadable:
            return str(error)
        raise


def _draw(picture_HWC: NDArray[np.uint8], detections: Sequence[Detection], path: Path) -> None:
    boxes = [LabelledBox(found.xyxy, found.class_index, f"{found.name} {found.confidence:.2f}") for found in detections]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_boxes(picture_HWC, boxes)).save(path)
