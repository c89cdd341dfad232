"""A rank hangs when its counter has not changed for longer than its activity may take."""

from pathlib import Path

import pytest

from masktrain_trainer.heartbeat import (
    Activity,
    Beat,
    Hang,
    HangDetector,
    HangLimits,
    Heartbeat,
    innermost_own_frame,
    read_heartbeat,
)

LIMITS = HangLimits(training=100)


def beat(counter: int, activity: Activity = Activity.TRAINING) -> Beat:
    return Beat(counter, activity, at=0.0)


def test_a_counter_that_moves_is_no_hang() -> None:
    detector = HangDetector(LIMITS, [0], now=0)
    for step in range(1, 50):
        detector.observe({0: beat(step)}, now=step * 90)
        assert detector.longest_hang(step * 90 + 89) is None


def test_the_rank_that_stands_longest_is_named() -> None:
    detector = HangDetector(LIMITS, [0, 1], now=0)
    detector.observe({0: beat(1), 1: beat(1)}, now=10)
    detector.observe({0: beat(2), 1: beat(1)}, now=20)
    found = detector.longest_hang(now=200)
    assert found is not None
    assert (found.local_rank, found.activity, found.seconds) == (1, Activity.TRAINING, 190)
    assert str(found) == "local rank 1 has stood still for 190 s while training"


@pytest.mark.parametrize(
    ("activity", "words"),
    [
        (None, "while waiting for the other pods"),
        (Activity.CONNECTING, "while connecting with the other ranks"),
        (Activity.VALIDATING, "while validating"),
    ],
)
def test_a_hang_says_what_the_rank_was_doing(activity: Activity | None, words: str) -> None:
    assert str(Hang(0, activity, 601)) == f"local rank 0 has stood still for 601 s {words}"


@pytest.mark.parametrize(
    ("activity", "limit"),
    [
        (Activity.TRAINING, 100),
        (Activity.STARTING, 600),
        (Activity.CONNECTING, 600),
        (Activity.VALIDATING, 600),
        (Activity.SAVING, 600),
        (None, 1860),
    ],
)
def test_each_activity_has_its_own_clock(activity: Activity | None, limit: float) -> None:
    detector = HangDetector(LIMITS, [0], now=0)
    detector.observe({0: beat(1, activity) if activity is not None else None}, now=0)
    assert detector.longest_hang(now=limit) is None
    assert detector.longest_hang(now=limit + 1) is not None


def test_a_heartbeat_crosses_processes_through_the_file(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat-0"
    assert read_heartbeat(path) is None
    with Heartbeat(path) as heartbeat:
        heartbeat.beat(Activity.STARTING)
        heartbeat.beat(Activity.SAVING)
        seen = read_heartbeat(path)
    assert seen is not None
    assert (seen.counter, seen.activity) == (2, Activity.SAVING)
    assert path.stat().st_size == 24


STACKS = """Thread 0x00007f (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 327 in wait

Current thread 0x00007e (most recent call first):
  File "/venv/torch/distributed/distributed_c10d.py", line 2810 in all_reduce
  File "/venv/masktrain_trainer/train/loop.py", line 120 in train_step
  File "/venv/masktrain_trainer/train/worker.py", line 10 in main
"""


@pytest.mark.parametrize(
    ("stacks", "frame"),
    [
        (STACKS, "loop.py:120 train_step"),
        ('Current thread 0x1 (most recent call first):\n  File "/a/b.py", line 3 in f\n', "b.py:3 f"),
        ("", None),
    ],
)
def test_the_innermost_own_frame_is_the_innermost_of_our_own(stacks: str, frame: str | None) -> None:
    assert innermost_own_frame(stacks) == frame
