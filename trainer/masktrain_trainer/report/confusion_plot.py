"""confusion_matrix.png: which class is taken for which."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from .figures import name_classes, save_figure

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
