"""Figures of a finished training, drawn without pyplot's global state."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_CURVES = (
    ("train/box_loss", "train/obj_loss", "train/cls_loss", "metrics/precision", "metrics/recall"),
    ("val/box_loss", "val/obj_loss", "val/cls_loss", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95"),
)
"""YOLOv5's arrangement of results.png."""
_SMOOTHING_EPOCHS = 3.0
"""Standard deviation of the Gaussian behind the dotted line."""


def draw_results(table: dict[str, list[float]], path: Path) -> None:
    """The curves of results.csv over the epochs, each with a smoothed line."""
    figure = Figure(figsize=(15, 6), layout="constrained")
    grid = figure.subplots(2, 5)
    for axes_row, columns in zip(grid, _CURVES, strict=True):
        for axes, column in zip(axes_row, columns, strict=True):
            _draw_curve(axes, table["epoch"], table[column], column)
    figure.savefig(path, dpi=110)


def draw_confusion(counts: Sequence[Sequence[float]], names: Sequence[str], path: Path) -> None:
    """Shares of each true class (columns); rows are what was predicted, the last of both is the background."""
    counts_PT = np.asarray(counts, dtype=float)
    shares_PT = counts_PT / np.maximum(counts_PT.sum(axis=0, keepdims=True), 1e-9)
    labels = [*names, "background"]
    side = max(5.0, 1.5 + 0.6 * len(labels))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares_PT, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class")
    axes.set(xlabel="true", ylabel="predicted", xticks=range(len(labels)), yticks=range(len(labels)))
    axes.set_xticklabels(labels, rotation=45, ha="right")
    axes.set_yticklabels(labels)
    _write_shares(axes, shares_PT)
    figure.savefig(path, dpi=110)


def smooth(values: Sequence[float]) -> list[float]:
    """Gaussian mean over the neighbouring epochs, weights normalised at the ends."""
    y_E = np.asarray(values, dtype=float)
    epochs_E = np.arange(len(y_E))
    weights_EE = np.exp(-0.5 * ((epochs_E[:, None] - epochs_E) / _SMOOTHING_EPOCHS) ** 2)
    smoothed: list[float] = (weights_EE @ y_E / weights_EE.sum(axis=1)).tolist()
    return smoothed


def _draw_curve(axes: Axes, epochs: Sequence[float], values: Sequence[float], title: str) -> None:
    axes.plot(epochs, values, marker=".", linewidth=1.5)
    axes.plot(epochs, smooth(values), linestyle=":", linewidth=1.5)
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("epoch", fontsize=9)
    axes.grid(alpha=0.3)


def _write_shares(axes: Axes, shares_PT: np.ndarray) -> None:
    """Cells under half a percent stay blank."""
    for (predicted, true), share in np.ndenumerate(shares_PT):
        if share >= 0.005:
            colour = "white" if share > 0.5 else "black"
            axes.text(true, predicted, f"{share:.2f}", ha="center", va="center", color=colour)
