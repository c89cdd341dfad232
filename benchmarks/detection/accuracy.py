"""mAP of ours and of v7.0's val.py, for the same weights on the same pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.training import yolov5
from benchmarks.training.report import emit

from . import programs
from .models import unpacked

MOST_APART = 0.001


def compare(weights: Mapping[str, Path], sizes: Sequence[int], sets: Mapping[str, Path], folder: Path) -> None:
    """weights: files that v7.0 reads, by architecture. sets: zips by name."""
    for architecture, file in weights.items():
        for image_size in sizes:
            for name, data in sets.items():
                place = folder / f"{architecture}-{image_size}-{name}"
                ours = programs.our_scores(file, data, image_size, place)
                theirs = programs.peer_scores(file, unpacked(data), image_size, place)
                _print(f"{architecture}-{image_size}px/{name}", ours, theirs)


def _print(title: str, ours: programs.Scores, theirs: programs.Scores) -> None:
    apart = max(abs(ours.map50 - theirs.map50), abs(ours.map50_95 - theirs.map50_95))
    emit(
        f"detect-map-by-v7.0/{title}",
        value=round(apart, 5),
        unit="mAP, the larger difference of mAP50 and mAP50-95",
        limit=MOST_APART,
        better="lower",
        ours=[ours.map50, ours.map50_95],
        peer=[theirs.map50, theirs.map50_95],
        peer_name=yolov5.NAME,
    )
