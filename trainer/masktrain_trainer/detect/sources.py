"""What `--source` may name: an image file, or a folder of them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

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
