"""P_curve.png, R_curve.png, F1_curve.png over the confidence threshold, and PR_curve.png."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from .evaluation import Evaluation
from .figures import BLUE, GREY, label_legend, save_figure

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
