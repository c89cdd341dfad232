"""Waiting does not take the processor from those who are waited for."""

from dataclasses import dataclass, field

import pytest

from devcluster import waiting
from devcluster.waiting import PAUSE_SECONDS, TimedOut, wait_until


@dataclass
class FakeTime:
    now: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(waiting, "time", fake)
    return fake


def test_what_is_dear_to_ask_is_asked_less_often(clock: FakeTime) -> None:
    costs = iter([0.0, 1.0, 1.0])

    def asked() -> bool:
        clock.now += next(costs)
        return clock.now > 4

    wait_until(asked, "the third answer", seconds=60)
    assert clock.pauses == [PAUSE_SECONDS, 2.0]


def test_what_holds_at_once_costs_no_pause(clock: FakeTime) -> None:
    wait_until(lambda: True, "nothing", seconds=0)
    assert clock.pauses == []


def test_what_never_comes_is_named(clock: FakeTime) -> None:
    with pytest.raises(TimedOut, match="waited 5 s in vain for rain"):
        wait_until(lambda: False, "rain", seconds=5)
    assert 5 < clock.now < 6
