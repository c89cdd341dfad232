"""How many CPUs this pod may use: a node's CPU count says nothing about a container's share."""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MOST_WORKERS = 64
"""Loader processes per rank at most, as in `training.workers`. One makes 160 to 185 images of 640 px a second, and the
fastest GPUs want thousands.
"""


def cpu_limit(cgroups: Path = CGROUPS) -> int:
    """Whole CPUs, at least 1: the smaller of the cgroup's quota (v2 or v1, rounded up) and the affinity mask."""
    available = len(os.sched_getaffinity(0))
    quota = _quota_v2(cgroups) or _quota_v1(cgroups)
    return max(1, min(available, math.ceil(quota))) if quota else available


def loader_workers(ranks: int, cpus: int) -> int:
    """Loader processes for each of a pod's `ranks` training processes."""
    return max(1, min(cpus // ranks, MOST_WORKERS))


def _quota_v2(cgroups: Path) -> float | None:
    words = _read(cgroups / "cpu.max").split()
    if len(words) != 2 or words[0] == "max":
        return None
    return int(words[0]) / int(words[1])


def _quota_v1(cgroups: Path) -> float | None:
    quota, period = (_read(cgroups / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    # Version 1 says -1 where there is no quota.
    if not quota or not period or int(quota) <= 0:
        return None
    return int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
