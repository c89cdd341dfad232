"""One look at one job when the API server does not answer as it should."""

import asyncio
import copy
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import cast
from unittest.mock import Mock

import aiohttp
import pytest

from masktrain_operator.api.labels import JOB_UID_LABEL
from masktrain_operator.core.types import Event, Manifest
from masktrain_operator.shell.apply import Applier
from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.client import JOBS, NODE_POOLS, PODS, SERVICES, TRAINING_JOBS, ResourceKind
from masktrain_operator.shell.events import EventRecorder
from masktrain_operator.shell.observe import Observer
from masktrain_operator.shell.pools.gang_check import QUESTIONS_AT_ONCE, GangCheck
from masktrain_operator.shell.pools.pool_cache import PoolCache
from masktrain_operator.shell.progress import ProgressReader
from masktrain_operator.shell.reconcile import Reconciler
from masktrain_operator.shell.status_writer import StatusWriter, WriteRate
from masktrain_operator.shell.work_queue import ReconcileError
from tests.unit.operator.manifests import NOW, SETTINGS, UID, job_body
from tests.unit.operator.shell.answers import Answers, refusal
from tests.unit.operator.shell.test_status_writer import patched
from tests.unit.operator.world import World, half_started, running


class Operator:
    """The real parts around one job, on caches that hold what `world` has."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.answers = Answers()
        self.known = KnownObjects()
        self.told: list[str] = []
        self.now: datetime = NOW
        client = self.answers.client
        pools = PoolCache(self.known, lambda: self.now, asks_first=True)
        check = GangCheck(client, pools, SETTINGS, lambda: None, now=lambda: self.now, clock=lambda: 0.0)
        observer = Observer(self.known, client, ProgressReader(session, 2, wake=Mock()), pools, check)
        self.reconcile = Reconciler(
            known=self.known,
            observer=observer,
            applier=Applier(client, self.known, observer.saw_foreign_job, now=lambda: self.now),
            status=StatusWriter(client, self.known, WriteRate(20), lambda: 0.0),
            events=cast("EventRecorder", self),
            settings=SETTINGS,
            wake_pools=lambda: None,
            now=lambda: self.now,
        )
        self._version = 1000
        """Newer than what the client answers."""

    async def record(self, _: Manifest, event: Event) -> None:
        self.told.append(event.reason)

    def shows(self, world: World) -> None:
        """All that watches would have told."""
        self._put(TRAINING_JOBS, world.body)
        self.shows_jobs(world)

    def shows_jobs(self, world: World) -> None:
        for job in world.jobs.values():
            self.shows_job(job)
        for pod in world.pods.values():
            self._put(PODS, pod)
        if world.service is not None:
            self._put(SERVICES, world.service)

    def shows_job(self, job: Manifest) -> None:
        self._put(JOBS, job)

    def has_a_pool(self) -> None:
        spec = {"nodePoolId": "ocid1.nodepool.x", "region": "us-ashburn-1", "maxNodes": 4}
        metadata = {"name": "gpu", "uid": "uid-of-gpu", "creationTimestamp": "2026-01-01T00:00:00Z"}
        self._put(NODE_POOLS, {"metadata": metadata, "spec": spec})

    def submit(self, name: str, namespace: str, seed: int = 0) -> str:
        """Returns its uid."""
        body = job_body(name, training={"seed": seed})
        metadata = {**body["metadata"], "name": name, "namespace": namespace, "uid": f"uid-of-{name}"}
        self._put(TRAINING_JOBS, {**body, "metadata": metadata})
        return f"uid-of-{name}"

    def _put(self, kind: ResourceKind, body: Manifest) -> None:
        self._version += 1
        metadata = {**body["metadata"], "resourceVersion": str(self._version)}
        self.known.put(kind, {**copy.deepcopy(body), "metadata": metadata})


@pytest.fixture
async def operator() -> AsyncIterator[Operator]:
    async with aiohttp.ClientSession() as session:
        yield Operator(session)


async def test_a_moment_without_an_answer_delays_a_deletion_and_tells_nobody_of_a_refusal(operator: Operator) -> None:
    world = half_started()
    operator.shows(world)
    operator.now += timedelta(minutes=20)
    operator.answers.errors["delete"] = [refusal(503)]
    await operator.reconcile(UID)
    # What the status writer keeps is the bare answer of the client: the whole object comes back by the watch.
    world.body["status"] = patched(world.body["status"], operator.answers.statuses[-1])
    operator.shows(world)
    assert operator.told == ["AttemptFailed", "RestartBackoff"]
    operator.now += timedelta(seconds=60)
    await operator.reconcile(UID)
    assert operator.answers.asked.count("delete Job masks-0") == 2
    assert "WriteRefused" not in str(operator.answers.statuses)


async def test_a_status_that_is_not_taken_is_one_sentence_and_tells_no_event(operator: Operator) -> None:
    operator.shows(World())
    operator.answers.errors["status"] = [refusal(503, message="etcd has no leader")]
    with pytest.raises(ReconcileError, match="vision/masks: etcd has no leader"):
        await operator.reconcile(UID)
    assert operator.told == []


async def test_a_job_that_is_gone_needs_nothing(operator: Operator) -> None:
    assert await operator.reconcile(UID) is None
    assert operator.answers.asked == []


async def test_what_a_job_that_is_gone_has_left_is_deleted(operator: Operator) -> None:
    """Attack: `kubectl delete masktrainingjob --cascade=orphan`, and a finalizer on the batch Job."""
    world = running()
    operator.shows(world)
    operator.known.remove(TRAINING_JOBS, world.body)
    world.jobs["masks-0"]["metadata"]["ownerReferences"] = []
    operator.shows_jobs(world)
    await operator.reconcile(UID)
    assert operator.answers.asked == ["delete Job masks-0"]
    world.jobs["masks-0"]["metadata"]["deletionTimestamp"] = "2026-01-02T03:05:00Z"
    operator.shows_jobs(world)
    await operator.reconcile(UID)
    assert operator.answers.asked[1:] == [f"delete Pod {name}" for name in world.pods]
    assert operator.answers.statuses == []


async def test_a_batch_job_of_another_namespace_hides_nothing_that_a_job_has_left(operator: Operator) -> None:
    """Attack: relabel an own batch Job to the uid of another team's job that is gone: its gang went on for ever."""
    world = running()
    operator.shows(world)
    theirs = copy.deepcopy(world.jobs["masks-0"])
    own = {JOB_UID_LABEL: operator.submit("theirs", "radar")}
    theirs["metadata"] |= {"name": "a-first", "namespace": "radar", "uid": "uid-of-a-first", "labels": own}
    operator.shows_job(theirs)
    operator.shows_job({**theirs, "metadata": {**theirs["metadata"], "labels": {JOB_UID_LABEL: UID}}})
    operator.known.remove(TRAINING_JOBS, world.body)
    await operator.reconcile(UID)
    assert "delete Job masks-0" in operator.answers.asked


@pytest.mark.parametrize("nodes", [2, "many"])
async def test_a_deleted_job_that_a_finalizer_keeps_loses_its_batch_job_and_no_more(
    operator: Operator, nodes: int | str
) -> None:
    """Also one whose spec cannot be read. Its pods are the garbage collector's, unless the batch Job is kept, too."""
    world = half_started()
    world.body["spec"]["compute"]["nodes"] = nodes
    world.body["metadata"] |= {"deletionTimestamp": "2026-01-02T03:05:00Z", "finalizers": ["team.example/hold"]}
    operator.shows(world)
    operator.answers.errors["delete"] = [refusal(503)]
    assert await operator.reconcile(UID), "refused, it is tried again"
    operator.now += timedelta(seconds=60)
    assert await operator.reconcile(UID) is None
    world.jobs["masks-0"]["metadata"]["deletionTimestamp"] = "2026-01-02T03:05:00Z"
    operator.shows(world)
    assert await operator.reconcile(UID) is None
    pods = [f"delete Pod {name}" for name in world.pods]
    assert operator.answers.asked == ["delete Job masks-0", "delete Job masks-0", *pods]
    assert (operator.told, operator.answers.statuses) == ([], [])


async def test_a_finished_job_asks_the_api_server_nothing(operator: Operator) -> None:
    """Thousands of them are looked at with every resync."""
    world = World(limits={"ttlSecondsAfterFinished": 0})
    world.run_operator()
    world.start_pods()
    world.run_operator()
    world.end_all(0)
    world.run_operator()
    assert (world.jobs, world.service) == ({}, None)
    operator.shows(world)
    assert await operator.reconcile(UID) is None
    assert operator.answers.asked == []


async def test_a_resource_that_cannot_be_read_is_said(operator: Operator) -> None:
    world = World(compute={"nodes": "many"})
    operator.shows(world)
    await operator.reconcile(UID)
    (condition,) = operator.answers.statuses[-1]["conditions"]
    assert (condition["type"], condition["reason"]) == ("Stalled", "InvalidSpec")
    assert "compute.nodes" in condition["message"]
    assert operator.answers.asked == ["status MaskTrainingJob masks"]


async def test_whoever_waits_for_an_answer_about_a_gang_keeps_nobody_else_waiting(operator: Operator) -> None:
    """A webhook may take its time over each pod of a namespace: the turn of admission is not held meanwhile."""
    operator.has_a_pool()
    gate = operator.answers.gate = asyncio.Event()
    slow = asyncio.create_task(operator.reconcile(operator.submit("slow", "radar")))
    await operator.answers.is_held.wait()
    operator.answers.gate = None
    await asyncio.wait_for(operator.reconcile(operator.submit("quick", "vision")), timeout=5)
    assert operator.answers.asked[-1] == "status MaskTrainingJob quick"
    gate.set()
    await slow
    assert operator.answers.asked[-1] == "status MaskTrainingJob slow"


async def test_a_job_that_may_not_be_asked_about_yet_is_told_so_and_looked_at_in_its_turn(operator: Operator) -> None:
    operator.has_a_pool()
    uids = [operator.submit(f"flood-{number}", "radar", seed=number) for number in range(QUESTIONS_AT_ONCE + 3)]
    waits = [await operator.reconcile(uid) for uid in uids]
    assert waits[QUESTIONS_AT_ONCE:] == [1.0, 2.0, 3.0]
    assert "The API server is asked" in str(operator.answers.statuses[-1])
    assert operator.answers.asked.count("list ResourceQuota radar") == QUESTIONS_AT_ONCE
