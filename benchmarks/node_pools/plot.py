"""One picture: waste over delay, a curve of idle times for each trace and shape, the others as points."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from .comparison import Comparison
from .policies import CLUSTER_AUTOSCALER, DEFAULT_IDLE_SECONDS, KARPENTER, OURS
from .shapes import SHAPES, Shape
from .traces import TRACES

OPERATOR, AUTOSCALER, OTHER = "tab:blue", "tab:red", "tab:green"


def draw(comparisons: Mapping[tuple[str, Shape], Comparison], path: Path) -> None:
    """`comparisons`: by trace and shape."""
    figure, axes = plt.subplots(len(SHAPES), len(TRACES), figsize=(14, 6.5), squeeze=False, layout="constrained")
    for row, shape in zip(axes, SHAPES, strict=True):
        for panel, trace in zip(row, TRACES, strict=True):
            _panel(panel, comparisons[trace, shape])
            panel.set_title(f"{trace}, {shape.name}", fontsize=10)
    figure.supxlabel("mean delay of a job, minutes")
    figure.supylabel("waste: idle / useful GPU-seconds")
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _panel(axes: Axes, comparison: Comparison) -> None:
    delays = [delay / 60 for delay, _ in comparison.curve]
    wastes = [waste for _, waste in comparison.curve]
    axes.plot(delays, wastes, "o-", color=OPERATOR, markersize=4, label="masktrain, idleSeconds 0 to 900")
    default = list(OURS).index(DEFAULT_IDLE_SECONDS)
    axes.plot(
        delays[default],
        wastes[default],
        "*",
        color=OPERATOR,
        markersize=14,
        label=f"its default, {DEFAULT_IDLE_SECONDS}",
    )
    theirs = comparison.outcomes[CLUSTER_AUTOSCALER.name]
    axes.plot(theirs.mean_delay / 60, theirs.waste, "s", color=AUTOSCALER, label="cluster-autoscaler, defaults")
    others = [comparison.outcomes[policy.name] for policy in KARPENTER.values()]
    label = f"Karpenter, consolidateAfter {', '.join(map(str, KARPENTER))} s"
    axes.plot([o.mean_delay / 60 for o in others], [o.waste for o in others], "^", color=OTHER, label=label)
    axes.set_ylim(bottom=0)
    _widen(axes)
    axes.grid(alpha=0.3)


def _widen(axes: Axes) -> None:
    """At least a minute, so that a second does not look like a difference."""
    low, high = axes.get_xlim()
    margin = max(0.1 * (high - low), (1 - (high - low)) / 2)
    axes.set_xlim(low - margin, high + margin)
