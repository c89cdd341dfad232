"""What was found, cut out of its picture: `crops/<class>/<name>.jpg`, as YOLOv5 lays it out."""

import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from masktrain_trainer.data.geometry import Image as Pixels

from .base import Detected
from .labels import Stems
from .naming import write_whole

GROWTH, MARGIN = 1.02, 10
"""YOLOv5's: a crop is so many times as large as its box, and so many pixels larger."""
_NO_NAME = re.compile(r"[/\\\x00-\x1f]|^\.+")


class Crops:
    """`names`: of the classes, as folders are called."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._classes = [_NO_NAME.sub("_", name)[:100] or f"class {index}" for index, name in enumerate(names)]
        self._stems = Stems()

    def write(self, detected: Detected) -> None:
        """Raises UnwritableResults."""
        stem = self._stems.of(detected.frame)
        seen: Counter[str] = Counter()
        for found in detected.detections:
            crop_HWC = cut_out(detected.frame.pixels_HWC, found.xyxy)
            name = self._classes[found.class_index]
            seen[name] += 1
            number = "" if seen[name] == 1 else f"-{seen[name]}"
            path = self._folder / "crops" / name / stem.with_name(f"{stem.name}{number}.jpg")
            write_whole(self._folder, path, _jpeg(crop_HWC))

    def close(self) -> None:
        """Every crop is finished already."""


def cut_out(pixels_HWC: Pixels, xyxy: tuple[float, float, float, float]) -> Pixels:
    """The box and a little around it; at least one pixel."""
    height, width = pixels_HWC.shape[:2]
    x1, x2 = _grown(xyxy[0], xyxy[2], width)
    y1, y2 = _grown(xyxy[1], xyxy[3], height)
    return pixels_HWC[y1:y2, x1:x2]


def _grown(low: float, high: float, most: int) -> tuple[int, int]:
    centre, half = (low + high) / 2, ((high - low) * GROWTH + MARGIN) / 2
    first = min(max(int(centre - half), 0), most - 1)
    return first, max(min(int(centre + half), most), first + 1)


def _jpeg(pixels_HWC: Pixels) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels_HWC).save(content, "JPEG", quality=95, subsampling=0)
    return content.getvalue()
