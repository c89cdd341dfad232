"""A cluster of one job in memory: plans are applied to it, and its controllers move when a test says so.

It stands in for nothing that talks to an API server: the planner is a pure function, and this is a state to plan for.
`run_operator` is for tests that say when; `pass_time` wakes the operator only when a watch or its own requeue would.
"""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.deadlines import refused
from masktrain_operator.core.jobs import attempt_number, failure, is_finished, is_over
from masktrain_operator.core.plan import plan
from masktrain_operator.core.pods import is_terminal
from masktrain_operator.core.times import format_time
from masktrain_operator.core.types import (
    Capacity,
    Deletion,
    Event,
    Manifest,
    NodeRate,
    Observed,
    Plan,
    Refusal,
    WriteKey,
)
from masktrain_trainer.config import Progress
from tests.unit.operator.manifests import NOW, SETTINGS, ended_pod, job_body, pod

NO_WORK = Plan()
QUOTA = "exceeded quota: gpus"


class World:
    def __init__(self, **sections: dict[str, Any]) -> None:
        self.body = job_body("masks", **sections)
        self.jobs: dict[str, Manifest] = {}
        self.pods: dict[str, Manifest] = {}
        self.service: Manifest | None = None
        self.network_policy: Manifest | None = None
        self.progress: Progress | None = None
        self.progress_error: str | None = None
        self.foreign_jobs: tuple[str, ...] = ()
        self.capacity: Capacity | None = None
        self.overspent: str | None = None
        self.start_timeout_seconds = 3600
        self.node_rates: dict[str, NodeRate] = {}
        self.events: list[Event] = []
        self.now: datetime = NOW
        self.settings = SETTINGS
        self.refused_writes: set[tuple[str, str]] = set()
        """Verbs and kinds that the API server does not take."""
        self.refusals: dict[WriteKey, Refusal] = {}
        self.removes_by_force = True
        """Unless a finalizer of somebody's keeps each pod, without a grace period."""
        self.kept_jobs: set[str] = set()
        """Names of Jobs that a finalizer of somebody's keeps when they are deleted."""
        self.is_woken = True
        self.requeue_time: datetime | None = None

    # The operator

    def observe(self) -> Observed:
        return Observed(
            jobs=tuple(self.jobs.values()),
            pods=tuple(self.pods.values()),
            service=self.service,
            network_policy=self.network_policy,
            progress=self.progress,
            progress_error=self.progress_error,
            foreign_jobs=self.foreign_jobs,
            capacity=self.capacity,
            overspent=self.overspent,
            start_timeout_seconds=self.start_timeout_seconds,
            node_rates=self.node_rates,
            refusals=tuple(self.refusals.values()),
        )

    def plan(self, observed: Observed | None = None) -> Plan:
        return plan(MaskTrainingJob.parse(self.body), observed or self.observe(), self.now, self.settings)

    def reconcile(self) -> Plan:
        """Plan and apply once. What was refused goes into a second plan, whose status is the one that is written."""
        self.is_woken = False
        observed = self.observe()
        decided = self.plan(observed)
        if self._write_objects(decided):
            again = self.plan(replace(observed, refusals=tuple(self.refusals.values())))
            decided = replace(decided, status=again.status, events=again.events, requeue_after=again.requeue_after)
        self._write_status(decided)
        wait = decided.requeue_after
        self.requeue_time = None if wait is None else self.now + timedelta(seconds=wait)
        return decided

    def run_operator(self) -> Plan:
        """Plan and apply until there is nothing to do; the last, empty plan. Fails if that takes suspiciously long."""
        for _ in range(10):
            decided = self.reconcile()
            if replace(decided, requeue_after=None) == NO_WORK:
                return decided
        raise AssertionError(f"the planner finds no rest: {decided}")

    def run_operator_if_woken(self) -> None:
        """By a watch, or because a requeue is due; never just because. Fails if it wakes itself again and again."""
        for _ in range(10):
            if not (self.is_woken or self.is_due):
                return
            self.reconcile()
        raise AssertionError("the operator wakes itself without end")

    @property
    def is_due(self) -> bool:
        return self.requeue_time is not None and self.requeue_time <= self.now

    def apply(self, decided: Plan) -> None:
        """All of a plan's writes, or those that an operator did before it was killed."""
        self._write_objects(decided)
        self._write_status(decided)

    def _write_objects(self, decided: Plan) -> bool:
        """Whether something was refused."""
        stale = [key for key in self.refusals.keys() - decided.writes if self.refusals[key].retry_time <= self.now]
        for key in stale:
            del self.refusals[key]
        allowed = decided.without({key for key in decided.writes if self._is_refused(key)})
        for manifest in allowed.create:
            self._create(manifest)
        for manifest in allowed.apply:
            written = {**manifest, "metadata": {**manifest["metadata"], "uid": f"{manifest['kind']}-uid"}}
            if manifest["kind"] == "Service":
                self.service = written
            else:
                self.network_policy = written
        for deletion in allowed.delete:
            self._delete(deletion)
        return allowed.writes != decided.writes

    def _is_refused(self, key: WriteKey) -> bool:
        if key[:2] not in self.refused_writes:
            self.refusals.pop(key, None)
            return False
        self.refusals[key] = refused(
            key, reason="Forbidden", message=QUOTA, before=self.refusals.get(key), now=self.now
        )
        return True

    def _write_status(self, decided: Plan) -> None:
        if decided.status is not None:
            self.body["status"] = json.loads(json.dumps(decided.status))
        self.events.extend(decided.events)

    def _create(self, manifest: Manifest) -> None:
        name = manifest["metadata"]["name"]
        assert name not in self.jobs, f"{name} exists"
        assert all(map(is_over, self.jobs.values())), "a Job of ours could still start pods"
        assert all(map(is_terminal, self.pods.values())), "a pod of the last gang could still write"
        self.jobs[name] = {**manifest, "metadata": {**manifest["metadata"], "uid": f"{name}-uid"}}

    def _delete(self, deletion: Deletion) -> None:
        """A watch tells that the object is gone, or going."""
        self.is_woken = True
        if deletion.kind == "Service":
            self.service = None
        elif deletion.kind == "NetworkPolicy":
            self.network_policy = None
        elif deletion.kind == "Job":
            if deletion.name in self.kept_jobs:
                self.jobs[deletion.name]["metadata"]["deletionTimestamp"] = format_time(self.now)
            else:
                self.pods_lose_their_job(self.jobs.pop(deletion.name))
        elif deletion.grace_seconds == 0 and not self.removes_by_force:
            kept = {"deletionTimestamp": format_time(self.now), "deletionGracePeriodSeconds": 0}
            self.pods[deletion.name]["metadata"] |= kept
        elif deletion.grace_seconds == 0:
            del self.pods[deletion.name]
        else:
            self.ask_to_end(self.pods[deletion.name])

    # The Job controller, the garbage collector, the kubelets

    def create_pods(self) -> None:
        for job in self.jobs.values():
            number = attempt_number(job)
            if not (is_finished(job) or failure(job) or job.get("status")) and not [
                p for p in self.pods.values() if attempt_number(p) == number
            ]:
                self._put(*(pod(rank, number, phase="Pending") for rank in range(job["spec"]["completions"])))
                job.setdefault("status", {})["active"] = job["spec"]["completions"]

    def start_pods(self) -> None:
        self.create_pods()
        for manifest in self.pods.values():
            if manifest["status"]["phase"] == "Pending":
                manifest["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}

    def end_pod(self, rank: int, code: int, message: str = "") -> None:
        """The trainer of the newest attempt's rank exits."""
        number = max(map(attempt_number, self.jobs.values()))
        self._put(ended_pod(rank, number, code=code, message=message, seconds=self._seconds()))

    def end_all(self, code: int = 0, message: str = "") -> None:
        """Every trainer of the newest attempt exits, rank 0 with a message."""
        newest = max(self.jobs.values(), key=attempt_number)
        for rank in range(newest["spec"]["completions"]):
            self.end_pod(rank, code, message if rank == 0 else "")
        self.run_job_controller()

    def run_job_controller(self) -> None:
        """A failed or lost pod ends its gang; a Job is finished when all its pods are terminal."""
        for job in self.jobs.values():
            gang = [manifest for manifest in self.pods.values() if attempt_number(manifest) == attempt_number(job)]
            lost = len(gang) < job.get("status", {}).get("active", 0)
            failed = any(manifest["status"]["phase"] == "Failed" for manifest in gang)
            if (lost or failed) and not (failure(job) or is_finished(job)):
                _set_true(job, "FailureTarget")
                for manifest in gang:
                    self.ask_to_end(manifest)
            if (gang or lost) and all(map(is_terminal, gang)) and not is_finished(job):
                _set_true(job, "Failed" if failure(job) else "Complete")

    def ask_to_end(self, manifest: Manifest) -> None:
        if not is_terminal(manifest) and "deletionTimestamp" not in manifest["metadata"]:
            end = self.now + timedelta(seconds=120)
            manifest["metadata"]["deletionTimestamp"] = format_time(end)

    def pods_lose_their_job(self, job: Manifest) -> None:
        for name, manifest in list(self.pods.items()):
            if attempt_number(manifest) != attempt_number(job):
                continue
            self.ask_to_end(manifest)
            if is_terminal(manifest):
                del self.pods[name]

    def remove_terminating(self) -> None:
        """The kubelets end every pod that was asked to."""
        for name, manifest in list(self.pods.items()):
            if "deletionTimestamp" in manifest["metadata"]:
                del self.pods[name]

    # The test

    def wait(self, seconds: float) -> None:
        """The operator sleeps, or is busy."""
        self.now += timedelta(seconds=seconds)

    def pass_time(self, seconds: float) -> None:
        """The operator works whenever its requeue is due meanwhile."""
        end = self.now + timedelta(seconds=seconds)
        self.run_operator_if_woken()
        while self.requeue_time is not None and self.requeue_time <= end:
            self.now = self.requeue_time
            self.run_operator_if_woken()
        self.now = end

    @property
    def status(self) -> Manifest:
        status: Manifest = self.body["status"]
        return status

    def condition(self, kind: str) -> Manifest:
        return next((found for found in self.status["conditions"] if found["type"] == kind), {})

    def is_true(self, kind: str) -> bool:
        return self.condition(kind).get("status") == "True"

    def reasons(self) -> list[str]:
        return [event.reason for event in self.events]

    def _put(self, *manifests: Manifest) -> None:
        self.pods.update({manifest["metadata"]["name"]: manifest for manifest in manifests})

    def _seconds(self) -> float:
        return (self.now - NOW).total_seconds()


def _set_true(job: Manifest, kind: str) -> None:
    conditions = job.setdefault("status", {}).setdefault("conditions", [])
    conditions.append({"type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": ""})


SCHEDULED = {"type": "PodScheduled", "status": "True", "lastTransitionTime": format_time(NOW)}
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}


def running(**sections: dict[str, Any]) -> World:
    world = World(**sections)
    world.run_operator()
    world.start_pods()
    world.run_operator()
    return world


def half_started(**sections: dict[str, Any]) -> World:
    """Rank 0 has found a node, rank 1 has not."""
    world = World(**sections)
    world.run_operator()
    leave_half_pending(world)
    return world


def leave_half_pending(world: World) -> None:
    """Of a gang that was just created, rank 0 finds a node and rank 1 does not."""
    world.create_pods()
    for manifest in world.pods.values():
        if manifest["status"] != {"phase": "Pending"}:
            continue
        if manifest["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "0":
            moment = format_time(world.now)
            manifest["status"]["conditions"] = [{**SCHEDULED, "lastTransitionTime": moment}]
            manifest["spec"]["nodeName"] = "gpu-0"
        else:
            manifest["status"]["conditions"] = [UNSCHEDULABLE]
            manifest["spec"].pop("nodeName", None)
