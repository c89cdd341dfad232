"""How all figures look and are saved: small files, one figure at a time, never half a file in place of a whole one."""

import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from PIL import Image

DPI = 110
BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#94a3b8"
MOST_TICKS = 100
"""More class names than that beside each other cannot be read: every second, third … is shown."""


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG."""
    unfinished = _unfinished(path)
    figure.savefig(unfinished, dpi=DPI, format="png")
    unfinished.replace(path)


def save_jpeg(image: Image.Image, path: Path) -> None:
    unfinished = _unfinished(path)
    image.save(unfinished, format="JPEG", quality=80)
    unfinished.replace(path)


def name_classes(axes: Axes, names: Sequence[str], *, x: bool = False, y: bool = False) -> None:
    """Class names at whole numbers of an axis, as they are: a dollar sign is no formula."""
    shown = range(0, len(names), -(-len(names) // MOST_TICKS))
    size = tick_size(len(names))
    labels = [names[index] for index in shown]
    if x:
        axes.set_xticks(list(shown))
        axes.set_xticklabels(labels, rotation=90 if len(names) > 12 else 45, fontsize=size, parse_math=False)
        _align_slanted(axes, slanted=len(names) <= 12)
    if y:
        axes.set_yticks(list(shown))
        axes.set_yticklabels(labels, fontsize=size, parse_math=False)


def label_legend(legend: Legend, labels: Sequence[str]) -> None:
    """Put the texts in last: matplotlib drops those that begin with an underscore and reads `$` as a formula."""
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_parse_math(False)
        text.set_text(label)


def tick_size(classes: int) -> float:
    """Points, for so many names along an axis."""
    return 10 if classes <= 12 else 8 if classes <= 40 else 6


def _align_slanted(axes: Axes, *, slanted: bool) -> None:
    if slanted:
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")
