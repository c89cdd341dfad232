"""Run cases, each in a process of its own that inherits the imports, and judge how it ended.

A case holds if the command ended with 0 or 64, in time and within its memory, without a traceback, and with exactly one
sentence if it refused.
"""

import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from masktrain_trainer.cli.main import main

from .cases import Case, write_case
from .corpus import build

SECONDS = 30
"""Of one case, whole: preparing a dozen small pictures, or reading one file of weights."""
MEMORY = 1 << 30
"""Bytes that a case may take on top of what the imports have taken."""
ACCEPTED, REFUSED = 0, 64


@dataclass(frozen=True)
class Ending:
    """How a case ended; `problem` is what was wrong with that, if anything was."""

    case: Case
    code: int
    seconds: float
    megabytes: float
    output: str
    problem: str | None


def run(mutations: int, seed: int, first: int = 0) -> Iterator[Ending]:
    """The cases `first` … of a seed."""
    # The children inherit one thread, and no pool of threads survives a fork.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="masktrain-fuzz-") as root:
        corpus = build(Path(root))
        for number in range(first, first + mutations):
            folder = Path(root) / "case"
            folder.mkdir()
            yield _run_case(write_case(number, seed, corpus, folder), folder)
            shutil.rmtree(folder, ignore_errors=True)


def _run_case(case: Case, folder: Path) -> Ending:
    log = folder / "output"
    started = time.monotonic()
    # A fork and not a new program: to import torch and OpenCV takes seconds, two thousand times.
    child = os.fork()
    if child == 0:
        _be_the_command(case, log, folder)
    _, status, used = os.wait4(child, 0)
    seconds = time.monotonic() - started
    output = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    code = os.waitstatus_to_exitcode(status)
    return Ending(case, code, seconds, used.ru_maxrss / 1024, output, _problem(case, code, output))


def _be_the_command(case: Case, log: Path, folder: Path) -> None:
    code = 70
    try:
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY, resource.RLIM_INFINITY))
        signal.alarm(SECONDS)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        main(list(case.command), prog_name="masktrain")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001 - whatever it is, it is what this program looks for
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def _problem(case: Case, code: int, output: str) -> str | None:
    if code == -signal.SIGALRM:
        return f"took more than {SECONDS} s"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    if "Traceback (most recent call last)" in output or "MemoryError" in output:
        return "ended in a traceback"
    if code not in (ACCEPTED, REFUSED):
        return f"exit code {code}"
    sentences = [line for line in output.splitlines() if line.startswith("masktrain ")]
    if code == REFUSED and len(sentences) != 1:
        return f"{len(sentences)} sentences in place of one"
    del case
    return None


def summary(endings: list[Ending]) -> dict[str, object]:
    """One line's worth of it."""
    return {
        "fuzz": "labels, data.yaml, zips, pictures, weights",
        "mutations": len(endings),
        "accepted": sum(ending.code == ACCEPTED for ending in endings),
        "refused": sum(ending.code == REFUSED for ending in endings),
        "violations": sum(ending.problem is not None for ending in endings),
        "violations_by_kind": dict(Counter(ending.case.kind for ending in endings if ending.problem)),
        "longest_s": round(max(ending.seconds for ending in endings), 1),
        "limit_s": SECONDS,
        "largest_mb": round(max(ending.megabytes for ending in endings)),
        "limit_mb_beyond_imports": MEMORY >> 20,
    }
