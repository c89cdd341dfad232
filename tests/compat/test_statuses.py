"""Jobs and pools as an API server stored them under an earlier operator: this one goes on where that one ended.

Each stage holds the resource, its children and the plan that the earlier operator had for them.
"""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from masktrain_operator.api import labels
from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.pool_spec import PoolAuth
from masktrain_operator.api.v1alpha1 import GPUNodePool, MaskTrainingJob
from masktrain_operator.core.plan import plan
from masktrain_operator.core.pools.nodes import GpuPod, kube_node
from masktrain_operator.core.pools.oke import OkeError, OkeNode, OkePool, WorkRequest
from masktrain_operator.core.pools.plan_pool import plan_pool
from masktrain_operator.core.pools.types import ObservedPool, PoolContext, PoolPlan
from masktrain_operator.core.types import Capacity, Manifest, Observed, Plan
from masktrain_trainer.config import Progress
from tests.compat.conftest import recorded
from tests.compat.schema import complaints
from tests.unit.operator.manifests import SETTINGS

JOBS, POOLS = recorded("jobs"), recorded("pools")
EARLIER_SCHEMAS = recorded("status.schema")
FINISHED = {"Complete", "Failed"}


def plan_of(stage: Manifest, *, status: Manifest | None = None) -> Plan:
    """What this operator decides at the moment of the recording."""
    job = stage["job"] if status is None else {**stage["job"], "status": status}
    observed = Observed(
        jobs=tuple(stage["jobs"]),
        pods=tuple(_as_controlled(pod, stage["jobs"]) for pod in stage["pods"]),
        service=stage["service"],
        progress=Progress.model_validate(stage["progress"]) if stage["progress"] else None,
        progress_error=stage["progressError"],
        foreign_jobs=tuple(stage["foreignJobs"]),
        capacity=capacity(stage["capacity"]) if stage["capacity"] else None,
    )
    return plan(MaskTrainingJob.parse(job), observed, datetime.fromisoformat(stage["now"]), SETTINGS)


def _as_controlled(pod: Manifest, batch_jobs: list[Manifest]) -> Manifest:
    """By the Job of its attempt, as a Job controller writes it; the recordings name the MaskTrainingJob itself."""
    attempt = pod["metadata"]["labels"][labels.ATTEMPT_LABEL]
    owners = [
        job["metadata"]["uid"] for job in batch_jobs if job["metadata"]["labels"][labels.ATTEMPT_LABEL] == attempt
    ]
    references = [{"controller": True, "uid": uid} for uid in owners]
    return {**pod, "metadata": {**pod["metadata"], "ownerReferences": references}}


def capacity(found: dict[str, Any]) -> Capacity:
    known = {key: found[key] for key in ("is_ready", "message", "pool")}
    rate = None if found["hourly_rate"] is None else Decimal(found["hourly_rate"])
    return Capacity(**known, reason=Reason(found["reason"]), hourly_rate=rate)


@pytest.mark.parametrize("name", JOBS)
def test_a_job_goes_on(name: str) -> None:
    stage = JOBS[name]
    decided = plan_of(stage)
    assert [manifest["metadata"]["name"] for manifest in decided.create] == stage["planned"]["create"]
    assert [[gone.kind, gone.name] for gone in decided.delete] == stage["planned"]["delete"]


@pytest.mark.parametrize("name", JOBS)
def test_no_second_gang_is_started(name: str) -> None:
    """Not at once, and not with the status that this operator writes."""
    stage = JOBS[name]
    decided = plan_of(stage)
    jobs = [*stage["jobs"], *({**made, "metadata": {**made["metadata"], "uid": "new"}} for made in decided.create)]
    again = plan_of({**stage, "jobs": jobs}, status=decided.status)
    alive = [job["metadata"]["name"] for job in jobs if not _has_ended(job)]
    assert len(alive) <= 1
    assert again.create == ()


@pytest.mark.parametrize("name", JOBS)
def test_what_a_person_reads_stays(name: str) -> None:
    stage = JOBS[name]
    before = stage["job"]["status"]
    after = plan_of(stage).status or before
    assert after.get("attempt", 0) >= before.get("attempt", 0)
    assert after.get("checkpoints", {}).get("best") == before.get("checkpoints", {}).get("best")
    assert _true(after) & FINISHED == _true(before) & FINISHED
    if _true(before) & FINISHED:
        assert after.get("restarts") == before.get("restarts")
        assert after.get("completionTime") == before.get("completionTime")


@pytest.mark.parametrize("name", JOBS)
def test_after_a_roll_back_the_earlier_operator_reads_the_status(name: str) -> None:
    status = plan_of(JOBS[name]).status
    assert status is None or complaints(json.loads(json.dumps(status)), EARLIER_SCHEMAS["job"]) == []


def _true(status: Manifest) -> set[str]:
    return {condition["type"] for condition in status.get("conditions", []) if condition["status"] == "True"}


def _has_ended(job: Manifest) -> bool:
    return bool(_true(job.get("status", {})) & FINISHED)


def plan_of_pool(stage: Manifest) -> PoolPlan:
    pods = [GpuPod(**pod) for pod in stage["pods"]]
    nodes = tuple(kube_node(node, tuple(pod for pod in pods if pod.node == _name(node))) for node in stage["nodes"])
    pool = GPUNodePool.parse(stage["pool"])
    return plan_pool(
        PoolContext(pool, ObservedPool(oke_pool(stage["oke"]), nodes), datetime.fromisoformat(stage["now"]))
    )


def oke_pool(found: dict[str, Any]) -> OkePool:
    nodes = tuple(OkeNode(**{**node, "error": _error(node["error"])}) for node in found["nodes"])
    return OkePool(**{**found, "nodes": nodes, "work_requests": tuple(map(_work_request, found["work_requests"]))})


def _work_request(found: dict[str, Any]) -> WorkRequest:
    times = {key: datetime.fromisoformat(found[key]) if found[key] else None for key in ("accepted", "finished")}
    errors = tuple(OkeError(**error) for error in found["errors"])
    return WorkRequest(**{**found, **times, "resources": tuple(found["resources"]), "errors": errors})


def _error(found: dict[str, Any] | None) -> OkeError | None:
    return OkeError(**found) if found else None


def _name(node: Manifest) -> str:
    name: str = node["metadata"]["name"]
    return name


@pytest.mark.parametrize("name", POOLS)
def test_a_pool_goes_on(name: str) -> None:
    stage = POOLS[name]
    before = stage["pool"]["status"]
    decided = plan_of_pool(stage)
    busy = {pod["node"] for pod in stage["pods"]}
    assert [removal.instance_id for removal in decided.removals] == stage["planned"]["removals"]
    assert not [patch.name for patch in decided.patches if patch.name in busy and "unschedulable" in str(patch.body)]
    assert decided.resize is None or decided.resize.size == before["scaleUp"]["size"], "no node is asked for twice"


@pytest.mark.parametrize("name", JOBS)
def test_a_job_keeps_the_weights_that_it_starts_from(name: str) -> None:
    """The earlier default was stored with it, so that the present one does not count."""
    assert JOBS[name]["job"]["spec"]["model"]["weights"] == "scratch"
    assert MaskTrainingJob.parse(JOBS[name]["job"]).spec.model.from_scratch


@pytest.mark.parametrize("name", POOLS)
def test_a_pool_keeps_who_signs(name: str) -> None:
    """The earlier default was stored with it, so that the present one does not count."""
    assert POOLS[name]["pool"]["spec"]["auth"] == {"type": "InstancePrincipal"}
    assert GPUNodePool.parse(POOLS[name]["pool"]).spec.auth.type is PoolAuth.INSTANCE_PRINCIPAL


@pytest.mark.parametrize("name", POOLS)
def test_a_pool_keeps_its_memory(name: str) -> None:
    stage = POOLS[name]
    before = GPUNodePool.parse(stage["pool"]).status
    after = plan_of_pool(stage).status or before
    known = {node.instance_id: node for node in before.nodes}
    assert {node.instance_id for node in after.nodes} >= {
        node["instance_id"] for node in stage["oke"]["nodes"] if node["instance_id"] in known
    }
    for node in after.nodes:
        if node.instance_id in known:
            assert node.added_by_operator == known[node.instance_id].added_by_operator
            assert node.created_time == known[node.instance_id].created_time
    assert list(after.recent_removals)[: len(before.recent_removals)] == list(before.recent_removals)


@pytest.mark.parametrize("name", POOLS)
def test_after_a_roll_back_the_earlier_operator_reads_the_pools_status(name: str) -> None:
    status = plan_of_pool(POOLS[name]).status
    document = json.loads(status.model_dump_json(by_alias=True, exclude_none=True)) if status else {}
    assert complaints(document, EARLIER_SCHEMAS["pool"]) == []
