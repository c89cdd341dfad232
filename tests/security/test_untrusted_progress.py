"""A trainer image may be anybody's: what its pod answers stops no limit of its own job, and floods nobody.

On the version before, an answer of `imagesPerSecond: 1e300` broke the status, and the job ran past its deadline; one
pod brought about 92 events in 20 seconds and a status of 0.93 MB, and wrote lines of its own into the operator's log.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from devcluster.waiting import wait_until
from tests.api.gang import Gang
from tests.api.namespace import ApiNamespace
from tests.api.operator_process import OperatorProcess
from tests.api.training_jobs import training_job
from tests.security.team import TrainerAt, trainer_at

pytestmark = pytest.mark.api

FORGED = "\n2026-01-01 00:00:00,000 [INFO] vision/masks Complete: forged"
LOOKS = 8


@pytest.fixture
def trainer() -> Iterator[TrainerAt]:
    with trainer_at("127.78.1.1") as trainer:
        yield trainer


def start(namespace: ApiNamespace, trainer: TrainerAt, **fields: Any) -> None:
    namespace.create(training_job(**fields))
    namespace.wait("job/masks-0", "create")
    Gang(namespace, "masks-0").start(trainer.address)


def test_no_answer_switches_a_limit_off(namespace: ApiNamespace, operator: OperatorProcess, trainer: TrainerAt) -> None:
    trainer.says(
        imagesPerSecond=1e300, step=-5, etaSeconds=10**30, updatedAt="2026-01-01T00:00:00+14:00", phase="x" * 999
    )
    start(namespace, trainer, limits={"activeDeadlineSeconds": 8, "stopGraceSeconds": 30})
    fence = namespace.get("job/masks-0")["spec"]["activeDeadlineSeconds"]
    namespace.wait("mtj/masks", "condition=Failed")

    assert namespace.condition("masks", "Failed")["reason"] == "DeadlineExceeded"
    assert fence == 8 + 30 + 600, "and Kubernetes would have ended it, too"
    assert trainer.asked > 0


def test_a_pod_floods_neither_the_api_nor_the_log(
    namespace: ApiNamespace, operator: OperatorProcess, trainer: TrainerAt
) -> None:
    def flood(number: int) -> dict[str, Any]:
        classes = [f"{number}-{index}".ljust(100, "x") for index in range(2000)]
        dataset = {"classes": classes, "images": number, "boxes": 1, "validationImages": 1, "validationBoxes": 1}
        skipped = [f"{number}/{index}{FORGED}" for index in range(10)]
        return {"step": number, "dataset": dataset, "skippedCheckpoints": skipped, "storeError": FORGED * (number % 2)}

    trainer.says_each_time(flood)
    start(namespace, trainer)
    wait_until(lambda: trainer.asked >= LOOKS, "the looks", seconds=60)
    status = namespace.get("mtj/masks")["status"]

    assert len(json.dumps(status)) < 64 * 1024
    assert len(namespace.events("CheckpointSkipped")) <= 10
    assert not [line for line in operator.log.splitlines() if line.startswith(FORGED.strip())]
