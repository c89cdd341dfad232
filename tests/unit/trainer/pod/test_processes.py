"""Children, their signals, and stages that do nothing."""

import os
import re
import signal
import sys

import pytest

from masktrain_trainer.pod.processes import ChildProcess, StopRequest, cpu_ticks, explain_exit, wait_for_idle


@pytest.mark.parametrize(
    ("code", "words"),
    [(1, "exit code 1"), (-15, r"signal 15 \(SIGTERM\)$"), (-9, r"signal 9 \(SIGKILL\), often .* memory")],
)
def test_an_exit_is_explained(code: int, words: str) -> None:
    assert re.match(words, explain_exit(code))


async def test_a_child_that_ignores_sigterm_is_killed() -> None:
    deaf = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    child = await ChildProcess.start("deaf", [sys.executable, "-c", deaf], os.environ)
    assert await child.end(patience_seconds=0.5) in {-signal.SIGKILL, -signal.SIGTERM}


async def test_a_process_that_waits_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masktrain_trainer.pod.processes._STAGE_LOOK_SECONDS", 0.05)
    child = await ChildProcess.start("idle", [sys.executable, "-c", "import signal; signal.pause()"], os.environ)
    assert await wait_for_idle(child.pid, 0.3) > 0.3
    child.kill()
    await child.wait()


def test_cpu_time_of_a_process_is_read_from_proc() -> None:
    assert (cpu_ticks(os.getpid()) or 0) > 0
    assert cpu_ticks(2**22 + 1) is None


async def test_the_grace_runs_from_the_first_request() -> None:
    now = [100.0]
    stop = StopRequest(30, clock=lambda: now[0])
    assert stop.seconds_left(reserve=5) == float("inf")
    stop.request()
    now[0] = 110.0
    stop.request()
    assert stop.requested
    assert stop.seconds_left(reserve=5) == 15
