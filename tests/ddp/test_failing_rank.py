"""One rank's trouble ends all of them, and the user reads its cause."""

from pathlib import Path

import pytest
import torch

from masktrain_trainer.checkpoint.snapshot import read_snapshot
from masktrain_trainer.config import OutcomeKind
from masktrain_trainer.pod.outcome import merge_outcomes
from tests.ddp.fork_host import ForkHost
from tests.ddp.gang import Attempt, Job
from tests.ddp.traced_rank import Event, Happening

STEP = 8


@pytest.fixture
def job(host: ForkHost, prepared_data: Path, tmp_path: Path) -> Job:
    return Job(host, tmp_path, prepared_data, {"epochs": 10, "hyperparameters": {"nominalBatchSize": 4}})


def handed_over(attempt: Attempt) -> list[tuple[int, dict[str, torch.Tensor]]]:
    """Step and weights of each snapshot that waits for the uploader."""
    snapshots = [read_snapshot(path) for path in attempt.spool.waiting()]
    return [(meta.step, state["model"]) for state, meta in snapshots]


def test_a_loss_that_is_not_a_number_is_named_and_the_last_good_checkpoint_kept(job: Job) -> None:
    attempt = job.attempt(0, Event(STEP, Happening.NOT_A_NUMBER, rank=1))
    assert attempt.exit_codes == [0, 0], attempt.log
    first, second = attempt.outcomes
    assert first == second
    assert first is not None
    assert (first.kind, first.reason) == (OutcomeKind.USER_ERROR, "Diverged")
    assert first.message.startswith(f"The loss is not finite at step {STEP - 1} of epoch 1: box ")
    assert "nan" in first.message
    assert first.message.count(".jpg") == 2
    assert "Traceback" not in attempt.log
    kept = handed_over(attempt)
    assert max(step for step, _ in kept) == STEP - 1
    assert all(bool(tensor.isfinite().all()) for _, weights in kept for tensor in weights.values())


def test_the_rank_whose_memory_is_full_explains_the_end_of_the_others(job: Job) -> None:
    attempt = job.attempt(0, Event(STEP, Happening.OUT_OF_MEMORY, rank=1))
    assert attempt.exit_codes == [1, 1], attempt.log
    outcome = merge_outcomes(attempt.outcomes, torchrun_code=1)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.USER_ERROR, "InvalidConfiguration")
    assert outcome.message == (
        "The memory of a small GPU is too small for 2 images of 64 px on each of 2 rank(s), training.batchSize 4: "
        "1 fit on each, so set training.batchSize to 2 or lower training.imageSize."
    )
