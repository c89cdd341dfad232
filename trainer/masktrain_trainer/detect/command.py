"""`masktrain detect`: weights and pictures in, pictures with boxes and one line each out."""

import os
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masktrain_trainer.data.source.file_list import is_clutter
from masktrain_trainer.data.source.pictures import LIKELY_PICTURES, READ_SUFFIXES, UnreadablePicture, read_picture
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.files import RESULTS_MARK, choose_output, make_results_folder
from masktrain_trainer.predict.drawing import LabelledBox, draw_boxes
from masktrain_trainer.predict.fonts import drawable_names, undrawable
from masktrain_trainer.predict.models import load_model

from .detector import Detection, DetectionOptions, Detector

NEVER_WRITTEN = frozenset({".dib", ".dng", ".pbm", ".pfm", ".pgm"})
"""Endings that are read but have no place for colours, or that Pillow writes otherwise or not at all."""
NARROW_FORMATS = {"AVIF": 65_535, "GIF": 65_535, "JPEG": 65_500, "MPO": 65_500, "WEBP": 16_383}
"""The longest side in pixels that can be written; a PNG may be called `.jpg` and be longer."""
BATCH_SIZE = 8
"""Pictures that are read before they are detected together."""


def list_images(source: Path) -> list[Path]:
    """The image itself, or a folder's images at any depth, by name. Raises InvalidConfiguration if there are none.

    Folders with results of an earlier run are passed over: they hold the same pictures with boxes on them.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InvalidConfiguration(f"{source} does not exist.")
    # Sorted, since the order of a folder differs from one file system to the next.
    # A link to nothing is named, too; what is neither, a pipe for instance, would be waited for.
    files = sorted(path for path in _files_below(source) if path.is_file() or not path.exists())
    if not any(path.suffix.lower() in READ_SUFFIXES for path in files):
        raise InvalidConfiguration(_no_images(source, files))
    # Those that are not read become a line that says so.
    return [path for path in files if path.suffix.lower() in READ_SUFFIXES | LIKELY_PICTURES]


def _files_below(source: Path) -> Iterator[Path]:
    """Links to folders are followed, each folder once: they may lead to one around them."""
    seen = {source.resolve()}
    for folder, folders, names in os.walk(source, followlinks=True):
        here = Path(folder)
        folders[:] = [name for name in sorted(folders) if not is_clutter(name) and _is_new(here / name, seen)]
        yield from (here / name for name in names if not is_clutter(name))


def _is_new(folder: Path, seen: set[Path]) -> bool:
    real = folder.resolve()
    if real in seen or (folder / RESULTS_MARK).exists():
        return False
    seen.add(real)
    return True


def _no_images(source: Path, files: list[Path]) -> str:
    others = [path for path in files if path.suffix.lower() in LIKELY_PICTURES]
    told = f"; {others[0]} is one of {len(others)} of other kinds: save them as JPEG or PNG" if others else ""
    return f"The folder {source} holds no image ({', '.join(sorted(READ_SUFFIXES))}){told}."


def output_names(images: list[Path], source: Path) -> Iterator[tuple[Path, Path]]:
    """Each image with the relative path of its picture; the sub-folders of a source folder are kept.

    A picture of colours whose ending promises something else gets another one behind it, and as many as it takes to
    have a name that no other picture has.
    """
    root = source if source.is_dir() else source.parent
    taken = {image.relative_to(root) for image in images}
    for image in images:
        name = image.relative_to(root)
        yield image, name if image.suffix.lower() in READ_SUFFIXES - NEVER_WRITTEN else _as_png(name, taken)


def _as_png(name: Path, taken: Container[Path]) -> Path:
    name = name.with_name(f"{name.name}.png")
    return _as_png(name, taken) if name in taken else name


def run_detection(
    weights: str, source: Path, output: Path, options: DetectionOptions, endpoint: str | None = None
) -> Iterator[str]:
    """Draw the detections of every image of `source` into `output`, or into a numbered folder beside it if that is not
    empty: nothing is ever overwritten. Yields one line for each image. Raises UserError.

    An unreadable image of a folder is named and passed over.
    """
    folder = choose_output(output, "the pictures with boxes")
    images = list_images(source)
    model = load_model(weights, endpoint)
    if folder != output:
        yield f"{output} is not empty: the pictures go to {folder}"
    if (sentence := undrawable(model.names)) is not None:
        yield sentence
    detector = Detector(model, options)
    drawing = _Drawing(folder, drawable_names(model.names))
    named = output_names(images, source)
    while batch := list(islice(named, BATCH_SIZE)):
        yield from _detect_batch(detector, batch, drawing, skip_unreadable=source.is_dir())


@dataclass(frozen=True)
class _Drawing:
    """Where pictures go, and what is drawn of each class's name."""

    folder: Path
    names: Sequence[str]

    def write(self, picture_HWC: NDArray[np.uint8], detections: Sequence[Detection], name: Path) -> Path:
        boxes = [
            LabelledBox(found.xyxy, found.class_index, f"{self.names[found.class_index]} {found.confidence:.2f}")
            for found in detections
        ]
        make_results_folder(self.folder)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return _saved(Image.fromarray(draw_boxes(picture_HWC, boxes)), path)


def _saved(picture: Image.Image, path: Path) -> Path:
    """Where the picture was written: a PNG where `path`'s format has no place for one so high or wide."""
    most = NARROW_FORMATS.get(Image.registered_extensions().get(path.suffix.lower(), ""))
    if most is not None and max(picture.size) > most:
        path = path.with_name(f"{path.name}.png")
    picture.save(path)
    return path


def summarise(name: str, detections: Sequence[Detection]) -> str:
    """`a.jpg: 2 mask, 1 no mask`; classes in the order of the model."""
    counts = Counter((detection.class_index, detection.name) for detection in detections)
    return f"{name}: " + (", ".join(f"{count} {label}" for (_, label), count in sorted(counts.items())) or "nothing")


def _detect_batch(
    detector: Detector, batch: list[tuple[Path, Path]], drawing: _Drawing, *, skip_unreadable: bool
) -> Iterator[str]:
    pictures = [_read(image, skip_unreadable=skip_unreadable) for image, _ in batch]
    found = iter(detector([picture for picture in pictures if not isinstance(picture, str)]))
    for (image, name), picture in zip(batch, pictures, strict=True):
        if isinstance(picture, str):
            yield f"skipped: {picture}"
        else:
            detections = next(found)
            yield f"{summarise(str(image), detections)} -> {drawing.write(picture, detections, name)}"


def _read(image: Path, *, skip_unreadable: bool) -> NDArray[np.uint8] | str:
    """The picture, or the sentence that says why it is passed over."""
    # By its ending, as in training: of many a raw file of a camera the thumbnail could be read.
    if skip_unreadable and image.suffix.lower() in LIKELY_PICTURES:
        return f"{image} is of a kind that is not read; save it as JPEG or PNG."
    picture = read_picture(image)
    if not isinstance(picture, UnreadablePicture):
        return picture
    sentence = f"{image} is not a readable image: {picture.reason}."
    if skip_unreadable:
        return sentence
    raise InvalidConfiguration(sentence)
