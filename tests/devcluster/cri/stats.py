"""CPU and memory of containers, summed from /proc over the processes of their PID namespace."""

import os
import time
from pathlib import Path
from typing import Any

from masktrain_cri import runtime_pb2 as cri

from tests.devcluster.cri.container import Container
from tests.devcluster.cri.sandbox import Sandbox

NANOSECONDS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
USER_TICKS, SYSTEM_TICKS, RESIDENT_PAGES = 11, 12, 21  # fields of /proc/PID/stat after the command's name


def of_container(container: Container) -> Any:
    """CRI ContainerStats; zeros for a container that has ended."""
    cpu, memory = _usage(container.process.pid if container.process else 0)
    now = time.time_ns()
    attributes = cri.ContainerAttributes(
        id=container.id,
        metadata=container.config.metadata,
        labels=container.config.labels,
        annotations=container.config.annotations,
    )
    return cri.ContainerStats(attributes=attributes, cpu=_cpu(now, cpu), memory=_memory(now, memory))


def of_sandbox(sandbox: Sandbox, containers: list[Container]) -> Any:
    """CRI PodSandboxStats: the sum over its containers."""
    parts = [of_container(container) for container in containers if container.process]
    now = time.time_ns()
    return cri.PodSandboxStats(
        attributes=cri.PodSandboxAttributes(
            id=sandbox.id, metadata=sandbox.config.metadata, labels=sandbox.config.labels
        ),
        linux=cri.LinuxPodSandboxStats(
            cpu=_cpu(now, sum(part.cpu.usage_core_nano_seconds.value for part in parts)),
            memory=_memory(now, sum(part.memory.working_set_bytes.value for part in parts)),
            containers=parts,
        ),
    )


def _cpu(now: int, nanoseconds: int) -> Any:
    return cri.CpuUsage(timestamp=now, usage_core_nano_seconds=cri.UInt64Value(value=nanoseconds))


def _memory(now: int, size: int) -> Any:
    used = cri.UInt64Value(value=size)
    return cri.MemoryUsage(timestamp=now, working_set_bytes=used, usage_bytes=used, rss_bytes=used)


def _usage(first_process: int) -> tuple[int, int]:
    """Nanoseconds of CPU and bytes of resident memory of all processes beside `first_process` in its namespace."""
    namespace = _pid_namespace(Path("/proc", str(first_process)))
    if namespace is None:
        return 0, 0
    members = [path for path in Path("/proc").glob("[0-9]*") if _pid_namespace(path) == namespace]
    usages = [_process_usage(path) for path in members]
    return sum(cpu for cpu, _ in usages), sum(memory for _, memory in usages)


def _pid_namespace(process: Path) -> str | None:
    try:
        return str((process / "ns/pid").readlink())
    except OSError:
        return None


def _process_usage(process: Path) -> tuple[int, int]:
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, 0
    ticks = int(fields[USER_TICKS]) + int(fields[SYSTEM_TICKS])
    return ticks * NANOSECONDS_PER_TICK, int(fields[RESIDENT_PAGES]) * PAGE
