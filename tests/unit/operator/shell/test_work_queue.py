"""The queue's promises, on a clock of their own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from masktrain_operator.shell.work_queue import Backoff, ReconcileError, RetryAfter, WorkQueue
from tests.unit.operator.shell.virtual_clock import run

STEADY = Backoff(first_seconds=1, limit_seconds=8, jitter=0)


class Recorder:
    """Notes when which key was reconciled; `script` is what each call does in turn."""

    def __init__(self, script: list[float | Exception | None] | None = None, length: float = 0) -> None:
        self.calls: list[tuple[float, str]] = []
        self.at_once = 0
        self.most_at_once = 0
        self._script = script or []
        self._length = length

    async def __call__(self, key: str) -> float | None:
        self.calls.append((now(), key))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self._length)
        self.at_once -= 1
        step = self._script.pop(0) if self._script else None
        if isinstance(step, Exception):
            raise step
        return step

    @property
    def times(self) -> list[float]:
        return [round(time, 3) for time, _ in self.calls]


def now() -> float:
    return asyncio.get_running_loop().time()


@contextlib.asynccontextmanager
async def running(reconcile: Recorder, workers: int = 4) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue(reconcile, workers=workers, backoff=STEADY)
    queue.start()
    yield queue
    await queue.stop()


def wake(queue: WorkQueue, keys: str) -> None:
    for key in keys:
        queue.wake(key)


def played(reconcile: Recorder, seconds: float, play: Callable[[WorkQueue], None], workers: int = 4) -> Recorder:
    async def scene() -> None:
        async with running(reconcile, workers) as queue:
            play(queue)
            await asyncio.sleep(seconds)

    run(scene())
    return reconcile


def test_many_wake_ups_before_the_start_are_one() -> None:
    recorder = played(Recorder(), 1, lambda queue: wake(queue, "a" * 10))

    assert recorder.calls == [(0, "a")]


def test_a_key_is_never_reconciled_twice_at_once_and_a_wake_up_meanwhile_is_not_lost() -> None:
    def play(queue: WorkQueue) -> None:
        queue.wake("a")
        for moment in (1, 2, 3):
            asyncio.get_running_loop().call_later(moment, queue.wake, "a")

    recorder = played(Recorder(length=5), 30, play)

    assert recorder.times == [0, 5]
    assert recorder.most_at_once == 1


def test_different_keys_are_reconciled_side_by_side_up_to_the_number_of_workers() -> None:
    recorder = played(Recorder(length=5), 30, lambda queue: wake(queue, "abcde"), workers=3)

    assert recorder.most_at_once == 3
    assert {key for _, key in recorder.calls} == set("abcde")


def test_a_reconcile_is_repeated_when_it_asked_for_it() -> None:
    assert played(Recorder([10, 20, None]), 100, lambda queue: queue.wake("a")).times == [0, 10, 30]


def test_an_earlier_wake_up_replaces_the_repetition() -> None:
    def play(queue: WorkQueue) -> None:
        queue.wake("a")
        asyncio.get_running_loop().call_later(4, queue.wake, "a")

    assert played(Recorder([10, None]), 100, play).times == [0, 4]


def test_failures_back_off_up_to_the_limit_and_success_resets() -> None:
    failure = ReconcileError("no")
    recorder = played(Recorder([failure] * 5 + [100, failure, None]), 200, lambda queue: queue.wake("a"))

    assert recorder.times == [0, 1, 3, 7, 15, 23, 123, 124]


def test_an_unexpected_error_ends_neither_the_key_nor_the_others() -> None:
    recorder = played(Recorder([RuntimeError("bug"), None]), 30, lambda queue: wake(queue, "ab"), workers=1)

    assert [key for _, key in recorder.calls] == ["a", "b", "a"]


def test_retry_after_is_not_a_failure() -> None:
    recorder = played(Recorder([RetryAfter(0), RetryAfter(3), ReconcileError("no"), None]), 30, lambda q: q.wake("a"))

    assert recorder.times == [0, 0, 3, 4]


def test_a_forgotten_key_does_not_come_back() -> None:
    def play(queue: WorkQueue) -> None:
        queue.wake("a")
        asyncio.get_running_loop().call_later(5, queue.forget, "a")

    assert played(Recorder([10]), 100, play).times == [0]


def test_the_age_is_that_of_the_oldest_key_ready_or_in_work() -> None:
    async def scene() -> list[float]:
        async with running(Recorder(length=50), workers=1) as queue:
            ages = [queue.oldest_age()]
            queue.wake("a")
            await asyncio.sleep(10)
            queue.wake("b")
            await asyncio.sleep(20)
            ages.append(queue.oldest_age())
            await asyncio.sleep(90)
            return [*ages, queue.oldest_age()]

    assert run(scene()) == [0, 30, 0]


def test_stopping_ends_the_workers_in_the_middle_of_their_work() -> None:
    async def scene() -> tuple[bool, bool]:
        queue = WorkQueue(Recorder(length=1000), workers=1)
        queue.start()
        queue.wake("a")
        await asyncio.sleep(1)
        before = queue.alive()
        await queue.stop()
        return before, queue.alive()

    assert run(scene()) == (True, False)


@pytest.mark.parametrize("failures", [1, 2, 10, 1000])
def test_the_jitter_only_shortens_a_delay_and_never_below_its_share(failures: int) -> None:
    exact = Backoff(jitter=0).delay(failures)

    assert 0.8 * exact <= Backoff(jitter=0.2).delay(failures) <= exact


def test_faults_in_a_row_are_counted_and_failures_of_the_world_around_are_not() -> None:
    seen: list[tuple[int, bool]] = []

    def play(queue: WorkQueue) -> None:
        queue.wake("a")
        for moment in (0.5, 1.5, 3.5, 7.5):
            asyncio.get_running_loop().call_later(
                moment, lambda: seen.append((queue.most_faults(), queue.has_succeeded))
            )

    played(Recorder([ValueError("1k"), ConnectionRefusedError(), ValueError("1k"), None]), 20, play)

    assert seen == [(1, False), (1, False), (2, False), (0, True)]
