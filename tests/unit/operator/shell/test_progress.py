"""Reading the progress of a pod: from a real server at a loopback address of its own, on the trainer's real port."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from masktrain_operator.shell import progress
from masktrain_operator.shell.progress import LONGEST_ANSWER, MOST_WAITING, PATIENCE_SECONDS, ProgressReader
from masktrain_trainer.config import PROGRESS_PORT

ANSWER = {"attempt": 0, "epoch": 3, "updatedAt": "2026-01-01T00:00:00Z"}
NOBODY = "127.77.255.254"
_addresses = (f"127.77.0.{number}" for number in itertools.count(1))


class Trainer:
    """Counts how often it was asked."""

    def __init__(self) -> None:
        self.address = next(_addresses)
        self.answer: web.Response | None = None
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def report(self, _: web.Request) -> web.Response:
        self.asked += 1
        await self.may_answer.wait()
        return self.answer or web.json_response(ANSWER)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def trainer() -> AsyncIterator[Trainer]:
    trainer = Trainer()
    application = web.Application()
    application.router.add_get("/progress", trainer.report)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, trainer.address, PROGRESS_PORT).start()
    yield trainer
    await runner.cleanup()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def woken() -> asyncio.Queue[str]:
    """Jobs whose answer came late."""
    return asyncio.Queue()


@pytest.fixture
async def reader(clock: Clock, woken: asyncio.Queue[str]) -> AsyncIterator[ProgressReader]:
    async with aiohttp.ClientSession() as session:
        yield ProgressReader(session, interval_seconds=10, clock=clock, wake=woken.put_nowait)


def pod(address: str = NOBODY, *, uid: str = "pod", phase: str = "Running", ready: str = "True") -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready}]
    return {
        "metadata": {"name": "masks-0-0", "uid": uid},
        "status": {"phase": phase, "podIP": address, "conditions": conditions},
    }


async def test_the_answer_is_kept_for_less_than_an_interval(
    reader: ProgressReader, trainer: Trainer, clock: Clock
) -> None:
    for seconds in (0, 1, 8.1):
        clock.now += seconds
        answer = await reader.read("job", pod(trainer.address))
        assert answer.progress is not None
        assert answer.progress.epoch == 3

    assert trainer.asked == 2


async def test_another_pod_is_asked_at_once(reader: ProgressReader, trainer: Trainer) -> None:
    await reader.read("job", pod(trainer.address))
    await reader.read("job", pod(trainer.address, uid="next"))

    assert trainer.asked == 2


@pytest.mark.parametrize("absent", [None, pod(phase="Pending"), pod(phase="Succeeded"), pod(address="")])
async def test_only_a_running_pod_is_asked(reader: ProgressReader, absent: dict[str, Any] | None) -> None:
    answer = await reader.read("job", absent)

    assert (answer.progress, answer.error) == (None, None)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda: web.Response(status=500), "it answered with HTTP status 500"),
        (lambda: web.json_response({"some": "thing"}), "not a progress report of this version"),
        (lambda: web.Response(body=b"[" * 100_000), "not a progress report of this version"),
        (lambda: web.json_response({**ANSWER, "updatedAt": "9999-12-31T23:59:59-14:00"}), "not a progress report"),
        (lambda: web.Response(body=b"x" * (LONGEST_ANSWER + 1)), f"longer than {LONGEST_ANSWER} bytes"),
    ],
)
async def test_a_ready_pod_that_stays_unreadable_is_reported_with_its_last_answer(
    reader: ProgressReader, trainer: Trainer, clock: Clock, broken: Callable[[], web.Response], words: str
) -> None:
    await reader.read("job", pod(trainer.address))
    clock.now += PATIENCE_SECONDS - 1
    trainer.answer = broken()
    first = await reader.read("job", pod(trainer.address))
    clock.now += PATIENCE_SECONDS
    trainer.answer = broken()
    second = await reader.read("job", pod(trainer.address))

    assert first.error is None
    assert second.error is not None
    assert "Pod masks-0-0" in second.error
    assert words in second.error
    assert second.progress is not None


async def test_a_refused_connection_is_named_and_a_pod_that_is_not_ready_is_not_blamed(
    reader: ProgressReader, clock: Clock
) -> None:
    for ready, expected in (("False", False), ("True", True)):
        await reader.read(ready, pod(ready=ready))
        clock.now += PATIENCE_SECONDS
        error = (await reader.read(ready, pod(ready=ready))).error
        assert (error is not None and "Connect call failed" in error) is expected


async def test_slow_pods_hold_up_nobody_and_their_answers_wake_their_jobs(
    reader: ProgressReader, trainer: Trainer, woken: asyncio.Queue[str], clock: Clock
) -> None:
    """Sixteen of them held all workers for two seconds each, again and again."""
    trainer.may_answer.clear()
    slow = [reader.read(f"slow-{number}", pod(trainer.address, uid=str(number))) for number in range(16)]
    async with asyncio.timeout(1):
        answers = await asyncio.gather(*slow)
        again = await reader.read("slow-0", pod(trainer.address, uid="0"))

    assert [answer.progress for answer in (*answers, again)] == [None] * 17
    assert woken.empty()
    trainer.may_answer.set()
    names = [await woken.get() for _ in range(16)]
    answer = await reader.read("slow-0", pod(trainer.address, uid="0"))
    assert answer.progress is not None
    assert sorted(names) == sorted(f"slow-{number}" for number in range(16))
    assert trainer.asked == 16


async def test_most_workers_do_not_even_wait_a_moment_for_slow_pods(
    reader: ProgressReader, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else hundreds of slow pods would hold all workers, moment by moment."""
    monkeypatch.setattr(progress, "WAIT_SECONDS", 60.0)
    monkeypatch.setattr(progress, "TIMEOUT", aiohttp.ClientTimeout(total=60))
    trainer.may_answer.clear()
    reads = [reader.read(f"slow-{number}", pod(trainer.address, uid=str(number))) for number in range(16)]
    answers = asyncio.as_completed(reads)
    async with asyncio.timeout(10):
        for _ in range(16 - MOST_WAITING):
            await next(answers)
        trainer.may_answer.set()
        for answer in answers:
            await answer


async def test_a_question_is_given_up_with_its_job(
    reader: ProgressReader, trainer: Trainer, woken: asyncio.Queue[str]
) -> None:
    trainer.may_answer.clear()
    await reader.read("job", pod(trainer.address))
    reader.close()
    trainer.may_answer.set()
    answer = await reader.read("other", pod(trainer.address, uid="other"))

    assert answer.progress is not None
    assert woken.empty()
