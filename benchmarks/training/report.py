"""The lines that the benchmarks print: one JSON document each, figures first, then what they were measured on."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

CPU_INFORMATION = Path("/proc/cpuinfo")


def emit(benchmark: str, **fields: Any) -> None:
    print(json.dumps({"benchmark": benchmark, **fields, "machine": machine()}), flush=True)


def median(values: Sequence[float], digits: int = 2) -> float:
    return round(statistics.median(values), digits)


def spread(values: Sequence[float], digits: int = 2) -> list[float]:
    """Least and largest."""
    return [round(min(values), digits), round(max(values), digits)]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Round by round: both of a round ran one after the other, so a drift of the machine cancels out."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def compared(ours: Sequence[float], theirs: Sequence[float], *, peer_name: str, unit: str) -> dict[str, Any]:
    """Medians of both and of the ratio round by round. For seconds less is better, so the ratio is turned over."""
    pairs = ratios(theirs, ours) if unit == "s" else ratios(ours, theirs)
    return {
        "value": median(ours),
        "unit": unit,
        "spread": spread(ours),
        "peer": median(theirs),
        "peer_spread": spread(theirs),
        "peer_name": peer_name,
        "ratio": median(pairs),
        "ratio_spread": spread(pairs),
        "rounds": len(pairs),
    }


def machine() -> str:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {_processor()}, {gpu}, torch {torch.__version__}, Python {platform.python_version()}"


def _processor() -> str:
    lines = CPU_INFORMATION.read_text(encoding="utf-8").splitlines() if CPU_INFORMATION.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
