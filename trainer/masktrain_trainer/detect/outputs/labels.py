"""What was found as text: a file of YOLO's labels a frame, one table of all, one document a line."""

import csv
import io
import json
from pathlib import Path, PurePath

import numpy as np

from masktrain_trainer.data.geometry import xyxy_to_xywhn
from masktrain_trainer.detect.detector import Detection
from masktrain_trainer.detect.sources.base import Frame, Kind
from masktrain_trainer.files import make_results_folder
from masktrain_trainer.report.tables import as_text

from .base import Detected
from .naming import FreeNames, write_whole, writing

CSV_COLUMNS = ("medium", "frame", "seconds", "class", "name", "confidence", "x1", "y1", "x2", "y2", "width", "height")


class Stems:
    """What files of a frame are called, before their ending: `sub/a` for a picture, `clip_17` for a video's frame.

    Frames are counted from 1, as YOLOv5 does, before any stride.
    """

    def __init__(self) -> None:
        self._names = FreeNames()
        self._of_medium: dict[PurePath, PurePath] = {}

    def of(self, frame: Frame) -> PurePath:
        name, stem = frame.medium.name, stem_of(frame)
        # The whole name where another medium has the same but for its ending, or a frame of it would.
        if frame.medium.kind is Kind.PICTURE:
            return self._names.give(stem, name)
        if name not in self._of_medium:
            self._of_medium[name] = self._names.give_series(stem, name)
        stem = self._of_medium[name]
        return stem.with_name(f"{stem.name}_{frame.ordinal}")


def stem_of(frame: Frame) -> PurePath:
    """Names of live streams, with the dots of their addresses, have no ending."""
    name = frame.medium.name
    return name if frame.medium.kind is Kind.LIVE else name.with_name(name.stem)


class LabelFiles:
    """`labels/<name>.txt`, as YOLOv5 writes it: class, centre, width, height as fractions; none where nothing is."""

    def __init__(self, folder: Path, *, confidences: bool) -> None:
        self._folder = folder
        self._confidences = confidences
        self._stems = Stems()

    def write(self, detected: Detected) -> None:
        """Raises UnwritableResults."""
        stem = self._stems.of(detected.frame)
        if not detected.detections:
            return
        height, width = detected.frame.pixels_HWC.shape[:2]
        boxes_N4 = xyxy_to_xywhn(np.array([found.xyxy for found in detected.detections]), width=width, height=height)
        lines = [self._line(found, box_4) for found, box_4 in zip(detected.detections, boxes_N4.tolist(), strict=True)]
        path = self._folder / "labels" / stem.with_name(f"{stem.name}.txt")
        write_whole(self._folder, path, "".join(lines).encode())

    def close(self) -> None:
        """Every file is finished already."""

    def _line(self, found: Detection, box_4: list[float]) -> str:
        numbers = [*box_4, found.confidence] if self._confidences else box_4
        return f"{found.class_index} {' '.join(f'{number:.6g}' for number in numbers)}\n"


class _Lines:
    """A text file that grows by whole frames."""

    def __init__(self, folder: Path, name: str, beginning: str) -> None:
        self._path = folder / name
        with writing(self._path):
            make_results_folder(folder)
            self._path.write_text(beginning, encoding="utf-8")
            self._file = self._path.open("a", encoding="utf-8", newline="")

    def _append(self, text: str) -> None:
        # At once, for whoever reads along, and so that a full disk is noticed at the frame that it cost.
        with writing(self._path):
            self._file.write(text)
            self._file.flush()

    def close(self) -> None:
        with writing(self._path):
            self._file.close()


class CsvTable(_Lines):
    """`predictions.csv`: a row for each box, in pixels."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "predictions.csv", _csv([CSV_COLUMNS]))

    def write(self, detected: Detected) -> None:
        """Raises UnwritableResults."""
        frame = detected.frame
        height, width = frame.pixels_HWC.shape[:2]
        place = (as_text(str(frame.medium.name)), frame.ordinal, f"{frame.seconds:.3f}")
        self._append(_csv([(*place, *_cells(found), width, height) for found in detected.detections]))


def _cells(found: Detection) -> tuple[object, ...]:
    sides = (f"{side:.2f}" for side in found.xyxy)
    return found.class_index, as_text(found.name), f"{found.confidence:.4f}", *sides


class JsonLines(_Lines):
    """`predictions.jsonl`: a document for each frame, also where nothing was found."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "predictions.jsonl", "")

    def write(self, detected: Detected) -> None:
        """Raises UnwritableResults."""
        frame = detected.frame
        height, width = frame.pixels_HWC.shape[:2]
        document = {
            "medium": str(frame.medium.name),
            "frame": frame.ordinal,
            "seconds": round(frame.seconds, 3),
            "width": width,
            "height": height,
            "detections": [
                {
                    "class": found.class_index,
                    "name": found.name,
                    "confidence": round(found.confidence, 4),
                    "xyxy": [round(side, 2) for side in found.xyxy],
                }
                for found in detected.detections
            ],
        }
        self._append(json.dumps(document, ensure_ascii=False) + "\n")


def _csv(rows: list[tuple[object, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
