"""A training that was interrupted again and again ends with the numbers of one that never was, bit for bit."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from masktrain_trainer.config import OutcomeKind
from tests.ddp.fork_host import ForkHost
from tests.ddp.gang import Attempt, Job
from tests.ddp.traced_rank import Event, Happening

INTERRUPTIONS = 20
LOST_UPLOADS = 0.3
"""Share of kills after which the last snapshot never reached the store."""
TRAINING = {
    "epochs": 15,
    "multiScale": True,
    "hyperparameters": {"nominalBatchSize": 8, "warmupEpochs": 1, "warmupMinIterations": 4},
}
"""Three optimizer steps in an epoch of five batches."""
THREE_RANKS = {
    "epochs": 4,
    "batchSize": 6,
    "optimizer": "AdamW",
    "preset": "High",
    "imageWeights": True,
    "hyperparameters": {"learningRate": 0.001, "nominalBatchSize": 6, "warmupMinIterations": 4},
}


@dataclass(frozen=True)
class Runs:
    whole: Attempt
    interrupted: list[Attempt]

    @property
    def last(self) -> Attempt:
        return self.interrupted[-1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, host: ForkHost, prepared_data: Path) -> Runs:
    return compare(host, tmp_path_factory.mktemp("resume"), prepared_data, TRAINING, INTERRUPTIONS)


@pytest.fixture(scope="module")
def runs_of_three(tmp_path_factory: pytest.TempPathFactory, host: ForkHost, prepared_data: Path) -> Runs:
    """With more ranks than two the order in which gradients are added can differ, and with them their last bit."""
    return compare(host, tmp_path_factory.mktemp("three"), prepared_data, THREE_RANKS, 3, ranks=3)


def compare(
    host: ForkHost, folder: Path, data: Path, training: dict[str, Any], interruptions: int, ranks: int = 2
) -> Runs:
    whole = Job(host, folder / "whole", data, training, ranks).attempt(0)
    assert ended(whole) is OutcomeKind.COMPLETE, whole.log
    job = Job(host, folder / "interrupted", data, training, ranks)
    return Runs(whole, interrupt(job, len(whole.trace(0)), interruptions))


def interrupt(job: Job, steps: int, interruptions: int) -> list[Attempt]:
    """Attempts up to one that completes, with interruptions at random steps, alternately with and without notice.

    Not at two steps in a row, because ranks that are asked to stop save after one more.
    """
    chance = random.Random(0)
    attempts = []
    for number, step in enumerate(sorted(chance.sample(range(2, steps, 2), interruptions))):
        happening = chance.choice((Happening.KILL, Happening.KILL_BEFORE_UPDATE)) if number % 2 else Happening.STOP
        event = Event(step, happening, rank=chance.randrange(job.ranks))
        attempts.append(job.attempt(number, event, workers=number % 3))
        if happening is Happening.STOP or chance.random() > LOST_UPLOADS:
            job.upload(attempts[-1], number)
    return [*attempts, job.attempt(interruptions)]


def ended(attempt: Attempt) -> OutcomeKind | None:
    return attempt.outcomes[0].kind if attempt.outcomes[0] else None


def differing_steps(whole: Attempt, attempt: Attempt) -> list[tuple[int, int]]:
    """Rank and step."""
    return [
        (rank, step)
        for rank in range(whole.ranks)
        for step, digest in attempt.trace(rank).items()
        if digest != whole.trace(rank)[step]
    ]


def differing_parts(whole: Attempt, resumed: Attempt) -> list[str]:
    """Of the final state; how many loader workers there were is allowed to differ."""
    expected, found = whole.last_state(), resumed.last_state()
    return [part for part in expected if part != "training" and not same(expected[part], found[part])]


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(same(one, other) for one, other in zip(first, second, strict=True))
    return bool(first == second)


@pytest.mark.parametrize("number", range(INTERRUPTIONS + 1))
def test_every_step_of_every_attempt_is_that_of_the_run_in_one_go(runs: Runs, number: int) -> None:
    attempt = runs.interrupted[number]
    assert differing_steps(runs.whole, attempt) == []
    assert attempt.trace(0) or attempt.event is None or attempt.event.happening is not Happening.STOP


def test_attempts_ended_as_they_were_made_to(runs: Runs) -> None:
    for attempt in runs.interrupted[:-1]:
        assert attempt.event is not None
        assert (ended(attempt) is OutcomeKind.STOPPED) == (attempt.event.happening is Happening.STOP), attempt.log
    assert ended(runs.last) is OutcomeKind.COMPLETE, runs.last.log


def test_attempts_went_on_from_where_the_store_was(runs: Runs) -> None:
    """Not from the start each time, and some of them from the middle of an epoch."""
    starts = [min(attempt.trace(0)) for attempt in runs.interrupted[1:] if attempt.trace(0)]
    assert len(set(starts)) > INTERRUPTIONS / 2
    assert any(start % 3 != 1 for start in starts)


def test_results_are_the_same_byte_for_byte(runs: Runs) -> None:
    whole, resumed = ((run.run.artifacts / "results.csv").read_bytes() for run in (runs.whole, runs.last))
    assert whole == resumed
    assert len(whole.splitlines()) > 10


def test_the_final_state_is_the_same_bit_for_bit(runs: Runs) -> None:
    assert differing_parts(runs.whole, runs.last) == []


def test_three_ranks_continue_the_same_numbers_too(runs_of_three: Runs) -> None:
    for attempt in runs_of_three.interrupted:
        assert differing_steps(runs_of_three.whole, attempt) == []
    assert differing_parts(runs_of_three.whole, runs_of_three.last) == []
