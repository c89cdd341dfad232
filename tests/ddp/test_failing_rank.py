"""One rank's trouble ends all of them, and the user reads its cause."""

import asyncio
import os
from pathlib import Path

import pytest
import torch

from masktrain_trainer.checkpoint.snapshot import read_snapshot
from masktrain_trainer.config import (
    CONFIG_VARIABLE,
    CheckpointSpec,
    DatasetSpec,
    ModelSpec,
    OutcomeKind,
    RunConfig,
    TrainingSpec,
)
from masktrain_trainer.pod.launch import Launch, Paths
from masktrain_trainer.pod.outcome import merge_outcomes
from masktrain_trainer.pod.supervisor import Supervisor
from tests.ddp.fork_host import ForkHost
from tests.ddp.gang import Attempt, Job
from tests.ddp.ports import free_port
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


@pytest.mark.parametrize(("node_rank", "peer"), [(0, "masks-0-1"), (1, "masks-0-0")])
def test_pods_that_never_meet_name_each_other(
    node_rank: int, peer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real torchrun of either pod, and nothing on the other side."""
    host = f"masks-0-{node_rank}"
    for module in ("launch", "outcome"):
        monkeypatch.setattr(f"masktrain_trainer.pod.{module}.RENDEZVOUS_TIMEOUT_SECONDS", 4)
    monkeypatch.setattr("masktrain_trainer.pod.outcome.socket.gethostname", lambda: host)
    variables = {"PET_NNODES": "2", "PET_NODE_RANK": str(node_rank), "PET_MASTER_ADDR": "127.0.0.1"}
    config = RunConfig(
        namespace="team",
        name="masks",
        uid="u-1",
        attempt=0,
        model=ModelSpec(),
        dataset=DatasetSpec(uri="s3://bucket/masks.zip"),
        training=TrainingSpec(),
        checkpoint=CheckpointSpec(uri="s3://bucket/out"),
        hang_timeout_seconds=60,
        stop_grace_seconds=30,
    )
    environment = {
        **os.environ,
        **variables,
        "PET_MASTER_PORT": str(free_port()),
        "MASKTRAIN_DEVICE": "cpu",
        CONFIG_VARIABLE: config.to_json(),
    }
    paths = Paths(workspace=tmp_path)
    paths.run.create()
    supervisor = Supervisor(Launch.from_environment(environment), paths, environment)
    outcome = asyncio.run(supervisor._train())
    assert (outcome.kind, outcome.reason) == (OutcomeKind.CRASHED, "GangNotConnected")
    assert f"{host} has not connected with {peer}: check " in outcome.message
