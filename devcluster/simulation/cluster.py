"""The Kubernetes side: Nodes, a scheduler that places pods of gangs, kubelets that fall silent."""

from collections.abc import Callable, Iterator, Set
from datetime import datetime

from masktrain_operator.api import labels
from masktrain_operator.core.pools.nodes import GpuPod, KubeNode, instance_of, kube_node
from masktrain_operator.core.types import Manifest

from .oke import CloudPool, Machine
from .timeline import Timeline
from .workload import ANY_POOL, TrainingJob

SCHEDULING_SECONDS = 1.0
SILENCE_SECONDS = 40.0
"""Until Kubernetes calls a node without heartbeats not ready."""
EVICTION_SECONDS = 160.0
"""From a node's last sign of life until the pods there are given up."""


class Conflict(Exception):
    """The Node has changed, or is gone, since it was read."""


class Forbidden(Exception):
    """A policy of the cluster refuses to change a Node."""


class Cluster:
    """`has_changed` is set by whatever a watch would tell."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.nodes: dict[str, Manifest] = {}
        self.jobs: dict[str, TrainingJob] = {}
        self.pods: dict[str, list[GpuPod]] = {}
        """By Node."""
        self.has_changed = False
        self.on_end: dict[str, Callable[[], None]] = {}
        """What people do when a job has ended, by its uid."""
        self.forbids_patches = False
        self.next_gpus: list[int] = []
        """GPUs that the next machines offer, if not all: a driver that does not see one of them."""
        self.finished: list[TrainingJob] = []
        self._machines: dict[str, Machine] = {}
        self._versions = 0
        self._is_binding = False

    # Jobs

    def submit(self, job: TrainingJob, on_end: Callable[[], None] | None = None) -> None:
        job.submitted, job.created = self._timeline.seconds, self._timeline.now
        self.jobs[job.uid] = job
        if on_end is not None:
            self.on_end[job.uid] = on_end
        self._changed()

    def create_job(self, job: TrainingJob, pool: str) -> None:
        """The operator makes the batch Job; its pods are bound a moment later."""
        job.admitted_to = pool
        job.attempt += 1
        self._changed()

    def cancel(self, job: TrainingJob) -> None:
        self._release(job)
        self.jobs.pop(job.uid, None)
        self._changed()

    def waiting(self) -> list[TrainingJob]:
        return [job for job in self.jobs.values() if job.admitted_to is None]

    # Pods that belong to no job

    def start_foreign_pod(self, node: str, gpus: int = 1, *, despite_cordon: bool = False) -> GpuPod | None:
        """None if there is no room."""
        manifest = self.nodes.get(node)
        if manifest is None or self._free_gpus(manifest) < gpus or not (despite_cordon or _is_open(manifest)):
            return None
        self._versions += 1
        name = f"foreign-{self._versions}"
        pod = GpuPod("others", name, f"uid-of-{name}", node, gpus)
        self._bind(pod)
        return pod

    def end_pod(self, pod: GpuPod) -> None:
        """Whether or not it is still there."""
        if pod in self.pods.get(pod.node, ()):
            self.pods[pod.node].remove(pod)
            self._count_use(pod.node)
            self._changed()

    # What the operator sees and does

    def kube_nodes(self, instances: set[str]) -> tuple[KubeNode, ...]:
        found = (node for node in self.nodes.values() if instance_of(node) in instances)
        return tuple(kube_node(node, tuple(self.pods[node["metadata"]["name"]])) for node in found)

    def node_of_instance(self, instance_id: str) -> Manifest | None:
        return next((node for node in self.nodes.values() if instance_of(node) == instance_id), None)

    def patch(self, name: str, uid: str, body: Manifest, resource_version: str | None) -> None:
        """A merge patch of labels, annotations and the cordon. Raises Conflict or Forbidden."""
        if self.forbids_patches:
            raise Forbidden(f"policy: hands off {name}")
        node = self.nodes.get(name)
        if node is None or node["metadata"]["uid"] != uid:
            raise Conflict
        if resource_version not in (None, node["metadata"]["resourceVersion"]):
            raise Conflict
        for section in ("labels", "annotations"):
            _merge(node["metadata"][section], body.get("metadata", {}).get(section, {}))
        _merge(node["spec"], body.get("spec", {}))
        self._touch(node)

    # What machines do

    def register(self, pool: CloudPool, machine: Machine) -> None:
        self.nodes[machine.name] = {
            "metadata": {
                "name": machine.name,
                "uid": f"uid-of-node-{machine.instance_id}",
                "creationTimestamp": _text(self._timeline.now),
                "labels": {"node.kubernetes.io/instance-type": pool.settings.shape, "simulated-pool": pool.name},
                "annotations": {},
            },
            "spec": {"providerID": machine.instance_id},
            "status": {"allocatable": {}, "conditions": [self._ready("True")]},
        }
        self.pods[machine.name] = []
        self._machines[machine.name] = machine
        gpus = self.next_gpus.pop(0) if self.next_gpus else pool.settings.gpus
        self.nodes[machine.name]["status"]["capacity"] = {"nvidia.com/gpu": str(gpus)}
        self._touch(self.nodes[machine.name])

    def offer_gpus(self, machine: Machine) -> None:
        status = self.nodes[machine.name]["status"]
        status["allocatable"] = status["capacity"]
        self._touch(self.nodes[machine.name])

    def fall_silent(self, machine: Machine) -> None:
        """Its kubelet says nothing any more: not ready after a while, and later its pods are given up."""
        self._timeline.after(SILENCE_SECONDS, lambda: self._not_ready(machine))
        self._timeline.after(EVICTION_SECONDS, lambda: self._evict(machine))

    def vanish(self, machine: Machine) -> None:
        """The machine is gone, and Oracle's cloud controller removes its Node."""
        self._evict(machine)
        self.nodes.pop(machine.name, None)
        self.pods.pop(machine.name, None)
        self._machines.pop(machine.name, None)
        self._changed()

    def is_busy(self, machine: Machine) -> bool:
        return bool(self.pods.get(machine.name))

    # What other autoscalers ask and do

    def is_ready(self, machine: Machine) -> bool:
        return _is_ready(self.nodes[machine.name])

    def is_open(self, machine: Machine) -> bool:
        """Whether new pods may be bound to its Node."""
        return _is_open(self.nodes[machine.name])

    def free_gpus(self, machine: Machine) -> int:
        return self._free_gpus(self.nodes[machine.name])

    def cordon(self, machine: Machine) -> None:
        self.nodes[machine.name]["spec"]["unschedulable"] = True
        self._touch(self.nodes[machine.name])

    # The scheduler

    def _changed(self) -> None:
        self.has_changed = True
        if not self._is_binding:
            self._is_binding = True
            self._timeline.after(SCHEDULING_SECONDS, self._schedule)

    def _schedule(self) -> None:
        """By priority and age: nodes that a gang waits with are not given to one that comes after it."""
        self._is_binding = False
        held: set[str] = set()
        for job in sorted(self.jobs.values(), key=lambda job: job.turn):
            if job.admitted_to is not None and not job.is_running:
                held.update(self._place(job, held))

    def _place(self, job: TrainingJob, held: Set[str]) -> list[str]:
        """One pod of a gang on a node, the first that fits; all or none if no pool was chosen: then what it holds."""
        taken = {pod.node for pod in job.pods} | held
        found = [name for name in self._with_room(job) if name not in taken][: job.nodes - len(job.pods)]
        if job.admitted_to == ANY_POOL and len(found) < job.nodes:
            return found
        for name in found:
            rank = f"{job.name}-{job.attempt}-{len(job.pods)}"
            pod = GpuPod(job.namespace, rank, f"uid-of-{rank}", name, job.gpus_per_node, job.uid)
            job.pods.append(pod)
            self._bind(pod)
        if len(job.pods) == job.nodes:
            self._start(job)
        return []

    def _with_room(self, job: TrainingJob) -> Iterator[str]:
        for name, node in self.nodes.items():
            of_pool = node["metadata"]["labels"].get(labels.NODE_POOL_LABEL) == job.admitted_to
            fits = self._free_gpus(node) >= job.gpus_per_node
            if (of_pool or job.admitted_to == ANY_POOL) and fits and _is_open(node):
                yield name

    def _start(self, job: TrainingJob) -> None:
        job.running_since = self._timeline.seconds
        if job.first_started is None:
            job.first_started = job.running_since
        attempt = job.attempt
        self._timeline.after(job.seconds, lambda: self._finish(job, attempt))

    def _finish(self, job: TrainingJob, attempt: int) -> None:
        # The end was planned at the start: an attempt that was ended meanwhile finishes nothing.
        if job.attempt != attempt or not job.is_running or job.uid not in self.jobs:
            return
        job.ended = self._timeline.seconds
        self._release(job)
        del self.jobs[job.uid]
        self.finished.append(job)
        self.on_end.pop(job.uid, lambda: None)()

    def _bind(self, pod: GpuPod) -> None:
        self.pods[pod.node].append(pod)
        self._count_use(pod.node)
        self._changed()

    def _release(self, job: TrainingJob) -> None:
        """All its pods end; the job waits again, with what is left to do."""
        if job.running_since is not None:
            job.seconds = max(0.0, job.seconds - (self._timeline.seconds - job.running_since))
        job.running_since, job.admitted_to = None, None
        pods, job.pods = job.pods, []
        for pod in pods:
            self.end_pod(pod)

    def _evict(self, machine: Machine) -> None:
        """A gang that loses a pod is ended whole, and begins anew."""
        if not machine.has_power or machine.ended is not None:
            for pod in tuple(self.pods.get(machine.name, ())):
                job = self.jobs.get(pod.job_uid or "")
                if job is not None:
                    self._release(job)
                self.end_pod(pod)

    def _not_ready(self, machine: Machine) -> None:
        node = self.nodes.get(machine.name)
        if node is not None:
            node["status"]["conditions"] = [self._ready("Unknown")]
            self._touch(node)

    # Nodes

    def _free_gpus(self, node: Manifest) -> int:
        offered = int(node["status"]["allocatable"].get("nvidia.com/gpu", 0))
        return offered - sum(pod.gpus for pod in self.pods[node["metadata"]["name"]])

    def _count_use(self, name: str) -> None:
        if name in self._machines:
            self._machines[name].turn_busy(bool(self.pods.get(name)), self._timeline.seconds)

    def _touch(self, node: Manifest) -> None:
        self._versions += 1
        node["metadata"]["resourceVersion"] = str(self._versions)
        self._changed()

    def _ready(self, status: str) -> Manifest:
        return {"type": "Ready", "status": status, "lastTransitionTime": _text(self._timeline.now)}


def _is_ready(node: Manifest) -> bool:
    return bool(node["status"]["conditions"][0]["status"] == "True")


def _is_open(node: Manifest) -> bool:
    return _is_ready(node) and not node["spec"].get("unschedulable", False)


def _merge(target: Manifest, patch: Manifest) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = value


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
