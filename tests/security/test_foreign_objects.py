"""A second team writes what it may into its own namespace, and claims by labels and owner references to be the first's.

Every attack here worked on the version before: its objects were attributed by the label `masktrain.dev/job-uid` alone.
The control plane has no controllers; what a kubelet or the Job controller would write of the team's own objects is
written for them.
"""

from collections.abc import Callable, Iterator

import pytest

from devcluster.waiting import wait_until
from masktrain_operator.api import labels
from tests.api.gang import Gang, moment
from tests.api.namespace import ApiNamespace
from tests.api.operator_process import OperatorProcess
from tests.api.training_jobs import training_job
from tests.security.team import Team, TrainerAt, trainer_at

pytestmark = pytest.mark.api

LONG_AGO = "2026-01-01T00:00:00Z"
BEST = {"uri": "s3://checkpoints/best.pt", "sha256": "0" * 64, "sizeBytes": 1, "epoch": 1, "step": 10}
NamespaceMaker = Callable[[], ApiNamespace]


@pytest.fixture
def team(new_namespace: NamespaceMaker) -> Team:
    return Team(new_namespace())


@pytest.fixture
def rank_zero() -> Iterator[TrainerAt]:
    """The first team's own."""
    with trainer_at("127.78.0.1") as trainer:
        trainer.says(step=10, best={**BEST, "verifiedAt": moment()})
        yield trainer


@pytest.fixture
def forger() -> Iterator[TrainerAt]:
    with trainer_at("127.78.0.2") as trainer:
        trainer.says(step=999, best={**BEST, "uri": "s3://theirs/evil.pt", "step": 999, "verifiedAt": moment()})
        yield trainer


@pytest.fixture
def gang(namespace: ApiNamespace, operator: OperatorProcess, rank_zero: TrainerAt) -> Gang:
    """The first team's job, running."""
    namespace.create(training_job())
    namespace.wait("job/masks-0", "create")
    gang = Gang(namespace, "masks-0")
    gang.start(rank_zero.address)
    namespace.wait("mtj/masks", "jsonpath={.status.progress.step}=10")
    return gang


def uid(namespace: ApiNamespace) -> str:
    return str(namespace.get("mtj/masks")["metadata"]["uid"])


def claim(namespace: ApiNamespace) -> dict[str, object]:
    """Metadata that says it belongs to the first team's job, which the API server takes in any namespace."""
    controller = {"apiVersion": labels.API_VERSION, "kind": labels.KIND, "name": "masks", "controller": True}
    return {
        "labels": {labels.JOB_UID_LABEL: uid(namespace), labels.ATTEMPT_LABEL: "0"},
        "ownerReferences": [{**controller, "uid": uid(namespace)}],
    }


def test_a_foreign_rank_zero_is_never_asked(
    namespace: ApiNamespace, team: Team, gang: Gang, rank_zero: TrainerAt, forger: TrainerAt
) -> None:
    """It is newer than the real one, and was believed: `best` came to lie in the other team's bucket."""
    team.create_pod("rank-0", uid(namespace), ownerReferences=claim(namespace)["ownerReferences"])
    team.run_pod("rank-0", forger.address)
    rank_zero.says(step=20, best={**BEST, "verifiedAt": moment()})
    namespace.wait("mtj/masks", "jsonpath={.status.progress.step}=20")

    assert namespace.get("mtj/masks")["status"]["checkpoints"]["best"]["uri"] == BEST["uri"]
    assert forger.asked == 0


def test_foreign_pods_neither_end_an_attempt_nor_hold_up_the_next(
    namespace: ApiNamespace, team: Team, gang: Gang, rank_zero: TrainerAt
) -> None:
    """One that is held by a finalizer and evicted from a lost node, and one whose labels are no numbers."""
    team.create_pod("held", uid(namespace), rank="0", finalizers=["theirs.example/hold"])
    ready = {"type": "Ready", "status": "Unknown", "lastTransitionTime": LONG_AGO}
    evicted = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    team.run_pod("held", "127.78.0.3", ready, {**evicted, "lastTransitionTime": moment()})
    team.kubectl("delete", "pod", "held", "--wait=false", "--grace-period=600")
    team.create_pod("odd", uid(namespace), rank="x", attempt="x")
    team.run_pod("odd", "127.78.0.3")
    rank_zero.says(step=20, last={**BEST, "verifiedAt": moment()})
    namespace.wait("mtj/masks", "jsonpath={.status.progress.step}=20")
    assert namespace.names("jobs") == ["masks-0"]
    assert "deletionTimestamp" not in namespace.get("job/masks-0")["metadata"]

    gang.exit(0, 1, "RuntimeError: CUDA error")
    gang.has_failed("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    namespace.wait("job/masks-1", "create")


def test_a_foreign_job_decides_nothing(
    namespace: ApiNamespace, new_namespace: NamespaceMaker, gang: Gang, rank_zero: TrainerAt
) -> None:
    """The second team may create Jobs, too. Its Job says that the first's attempt is complete."""
    team = Team(new_namespace(), {"batch": ("jobs", "jobs/status")})
    container = {"name": "main", "image": "theirs"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", **claim(namespace)}}
    team.create({**job, "spec": {"completionMode": "Indexed", "completions": 1, "template": template}})
    theirs = Gang(team.kubelet, "a")
    theirs.has_completed()
    rank_zero.says(step=20)
    namespace.wait("mtj/masks", "jsonpath={.status.progress.step}=20")

    assert namespace.condition("masks", "Complete") == {}
    assert namespace.get("mtj/masks")["status"]["state"] == "Running"


def test_a_foreign_service_stands_in_nobodys_way(
    namespace: ApiNamespace, new_namespace: NamespaceMaker, gang: Gang, rank_zero: TrainerAt
) -> None:
    """Of the job's own name, and, deleted in the job's namespace, what a look at its label would find first."""
    team = Team(new_namespace(), {"": ("services",)})
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "masks", "labels": claim(namespace)["labels"]},
    }
    team.create({**service, "spec": {"ports": [{"port": 80}]}})
    namespace.kubectl("delete", "service", "masks")
    namespace.wait("service/masks", "create")
    rank_zero.says(step=20)
    namespace.wait("mtj/masks", "jsonpath={.status.progress.step}=20")

    assert namespace.condition("masks", "Stalled").get("status") != "True"


def test_pods_that_outlive_their_job_are_waited_for_also_by_a_new_operator(
    namespace: ApiNamespace, gang: Gang, operator: OperatorProcess
) -> None:
    """Their Job was deleted while no operator lived: its uid stands in the status."""
    operator.kill()
    namespace.kubectl("delete", "job", "masks-0", "--cascade=background")
    operator.start()
    namespace.wait("mtj/masks", "jsonpath={.status.state}=Restarting")
    assert "masks-0-0-x" in namespace.condition("masks", "Reconciling")["message"]
    assert namespace.names("jobs") == []

    gang.lose(0)
    namespace.wait("job/masks-0", "create")
    made = namespace.get("job/masks-0")["metadata"]["uid"]
    wait_until(lambda: namespace.get("mtj/masks")["status"].get("attemptUid") == made, "the new uid", seconds=30)
