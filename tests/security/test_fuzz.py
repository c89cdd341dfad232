"""Ten thousand mutations of all that others may write: answers of `/progress`, labels, annotations, quantities, owners.

Each is read as the operator reads it, from the watch's event or the pod's answer to the plans of job and pools. None
may raise, and no plan may name an object that is not the job's own.
"""

import json
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from masktrain_operator.api import labels
from masktrain_operator.api.status import MaskTrainingJobStatus, read_leniently
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.plan import plan
from masktrain_operator.core.pools.nodes import count_of, gpu_pod, kube_node
from masktrain_operator.core.types import Deletion, Manifest, Observed, Plan
from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.client import JOBS, NODES, PODS, SERVICES, TRAINING_JOBS
from masktrain_operator.shell.pools.pool_cache import PoolCache
from masktrain_trainer.config import Progress
from tests.unit.operator.manifests import NAMESPACE, NOW, SETTINGS, UID, at, batch_job, job_body, pod, progress

MUTATIONS = 10_000
NASTY: list[Any] = [
    None, True, 0, -1, 1e300, -1e300, math.nan, math.inf, 10**400, "", "x", "0", "-1", "x" * 70_000,
    "\x1b[2J\r\n\ud800", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00", [], {}, [[]],
    {"": {}}, [None] * 50, "1k", "1e999999999", "NaN", "9" * 5000, "1" * 63, "٣", "²", UID, "masks-0-uid",
]  # fmt: skip


class Mutator:
    """Puts something nasty, or something else from the same document, into a random place of a document."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __call__(self, document: Any) -> Any:
        document = json.loads(json.dumps(document))
        for _ in range(self._random.randint(1, 3)):
            self._mutate(document)
        return document

    def text(self, value: object) -> str:
        """As a label, an annotation or a quantity, which the API server takes as text only."""
        return value if isinstance(value, str) else json.dumps(value)

    def pick(self) -> Any:
        return self._random.choice(NASTY)

    def _mutate(self, document: Any) -> None:
        section = document
        while isinstance(section, dict | list) and section:
            keys = list(section) if isinstance(section, dict) else list(range(len(section)))
            key = self._random.choice(keys)
            if not isinstance(section[key], dict | list) or not section[key] or self._random.random() < 0.3:
                break
            section = section[key]
        else:
            return
        if self._random.random() < 0.1 and isinstance(section, dict):
            section[str(self.pick())[:20]] = self.pick()
        else:
            section[key] = self.pick()


def fresh_status() -> Manifest:
    return {"attempt": 0, "attemptUid": "masks-0-uid", "startTime": at(0)}


def decide(body: Manifest, observed: Observed) -> Plan:
    """A plan, whose status the next one and every older operator can read."""
    decided = plan(MaskTrainingJob.parse(body), observed, NOW, SETTINGS)
    if decided.status is not None:
        written = json.dumps(decided.status, allow_nan=False)
        MaskTrainingJobStatus.model_validate_json(written)
        assert len(written) < 150_000
    return decided


def foreign(deletion: Deletion, ours: set[str]) -> bool:
    return deletion.namespace != NAMESPACE or deletion.uid not in ours


def test_no_answer_of_a_pod_stops_the_plan_of_its_job() -> None:
    mutate, body = Mutator(1), job_body(status=fresh_status(), limits={"activeDeadlineSeconds": 60})
    said = json.loads(progress(outcome={"kind": "Crashed", "reason": "Lost", "message": "m"}).to_json())
    said |= {
        "best": {"uri": "s3://b/c", "sha256": "0" * 64, "sizeBytes": 1, "epoch": 1, "step": 2, "verifiedAt": at(0)}
    }
    running = (pod(0), pod(1))
    for number in range(MUTATIONS // 2):
        document = mutate(said)
        observed = Observed(jobs=(batch_job(0),), pods=running, progress=read_leniently(Progress, document))
        decided = decide(body, observed)
        assert not decided.delete, document
        late = decide({**body, "status": fresh_status() | {"startTime": at(-90)}}, observed)
        assert _is_failed(late), f"the deadline does not hold with answer {number}: {document}"


def _is_failed(decided: Plan) -> bool:
    conditions: list[Manifest] = (decided.status or {}).get("conditions", [])
    return any(found["type"] == "Failed" and found["status"] == "True" for found in conditions)


def claiming(kind: str, mutate: Mutator, number: int) -> Manifest:
    """An object of the second team, or one without the right controller, whose labels and owners are what it likes."""
    keys = [labels.JOB_UID_LABEL, labels.ATTEMPT_LABEL, labels.COMPLETION_INDEX, labels.NODE_POOL_LABEL]
    written = {key: mutate.text(mutate.pick()) for key in keys} | {labels.JOB_UID_LABEL: UID}
    # A Service of the job's name in its own namespace does stand in the way.
    here = number % 2 == 0 and kind != "Service"
    owners = [{"uid": UID if not here else f"theirs-{number}", "controller": True, "kind": kind, "name": "masks"}]
    metadata = {
        "name": "masks" if number % 3 else f"masks-{number % 5}",
        "namespace": NAMESPACE if here else "theirs",
        "uid": f"foreign-{number}",
        "resourceVersion": str(number + 10),
        "creationTimestamp": at(number),
        "labels": written,
        "annotations": {key: mutate.text(mutate.pick()) for key in keys},
        "ownerReferences": owners,
        "deletionTimestamp": at(-1000),
    }
    quantity = mutate.text(mutate.pick())
    limits = {"nvidia.com/gpu": quantity, "nvidia.com/mig-1g": quantity}
    spec = {"nodeName": "n", "containers": [{"name": "trainer", "resources": {"limits": limits}}]}
    complete = [{"type": kind, "status": "True"} for kind in ("Complete", "Failed", "Ready")]
    return {"kind": kind, "metadata": metadata, "spec": spec, "status": {"phase": "Running", "conditions": complete}}


def test_no_foreign_object_is_written_to_or_decides_anything() -> None:
    mutate, known = Mutator(2), KnownObjects()
    body = job_body(status=fresh_status())
    body["metadata"]["resourceVersion"] = "1"
    known.put(TRAINING_JOBS, body)
    own = [batch_job(0), pod(0), pod(1)]
    for manifest in own:
        manifest["metadata"]["resourceVersion"] = "2"
    own[1]["metadata"]["ownerReferences"] = own[2]["metadata"]["ownerReferences"] = [
        {"uid": "masks-0-uid", "controller": True}
    ]
    for kind, manifest in zip((JOBS, PODS, PODS), own, strict=True):
        known.put(kind, manifest)
    pools = PoolCache(known, lambda: datetime.now(UTC))
    before = decide(body, _observed(known, body))
    ours = {manifest["metadata"]["uid"] for manifest in own}
    for number in range(MUTATIONS // 4):
        kind = (JOBS, PODS, SERVICES)[number % 3]
        known.put(kind, claiming(kind.kind, mutate, number))
        decided = decide(body, _observed(known, body))
        assert decided == before, number
        assert not [deletion for deletion in decided.delete if foreign(deletion, ours)]
        if number % 50 == 0:
            pools.admissions()
        known.remove(kind, {"metadata": {"uid": f"foreign-{number}"}})


def _observed(known: KnownObjects, body: Manifest) -> Observed:
    service = next(iter(known.claimed_by(body, SERVICES)), None)
    return Observed(jobs=known.jobs_of(body), pods=known.pods_of(body), service=service)


LABELLED: list[Callable[[], Manifest]] = [lambda: batch_job(0), lambda: pod(0), lambda: pod(1)]


def test_labels_and_annotations_of_own_objects_are_numbers_or_nothing() -> None:
    """Whoever may edit pods in the job's own namespace can spoil his own job, and stops nothing."""
    mutate = Mutator(3)
    for number in range(MUTATIONS // 8):
        objects = [make() for make in LABELLED]
        for manifest in objects:
            keys = (labels.ATTEMPT_LABEL, labels.COMPLETION_INDEX)
            manifest["metadata"]["labels"] |= {key: mutate.text(mutate.pick()) for key in keys}
            manifest["metadata"]["annotations"] = {labels.COMPLETION_INDEX: mutate.text(mutate.pick())}
        observed = Observed(jobs=tuple(objects[:1]), pods=tuple(objects[1:]))
        decided = decide(job_body(status=fresh_status() if number % 2 else {}), observed)
        uids = {manifest["metadata"]["uid"] for manifest in objects}
        assert not [deletion for deletion in decided.delete if foreign(deletion, uids)]


def test_quantities_and_annotations_of_nodes_are_read_or_count_as_nothing() -> None:
    mutate = Mutator(4)
    for _ in range(MUTATIONS // 8):
        quantity = mutate.text(mutate.pick()) if mutate.pick() is None else f"{mutate.pick()}"[:100]
        assert 0 <= count_of(quantity, unreadable=0) <= 1_000_000
        metadata = {"name": "n", "uid": "u", "namespace": "a", "resourceVersion": "1", "creationTimestamp": at(0)}
        keys = (
            labels.IDLE_SINCE_ANNOTATION,
            labels.REMOVAL_ANNOTATION,
            labels.KEEP_ANNOTATION,
            labels.ADDED_ANNOTATION,
        )
        annotations = {key: mutate.text(mutate.pick()) for key in keys}
        status = {"allocatable": {"nvidia.com/gpu": quantity}}
        node = kube_node({"metadata": {**metadata, "annotations": annotations}, "status": status}, ())
        assert (node.idle_since, node.removal_begun, node.is_kept) is not None
        limits = {"resources": {"limits": {"nvidia.com/gpu": quantity}, "requests": {"nvidia.com/mig-1": quantity}}}
        gpu_pod({"metadata": metadata, "spec": {"nodeName": "n", "containers": [limits], "initContainers": [limits]}})


@pytest.mark.parametrize("kind", [NODES, PODS, JOBS], ids=lambda kind: kind.kind)
def test_caches_take_any_shape_of_an_object(kind: Any) -> None:
    known = KnownObjects()
    known.put(TRAINING_JOBS, {"metadata": {"uid": UID, "name": "m", "namespace": NAMESPACE, "resourceVersion": "1"}})
    for number, quantity in enumerate(NASTY):
        limits = {"nvidia.com/gpu": Mutator(0).text(quantity)}
        metadata = {"name": "n", "uid": f"u{number}", "namespace": NAMESPACE, "resourceVersion": str(number + 2)}
        body = {"metadata": {**metadata, "labels": {labels.JOB_UID_LABEL: UID}, "annotations": limits}}
        known.put(kind, {**body, "spec": {"containers": [{"resources": {"limits": limits}}]}, "status": {}})
    assert len(known.pods) + len(known.nodes) + len(known.jobs) == len(NASTY)
