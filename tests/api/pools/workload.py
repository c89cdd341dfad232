"""Plays what makes GPU nodes busy: the job side of the operator, the Job controller and the scheduler."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from masktrain_operator.api import labels
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.manifests.job import job_manifest
from masktrain_operator.core.pools.admission import Placement
from masktrain_operator.core.types import PlanSettings
from masktrain_operator.shell.pools.pool_cache import PoolCache
from tests.api.pools.api_server import ApiServer
from tests.api.pools.machines import GPU, NODES
from tests.api.training_jobs import training_job

SETTINGS = PlanSettings(trainer_image="masktrain-trainer:dev")
GPUS = 2


@dataclass
class RunningJob:
    """`bound`: nodes by pod. A job without a batch Job waits."""

    body: dict[str, Any]
    nodes: int
    attempt: int = 0
    batch_job: dict[str, Any] | None = None
    bound: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def is_whole(self) -> bool:
        return len(self.bound) == self.nodes


class Workload:
    """Jobs of one namespace, and pods that belong to none."""

    def __init__(self, api: ApiServer, namespace: str) -> None:
        self._api = api
        self._core = f"/api/v1/namespaces/{namespace}"
        self._batch = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self._training_jobs = f"/apis/{labels.API_VERSION}/namespaces/{namespace}/{labels.PLURAL}"
        self.jobs: dict[str, RunningJob] = {}
        self.foreign: dict[str, str] = {}
        """Nodes by pod."""

    def submit(self, name: str, nodes: int, pool: str | None = None) -> RunningJob:
        named = {"compute__nodePoolRef": {"name": pool}} if pool else {}
        manifest = training_job(name, compute__nodes=nodes, compute__gpusPerNode=GPUS, **named)
        self.jobs[name] = RunningJob(self._api.create(self._training_jobs, manifest), nodes)
        return self.jobs[name]

    def finish(self, name: str) -> None:
        """It ends well, or somebody cancels it while it waits."""
        job = self.jobs.pop(name)
        for pod in job.bound:
            self._api.merge(f"{self._core}/pods/{pod}/status", {"status": {"phase": "Succeeded"}})
        self._api.delete(f"{self._training_jobs}/{name}")

    def start(self, board: PoolCache) -> None:
        """Make the batch Jobs of gangs whose nodes are all there, and bind what can be bound."""
        placements = board.admissions().placements
        for job in self.jobs.values():
            placement = placements.get(job.body["metadata"]["uid"])
            if job.batch_job is None and placement is not None and placement.is_present:
                self._create_job(job, placement)
        for job in self.jobs.values():
            if job.batch_job is not None and not job.is_whole:
                self._schedule(job)

    def lose(self, gone: Iterator[str] | set[str]) -> None:
        """Pods on these nodes are given up; their gangs end, and wait for another attempt."""
        nodes = set(gone)
        for pod in [pod for pod, node in self.foreign.items() if node in nodes]:
            self.end_foreign(pod)
        for job in self.jobs.values():
            if nodes & set(job.bound.values()):
                self._end_attempt(job)

    def busy_nodes(self) -> set[str]:
        return {node for job in self.jobs.values() for node in job.bound.values()} | set(self.foreign.values())

    def run_foreign(self, name: str, node: str) -> None:
        """A pod of somebody else that asks for a GPU, bound as if no cordon had been seen."""
        resources = {"limits": {GPU: "1"}}
        containers = [{"name": "notebook", "image": "notebook", "resources": resources}]
        self._bind(name, {}, {"containers": containers, "automountServiceAccountToken": False}, node)
        self.foreign[name] = node

    def end_foreign(self, name: str) -> None:
        self._api.delete(f"{self._core}/pods/{name}")
        del self.foreign[name]

    def remove_all(self) -> None:
        for path in (f"{self._core}/pods", self._batch, self._training_jobs):
            self._api.delete(path)

    def _create_job(self, job: RunningJob, placement: Placement) -> None:
        manifest = job_manifest(MaskTrainingJob.parse(job.body), job.attempt, SETTINGS, placement.pool)
        job.batch_job = self._api.create(self._batch, manifest)

    def _end_attempt(self, job: RunningJob) -> None:
        assert job.batch_job is not None
        for pod in job.bound:
            self._api.delete(f"{self._core}/pods/{pod}")
        self._api.delete(f"{self._batch}/{job.batch_job['metadata']['name']}")
        job.batch_job, job.bound, job.attempt = None, {}, job.attempt + 1

    def _schedule(self, job: RunningJob) -> None:
        assert job.batch_job is not None
        template = job.batch_job["spec"]["template"]
        for node in self._open_nodes(template["spec"]["nodeSelector"]):
            if job.is_whole:
                return
            name = f"{job.batch_job['metadata']['name']}-{len(job.bound)}"
            metadata = {"labels": template["metadata"]["labels"], "ownerReferences": [_controller(job.batch_job)]}
            self._bind(name, metadata, template["spec"], node)
            job.bound[name] = node

    def _bind(self, name: str, metadata: dict[str, Any], spec: dict[str, Any], node: str) -> None:
        pod = {"metadata": metadata | {"name": name}, "spec": {**spec, "nodeName": node}}
        manifest = {"apiVersion": "v1", "kind": "Pod", **pod}
        self._api.create(f"{self._core}/pods", manifest)

    def _open_nodes(self, selector: dict[str, str]) -> list[str]:
        nodes = self._api.get(NODES)["items"]
        taken = self.busy_nodes()
        return [
            node["metadata"]["name"]
            for node in nodes
            if selector.items() <= node["metadata"]["labels"].items()
            and not node["spec"].get("unschedulable")
            and node["status"]["conditions"][0]["status"] == "True"
            and node["metadata"]["name"] not in taken
        ]


def _controller(batch_job: dict[str, Any]) -> dict[str, Any]:
    """As the Job controller refers to the Job in its pods."""
    metadata = batch_job["metadata"]
    known = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
    return known | {"controller": True, "blockOwnerDeletion": True}
