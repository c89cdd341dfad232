"""CPU limits in both generations of control groups."""

import os
from pathlib import Path

import pytest

from masktrain_trainer.data.cpu_limit import cpu_limit, loader_workers

from .exports import unpacked


def v1(quota: int) -> dict[str, str]:
    return {"cpu/cpu.cfs_quota_us": f"{quota}\n", "cpu/cpu.cfs_period_us": "100000\n"}


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "400000 100000\n"}, 4),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 16),
        ({"cpu.max": "6400000 100000\n"}, 16),
        (v1(400000), 4),
        (v1(-1), 16),
        ({}, 16),
    ],
)
def test_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cpus: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    assert cpu_limit(unpacked(tmp_path, files)) == cpus


@pytest.mark.parametrize(
    ("ranks", "cpus", "workers"), [(1, 1, 1), (2, 1, 1), (2, 8, 4), (1, 16, 16), (8, 128, 16), (1, 208, 64)]
)
def test_workers(ranks: int, cpus: int, workers: int) -> None:
    assert loader_workers(ranks, cpus) == workers
