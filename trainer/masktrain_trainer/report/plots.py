"""The plots of a training: losses and metrics over epochs, precision and recall of each class, the confusion matrix.

Files are small and replaced whole. Whatever people call their classes, nothing overflows and nothing is garbled: the
HTML report shows names as they are, figures those of which some font has the letters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from masktrain_trainer.files import finished_whole
from masktrain_trainer.predict.fonts import families, is_drawable, is_simple, on_one_line

from .evaluation import Evaluation

_CURVES = (
    ("train/box_loss", "train/obj_loss", "train/cls_loss", "metrics/precision", "metrics/recall"),
    ("val/box_loss", "val/obj_loss", "val/cls_loss", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95"),
)
"""YOLOv5's arrangement of results.png."""
_SMOOTHING_EPOCHS = 3.0
"""Standard deviation of the Gaussian behind the dotted line."""
_FEW_EPOCHS = 60
"""Up to so many, every epoch has a dot."""


DPI = 110
BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#94a3b8"
MOST_TICKS = 100
"""More class names than that beside each other cannot be read: every second, third … is shown."""
LONGEST_NAME = 24


def draw_results(table: dict[str, list[float]], path: Path, best_epoch: int | None = None) -> None:
    """The curves of results.csv over the epochs, each with a smoothed line and the best epoch marked."""
    # Without pyplot, which would look for a display and keep every figure in memory.
    figure = Figure(figsize=(15, 6), layout="constrained")
    grid = figure.subplots(2, 5, sharex=True)
    for axes_row, columns in zip(grid, _CURVES, strict=True):
        for axes, column in zip(axes_row, columns, strict=True):
            _draw_curve(axes, table["epoch"], table[column], column, best_epoch)
    figure.supxlabel("epoch" if best_epoch is None else f"epoch (vertical line: epoch {best_epoch}, the best)")
    save_figure(figure, path)


def smooth(values: Sequence[float]) -> list[float]:
    """Gaussian mean over the neighbouring epochs, weights normalised at the ends."""
    y_E = np.asarray(values, dtype=float)
    epochs_E = np.arange(len(y_E))
    weights_EE = np.exp(-0.5 * ((epochs_E[:, None] - epochs_E) / _SMOOTHING_EPOCHS) ** 2)
    smoothed: list[float] = (weights_EE @ y_E / weights_EE.sum(axis=1)).tolist()
    return smoothed


def _draw_curve(
    axes: Axes, epochs: Sequence[float], values: Sequence[float], title: str, best_epoch: int | None
) -> None:
    if best_epoch is not None:
        axes.axvline(best_epoch, color="#cbd5e1", linewidth=1.2, zorder=0)
    axes.plot(epochs, values, marker="." if len(epochs) <= _FEW_EPOCHS else "", linewidth=1.4, color=BLUE)
    axes.plot(epochs, smooth(values), linestyle=":", linewidth=1.6, color=ORANGE)
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


_MOST_NAMED = 10
"""With more classes a legend of all is no help: only the weakest are named."""
_WEAKEST = 6
_COLOURS = (
    "#e11d48",
    "#059669",
    "#d97706",
    "#7c3aed",
    "#0891b2",
    "#65a30d",
    "#db2777",
    "#4b5563",
    "#b45309",
    "#0d9488",
)


@dataclass(frozen=True)
class _Curves:
    """`y_CN` of classes `indices` over `x_N`; `values` stand in the legend, and the lowest are the weakest."""

    x_N: NDArray[np.float64]
    y_CN: NDArray[np.float64]
    indices: Sequence[int]
    values: Sequence[float]
    summary: str


def draw_curves(evaluation: Evaluation, names: Sequence[str], folder: Path) -> list[Path]:
    """The four figures, in the order of their importance; none if no class has labels."""
    if not evaluation.curves:
        return []
    drawn = []
    for file, curves, axis_names in _figures(evaluation):
        _draw(curves, names, axis_names, folder / file)
        drawn.append(folder / file)
    return drawn


def _figures(evaluation: Evaluation) -> list[tuple[str, _Curves, tuple[str, str]]]:
    indices = [curve.class_index for curve in evaluation.curves]
    confidence_N = np.asarray(evaluation.confidences)
    precision_CN = np.array([curve.precision for curve in evaluation.curves])
    recall_CN = np.array([curve.recall for curve in evaluation.curves])
    f1_CN = 2 * precision_CN * recall_CN / (precision_CN + recall_CN + 1e-16)
    scores = [evaluation.classes[index] for index in indices]
    f1 = [2 * row.precision * row.recall / (row.precision + row.recall + 1e-16) for row in scores]
    overall, at = evaluation.overall, f"at {evaluation.confidence:.3f}"
    area_CN = np.array([curve.precision_at_recall for curve in evaluation.curves])
    recall_N = np.linspace(0, 1, area_CN.shape[1])
    ap50, precision, recall = ([getattr(row, name) for row in scores] for name in ("map50", "precision", "recall"))
    return [
        (
            "PR_curve.png",
            _Curves(recall_N, area_CN, indices, ap50, f"mAP50 {overall.map50:.3f}"),
            ("recall", "precision"),
        ),
        ("F1_curve.png", _Curves(confidence_N, f1_CN, indices, f1, f"{np.mean(f1):.2f} {at}"), ("confidence", "F1")),
        (
            "P_curve.png",
            _Curves(confidence_N, precision_CN, indices, precision, f"{overall.precision:.2f} {at}"),
            ("confidence", "precision"),
        ),
        (
            "R_curve.png",
            _Curves(confidence_N, recall_CN, indices, recall, f"{overall.recall:.2f} {at}"),
            ("confidence", "recall"),
        ),
    ]


def _draw(curves: _Curves, names: Sequence[str], axis_names: tuple[str, str], path: Path) -> None:
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    named = _named(curves)
    lines, labels = _draw_classes(axes, curves, names, named)
    if len(curves.indices) > 1:
        mean = Line2D(curves.x_N, curves.y_CN.mean(axis=0), linewidth=2.8, color=BLUE)
        axes.add_line(mean)
        lines, labels = [mean, *lines], [f"all classes {curves.summary}", *labels]
    else:
        labels = [f"{names[curves.indices[0]]} {curves.summary}"]
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1], xlim=(0, 1), ylim=(0, 1.01))
    axes.grid(alpha=0.3)
    title = "mean and weakest classes" if len(named) < len(curves.indices) else None
    legend = figure.legend(lines, [str(i) for i in range(len(lines))], loc="outside right upper", title=title)
    label_legend(legend, labels)
    save_figure(figure, path)


def _named(curves: _Curves) -> set[int]:
    """Rows of the classes that the legend names."""
    if len(curves.indices) <= _MOST_NAMED:
        return set(range(len(curves.indices)))
    return set(np.argsort(curves.values, kind="stable")[:_WEAKEST].tolist())


def _draw_classes(axes: Axes, curves: _Curves, names: Sequence[str], named: set[int]) -> tuple[list[Line2D], list[str]]:
    """Lines and labels for the legend; unnamed classes are thin and grey."""
    lines: list[Line2D] = []
    labels: list[str] = []
    for row, (index, value) in enumerate(zip(curves.indices, curves.values, strict=True)):
        if row not in named:
            axes.plot(curves.x_N, curves.y_CN[row], linewidth=0.6, color=GREY, alpha=0.7, zorder=1)
            continue
        colour = _COLOURS[len(lines) % len(_COLOURS)]
        lines += axes.plot(curves.x_N, curves.y_CN[row], linewidth=1.3, color=colour)
        labels.append(f"{names[index]} {value:.2f}")
    return lines, labels


_SMALLEST_SHARE = 0.005
"""As in YOLOv5: smaller ones stay blank."""
_MOST_NUMBERED = 30
"""With more classes the cells are too small for numbers."""
_CONTRAST = 0.5
"""Exponent of the colours where no number helps, so that small shares show."""


def draw_confusion(counts: Sequence[Sequence[float]], names: Sequence[str], path: Path) -> None:
    """Shares of each true class (columns); rows are what was predicted, the last of both is the background."""
    counts_PT = np.asarray(counts, dtype=float)
    shares_PT = counts_PT / np.maximum(counts_PT.sum(axis=0, keepdims=True), 1e-9)
    shares_PT[shares_PT < _SMALLEST_SHARE] = np.nan
    labels = [*names, "background"]
    side = min(13.0, max(5.0, 2.5 + 0.5 * len(labels)))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    numbered = len(labels) <= _MOST_NUMBERED
    norm = PowerNorm(1 if numbered else _CONTRAST, vmin=0, vmax=1)
    image = axes.imshow(shares_PT, cmap="Blues", norm=norm)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    axes.set(xlabel="true", ylabel="predicted")
    name_classes(axes, labels, x=True, y=True)
    _rule(axes, len(labels))
    if numbered:
        _write_shares(axes, shares_PT)
    save_figure(figure, path)


def _rule(axes: Axes, cells: int) -> None:
    """Thin lines between the cells, so that one can follow a row of eighty."""
    edges = np.arange(cells + 1) - 0.5
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(which="minor", color="#e2e8f0", linewidth=0.5)
    axes.tick_params(which="minor", length=0)


def _write_shares(axes: Axes, shares_PT: np.ndarray) -> None:
    size = 11 if len(shares_PT) <= 12 else 7
    for (predicted, true), share in np.ndenumerate(shares_PT):
        if not np.isnan(share):
            colour = "white" if share > 0.5 else "black"
            axes.text(true, predicted, f"{share:.2f}", ha="center", va="center", color=colour, fontsize=size)


def figure_names(names: Sequence[str]) -> list[str]:
    """One for each class: its name, shortened; `class 3` where no font has a letter, or letters run to the left or
    change their form, which figures do not do.
    """
    plain = map(on_one_line, names)
    return [
        shortened(name) if is_drawable(name) and is_simple(name) else f"class {index}"
        for index, name in enumerate(plain)
    ]


def figure_text(text: str, length: int) -> str:
    """At most `length` characters, with a question mark for what no font has."""
    plain = on_one_line(text)
    drawn = (letter if is_drawable(letter) and is_simple(letter) else "?" for letter in plain)
    return shortened(plain if is_drawable(plain) and is_simple(plain) else "".join(drawn), length)


def shortened(text: str, length: int = LONGEST_NAME) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG."""
    with finished_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=DPI, format="png")


def save_jpeg(image: Image.Image, path: Path) -> None:
    with finished_whole(path) as unfinished:
        image.save(unfinished, format="JPEG", quality=80)


def name_classes(axes: Axes, names: Sequence[str], *, x: bool = False, y: bool = False) -> None:
    """Class names at whole numbers of an axis, as they are: a dollar sign is no formula."""
    shown = range(0, len(names), -(-len(names) // MOST_TICKS))
    size = tick_size(len(names))
    labels = [names[index] for index in shown]
    fonts = families(labels)
    if x:
        axes.set_xticks(list(shown))
        rotation = 90 if len(names) > 12 else 45
        axes.set_xticklabels(labels, rotation=rotation, fontsize=size, fontfamily=fonts, parse_math=False)
        _align_slanted(axes, slanted=len(names) <= 12)
    if y:
        axes.set_yticks(list(shown))
        axes.set_yticklabels(labels, fontsize=size, fontfamily=fonts, parse_math=False)


def label_legend(legend: Legend, labels: Sequence[str]) -> None:
    """Put the texts in last: matplotlib drops those that begin with an underscore and reads `$` as a formula."""
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_parse_math(False)
        text.set_fontfamily(families([label]))
        text.set_text(label)


def tick_size(classes: int) -> float:
    """Points, for so many names along an axis."""
    return 10 if classes <= 12 else 8 if classes <= 40 else 6


def _align_slanted(axes: Axes, *, slanted: bool) -> None:
    if slanted:
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
