"""results.png: the columns of results.csv over the epochs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .figures import BLUE, ORANGE, save_figure

_CURVES = (
    ("train/box_loss", "train/obj_loss", "train/cls_loss", "metrics/precision", "metrics/recall"),
    ("val/box_loss", "val/obj_loss", "val/cls_loss", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95"),
)
"""YOLOv5's arrangement of results.png."""
_SMOOTHING_EPOCHS = 3.0
"""Standard deviation of the Gaussian behind the dotted line."""
_FEW_EPOCHS = 60
"""Up to so many, every epoch has a dot."""


def draw_results(table: dict[str, list[float]], path: Path, best_epoch: int | None = None) -> None:
    """The curves of results.csv over the epochs, each with a smoothed line and the best epoch marked."""
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
