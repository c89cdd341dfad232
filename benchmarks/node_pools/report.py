"""The table for people, and one line of JSON per trace, shape and policy."""

import json
from collections.abc import Iterator
from typing import Any

from .comparison import AT_DEFAULT_GOAL, Comparison
from .month import Outcome
from .policies import CLUSTER_AUTOSCALER, DEFAULT_IDLE_SECONDS, OURS
from .shapes import Shape

LEGEND = """\
waste: GPU-hours that nodes stood ready without a pod, or were billed after their end, per GPU-hour of work.
x CA: as a part of the cluster-autoscaler's; +boot: the same with all else that is paid and not worked in, boot times
most of all. USD: what the idle hours cost in a month of 28 days. delay: from a job's submission to its end, less its
own work. busy killed: nodes removed from under a pod.
"""
HEADER = (
    f"{'':31} {'GPU-hours of a month':^30}   {'waste':^18}  {'idle':>6}  {'delay, min':^11}  {'busy':>6}\n"
    f"{'policy':31} {'paid':>6} {'useful':>7} {'boot':>7} {'idle':>7}   {'':6} {'x CA':>5} {'+boot':>5}"
    f"  {'USD':>6}  {'mean':>5} {'p95':>5}  {'killed':>6}"
)


def table(trace: str, shape: Shape, comparison: Comparison, seeds: int) -> Iterator[str]:
    yield f"{trace}, {shape.name}"
    yield HEADER
    for name in comparison.outcomes:
        yield _row(name, shape, comparison, seeds)
    for sentence, is_met in comparison.verdicts():
        yield f"  {'met' if is_met else 'MISSED'}: {sentence}"
    yield ""


def _row(name: str, shape: Shape, comparison: Comparison, seeds: int) -> str:
    one, theirs = comparison.outcomes[name], comparison.theirs
    hours = " ".join(f"{seconds / 3600 / seeds:7.1f}" for seconds in (one.useful, one.booting, one.idle))
    ratios = f"{one.waste:6.4f} {one.waste / theirs.waste:5.2f} {one.overhead / theirs.overhead:5.2f}"
    delays = f"{one.mean_delay / 60:5.1f} {one.p95_delay / 60:5.1f}"
    money = f"{_idle_usd(one, shape, seeds):6.0f}"
    return f"{name:31} {one.paid / 3600 / seeds:6.0f} {hours}   {ratios}  {money}  {delays}  {one.busy_killed:6}"


def _idle_usd(one: Outcome, shape: Shape, seeds: int) -> float:
    return one.idle / 3600 / seeds * float(shape.usd_per_gpu_hour)


def json_lines(trace: str, shape: Shape, comparison: Comparison, seeds: int) -> Iterator[str]:
    for name, one in comparison.outcomes.items():
        yield json.dumps(_line(f"{trace}/{shape.name}/{name}".replace(" ", "-"), one, comparison, seeds))


def _line(name: str, one: Outcome, comparison: Comparison, seeds: int) -> dict[str, Any]:
    """`ratio` above 1: less waste than the cluster-autoscaler. GPU-seconds are those of an average month."""
    is_default = one is comparison.outcomes[OURS[DEFAULT_IDLE_SECONDS].name]
    return {
        "benchmark": f"node-pool-waste/{name}",
        "value": round(one.waste, 5),
        "unit": "idle GPU-seconds per useful GPU-second",
        "peer": round(comparison.theirs.waste, 5),
        "peer_name": CLUSTER_AUTOSCALER.name,
        "ratio": round(comparison.theirs.waste / one.waste, 3),
        **({"goal": 1 / AT_DEFAULT_GOAL} if is_default else {}),
        "gpu_seconds_paid": round(one.paid / seeds),
        "gpu_seconds_idle": round(one.idle / seeds),
        "gpu_seconds_booting": round(one.booting / seeds),
        "delay_mean_seconds": round(one.mean_delay, 1),
        "delay_p95_seconds": round(one.p95_delay, 1),
        "busy_nodes_killed": one.busy_killed,
        "months": seeds,
        "machine": "simulated",
    }
