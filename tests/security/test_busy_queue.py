"""Attacks on the operator's attention: more jobs of one team than it can look at in minutes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import Mock

import pytest

from masktrain_operator.api import labels
from masktrain_operator.core.times import format_time
from masktrain_operator.shell.client import JOBS, PODS
from masktrain_operator.shell.controller import STUCK_SECONDS
from masktrain_operator.shell.observe import Observer
from masktrain_operator.shell.progress import WAIT_SECONDS, ProgressReader
from masktrain_operator.shell.work_queue import WorkQueue
from masktrain_trainer.config import OutcomeKind
from tests.unit.operator.manifests import checkpoint, outcome_message
from tests.unit.operator.shell.pools.test_pool_cache import Cluster
from tests.unit.operator.shell.test_work_queue import Recorder
from tests.unit.operator.shell.virtual_clock import run
from tests.unit.operator.world import World

MANY = 2000
WORKERS = 4


def namespace_of(key: str) -> str:
    return key.partition("/")[0]


async def flooded(recorder: Recorder) -> list[float]:
    """Standstill at every ten seconds, while the second team's jobs are looked at and the first's one comes."""
    queue = WorkQueue(recorder, workers=WORKERS, lane_of=namespace_of)
    queue.start()
    for number in range(MANY):
        queue.wake(f"theirs/{number}")
    await asyncio.sleep(10)
    queue.wake("vision/masks")
    seen = []
    for _ in range(60):
        await asyncio.sleep(10)
        seen.append(queue.standstill())
    await queue.stop()
    return seen


def test_thousands_of_jobs_of_a_team_keep_no_other_team_waiting() -> None:
    """Attack: create jobs and jobs. All others were looked at after them, minutes later, again and again."""
    recorder = Recorder(length=1)
    run(flooded(recorder))
    (moment,) = [moment for moment, key in recorder.calls if key == "vision/masks"]
    assert moment <= 12
    assert len(recorder.calls) == MANY + 1


def test_thousands_of_jobs_do_not_have_the_operator_restarted() -> None:
    """Attack: so many that the last one waits for longer than the probe allows: it ended a working operator, which
    began anew with all of them."""
    assert MANY / WORKERS > STUCK_SECONDS
    assert max(run(flooded(Recorder(length=1)))) <= 1


def test_an_operator_that_takes_nothing_any_more_stands_still() -> None:
    async def stuck() -> tuple[float, float]:
        queue = WorkQueue(Recorder(length=1000), workers=1)
        nobody = WorkQueue(Recorder(), workers=1)
        queue.start()
        queue.wake("a")
        nobody.wake("a")
        await asyncio.sleep(300)
        seen = queue.standstill(), nobody.standstill()
        await queue.stop()
        return seen

    assert run(stuck()) == (300, 300)


class SilentPods:
    """A session to pods that take every connection and never answer."""

    @asynccontextmanager
    async def get(self, *_: object, **__: object) -> AsyncIterator[None]:
        await asyncio.sleep(3600)
        yield


async def seconds_of_a_look(*conditions: dict[str, str]) -> float:
    """At a job on a cluster with node pools, whose batch Job has these conditions and whose rank 0 runs."""
    cluster = Cluster()
    cluster.submit("theirs", attempt=0, attemptUid="uid-of-theirs-0")
    of_job = {"labels": {labels.JOB_UID_LABEL: "uid-of-theirs", labels.ATTEMPT_LABEL: "0"}}
    owner = [{"uid": "uid-of-theirs", "controller": True}]
    cluster.put(JOBS, "theirs-0", metadata={**of_job, "ownerReferences": owner}, status={"conditions": conditions})
    rank = {"labels": {**of_job["labels"], labels.COMPLETION_INDEX: "0"}}
    owned = {**rank, "ownerReferences": [{"uid": "uid-of-theirs-0", "controller": True}]}
    cluster.put(PODS, "rank-0", metadata=owned, spec={}, status={"phase": "Running", "podIP": "10.0.0.1"})
    (job,) = cluster.known.training_jobs
    reader = ProgressReader(SilentPods(), 10, wake=Mock())  # type: ignore[arg-type]
    begun = asyncio.get_running_loop().time()
    await Observer(cluster.known, Mock(), reader, cluster.pools).observe(job)
    reader.close()
    return asyncio.get_running_loop().time() - begun


@pytest.mark.parametrize(
    ("conditions", "seconds"),
    [((), WAIT_SECONDS), (({"type": "Failed", "status": "True"},), 0)],
    ids=["in work", "over"],
)
def test_a_silent_pod_of_an_attempt_that_is_over_holds_up_no_admission(
    conditions: tuple[dict[str, str], ...], seconds: float
) -> None:
    """Attack: pods that outlive their attempts and never answer. One job at a time is admitted, and each of these kept
    all others waiting, for a quarter of a second at every look."""
    assert run(seconds_of_a_look(*conditions)) == pytest.approx(seconds, abs=0.01)


def test_attempts_that_claim_progress_and_end_at_once_do_not_follow_each_other_without_a_pause() -> None:
    """Attack: an image that reports a checkpoint of one step more and crashes; the next attempt began at once, for
    ever, each with a batch Job, pods, events and writes of the status."""
    world = World()
    world.run_operator()
    for attempt in range(10):
        world.jobs[f"masks-{attempt}"]["metadata"]["creationTimestamp"] = format_time(world.now)
        world.start_pods()
        newer = outcome_message(OutcomeKind.CRASHED, "Mine", "Mine.", attempt=attempt, last=checkpoint(attempt + 1))
        world.end_all(1, newer)
        world.run_operator()
        world.remove_terminating()
        world.is_woken = True
        world.pass_time(9)
        assert f"masks-{attempt + 1}" not in world.jobs
        world.pass_time(1)
        assert f"masks-{attempt + 1}" in world.jobs
    assert world.status["restarts"].get("withoutProgress", 0) == 0, "and progress is progress"
