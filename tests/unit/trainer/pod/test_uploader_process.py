"""The uploader is kept alive, and its last word decides. Real child processes; no sleeps."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from masktrain_trainer.checkpoint.spool import UploaderExit
from masktrain_trainer.pod import processes
from masktrain_trainer.pod.processes import Order, UploaderProcess

OBEDIENT = "import sys; open(sys.argv[1], 'a').write(sys.stdin.readline())"
CRASHES_ONCE = """
import os, sys
if not os.path.exists(sys.argv[1]):
    open(sys.argv[1], 'w').close()
    os._exit(1)
open(sys.argv[1], 'a').write(sys.stdin.readline())
"""
DEAF = "import time; time.sleep(600)"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_FIRST_PAUSE_SECONDS", 0.0)


def start(script: str, *arguments: object) -> UploaderProcess:
    return UploaderProcess([sys.executable, "-c", script, *map(str, arguments)], os.environ)


@pytest.mark.parametrize("order", Order)
async def test_an_order_is_carried_out(tmp_path: Path, order: Order) -> None:
    assert await start(OBEDIENT, tmp_path / "log").finish(order, 30)
    assert (tmp_path / "log").read_text() == f"{order}\n"


async def test_a_crash_before_the_order_is_repaired(tmp_path: Path) -> None:
    assert await start(CRASHES_ONCE, tmp_path / "log").finish(Order.COMPLETE, 30)
    assert (tmp_path / "log").read_text().splitlines()[0] == "complete"


async def test_an_uploader_that_never_finishes_is_given_up() -> None:
    assert not await start(DEAF).finish(Order.DRAIN, 0.2)


@pytest.mark.parametrize("code", [UploaderExit.FENCED, UploaderExit.NOTHING_TO_PUBLISH])
async def test_an_uploader_that_no_other_try_helps_is_not_started_again(tmp_path: Path, code: UploaderExit) -> None:
    script = f"import sys; open(sys.argv[1], 'a').write('started'); sys.exit({int(code)})"
    uploader = start(script, tmp_path / "log")
    await asyncio.wait_for(uploader.given_up(), 30)
    assert uploader.verdict is code
    assert not await uploader.finish(Order.DRAIN, 30)
    assert (tmp_path / "log").read_text() == "started"
