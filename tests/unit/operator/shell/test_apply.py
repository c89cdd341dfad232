"""What becomes of a write that is not simply done."""

from datetime import datetime, timedelta

import pytest

from masktrain_operator.core.types import Deletion, Manifest, Plan
from masktrain_operator.shell.apply import Applier
from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.client import JOBS, TRAINING_JOBS
from masktrain_operator.shell.work_queue import RetryAfter
from tests.unit.operator.manifests import NAMESPACE, NOW, UID, owned
from tests.unit.operator.shell.answers import Answers, refusal

JOB: Manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": owned("masks-0", 0, "masks-0-uid")}
DELETION = Deletion("batch/v1", "Job", NAMESPACE, "masks-0", "masks-0-uid")
SERVICE: Manifest = {"apiVersion": "v1", "kind": "Service", "metadata": owned("masks", 0, "service-uid")}


class Desk:
    """An applier, what it is answered and what it has told."""

    def __init__(self) -> None:
        self.answers = Answers()
        self.known = KnownObjects()
        metadata = {"name": "masks", "uid": UID, "namespace": NAMESPACE, "resourceVersion": "1"}
        self.known.put(TRAINING_JOBS, {"metadata": metadata})
        self.foreign: list[tuple[str, str]] = []
        self.now: datetime = NOW
        self.applier = Applier(self.answers.client, self.known, self._saw, now=lambda: self.now)

    def _saw(self, job_uid: str, name: str) -> None:
        self.foreign.append((job_uid, name))

    async def apply(self, plan: Plan) -> bool:
        return await self.applier.apply(UID, plan)


def of_another(manifest: Manifest) -> Manifest:
    reference = {"uid": "another", "controller": True}
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [reference]}}


@pytest.mark.parametrize(
    ("status", "is_overload"), [(403, False), (422, False), (429, True), (500, True), (502, True), (503, True)]
)
async def test_a_write_that_is_not_taken_stops_no_other_one(status: int, is_overload: bool) -> None:
    desk = Desk()
    desk.answers.errors["create"] = [refusal(status, "Word", "A sentence.")]
    assert not await desk.apply(Plan(create=(JOB,), delete=(DELETION,)))
    assert desk.answers.asked == ["create Job masks-0", "delete Job masks-0"]
    (kept,) = desk.applier.refusals(UID)
    assert (kept.key, kept.reason, kept.message) == (("create", "Job", "masks-0"), "Word", "A sentence.")
    assert kept.is_overload is is_overload
    assert kept.retry_time == NOW + timedelta(seconds=2)


async def test_refusals_in_a_row_are_counted_until_the_write_is_taken() -> None:
    desk = Desk()
    desk.answers.errors["delete"] = [refusal(503), refusal(503)]
    for failures in (1, 2):
        await desk.apply(Plan(delete=(DELETION,)))
        assert [kept.failures for kept in desk.applier.refusals(UID)] == [failures]
    assert await desk.apply(Plan(delete=(DELETION,)))
    assert desk.applier.refusals(UID) == ()


async def test_a_refusal_is_forgotten_when_its_time_has_come_and_nobody_wants_the_write() -> None:
    desk = Desk()
    desk.answers.errors["delete"] = [refusal(403)]
    await desk.apply(Plan(delete=(DELETION,)))
    await desk.apply(Plan())
    assert desk.applier.refusals(UID), "its time has not come"
    desk.now += timedelta(seconds=2)
    await desk.apply(Plan())
    assert desk.applier.refusals(UID) == ()


async def test_an_object_that_is_gone_already_leaves_the_cache() -> None:
    desk = Desk()
    desk.known.put(JOBS, {**JOB, "metadata": {**JOB["metadata"], "resourceVersion": "1"}})
    desk.answers.errors["delete"] = [refusal(404, "NotFound")]
    assert await desk.apply(Plan(delete=(DELETION,)))
    assert desk.known.jobs.owned_by(UID) == ()


async def test_another_object_of_the_name_is_not_deleted() -> None:
    desk = Desk()
    desk.answers.errors["delete"] = [refusal(409, "Conflict")]
    assert await desk.apply(Plan(delete=(DELETION,)))
    assert desk.applier.refusals(UID) == ()


async def test_a_job_whose_creation_was_answered_by_nobody_is_adopted() -> None:
    desk = Desk()
    desk.answers.errors["create"] = [refusal(409, "AlreadyExists")]
    desk.answers.standing = {**JOB, "metadata": {**JOB["metadata"], "resourceVersion": "7"}}
    assert await desk.apply(Plan(create=(JOB,)))
    assert [job["metadata"]["name"] for job in desk.known.jobs.owned_by(UID)] == ["masks-0"]


async def test_somebody_elses_job_is_told_and_looked_at_again() -> None:
    desk = Desk()
    desk.answers.errors["create"] = [refusal(409, "AlreadyExists")]
    desk.answers.standing = of_another(JOB)
    with pytest.raises(RetryAfter) as again:
        await desk.apply(Plan(create=(JOB,)))
    assert (again.value.seconds, desk.foreign) == (0, [(UID, "masks-0")])
    assert desk.known.jobs.owned_by(UID) == ()


async def test_a_conflict_with_nothing_is_a_refusal_and_no_hot_loop() -> None:
    desk = Desk()
    desk.answers.errors["create"] = [refusal(409, "Conflict", "two writers met at a quota")]
    assert not await desk.apply(Plan(create=(JOB,)))
    assert [kept.message for kept in desk.applier.refusals(UID)] == ["two writers met at a quota"]


async def test_somebody_elses_service_is_never_taken_over() -> None:
    desk = Desk()
    desk.answers.standing = of_another(SERVICE)
    with pytest.raises(RetryAfter):
        await desk.apply(Plan(apply=(SERVICE,)))
    assert desk.answers.asked == ["get Service masks"]
