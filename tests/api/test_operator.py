"""The operator as a process against a real API server; the test plays Job controller and kubelet."""

import json

import pytest

from tests.api.objects import Gang, Namespace, checkpoint, outcome, progress, training_job
from tests.api.operator_process import ACCOUNT, NAMESPACE, OperatorProcess

pytestmark = pytest.mark.api


@pytest.fixture(autouse=True)
def _running(operator: OperatorProcess) -> None:
    """Every test here needs it."""


def test_a_job_gets_one_service_and_one_indexed_job(namespace: Namespace) -> None:
    owner = namespace.create(training_job())
    gang = Gang(namespace, "masks-0")
    gang.start()
    namespace.wait_for_condition("masks", "Reconciling", "WorkersRunning")
    service, job = namespace.get("service/masks"), namespace.get("job/masks-0")
    assert {manifest["metadata"]["ownerReferences"][0]["uid"] for manifest in (service, job)} == {
        owner["metadata"]["uid"]
    }
    assert service["spec"]["clusterIP"] == "None"
    assert job["spec"]["completionMode"] == "Indexed"
    assert namespace.names("job") == ["job.batch/masks-0"]
    namespace.wait_for_events("masks", "AttemptStarted", "WorkersRunning")
    metadata = namespace.get("mtj/masks")["metadata"]
    assert "finalizers" not in metadata
    assert "annotations" not in metadata


def test_pods_of_an_attempt_pass_the_restricted_profile(namespace: Namespace) -> None:
    namespace.kubectl("label", "namespace", namespace.name, "pod-security.kubernetes.io/enforce=restricted")
    namespace.create(training_job())
    Gang(namespace, "masks-0").start()


def test_input_that_cannot_work_fails_once_with_the_trainers_sentence(namespace: Namespace) -> None:
    namespace.create(training_job())
    gang = Gang(namespace, "masks-0")
    gang.start()
    sentence = "data.yaml names no classes: add a 'names' list."
    for rank in range(2):
        gang.end_pod(rank, 64, progress(0, outcome=outcome("UserError", "InvalidDataset", sentence)))
    gang.fail_job("FailureTarget", "Failed")
    namespace.wait("mtj/masks", "condition=Failed")
    failed = namespace.wait_for_condition("masks", "Failed", "InvalidDataset")
    assert failed["message"] == sentence
    assert namespace.wait_for_condition("masks", "Stalled", "InvalidDataset")["status"] == "True"
    assert namespace.names("job") == ["job.batch/masks-0"]


def test_the_next_attempt_waits_for_every_old_pod(namespace: Namespace) -> None:
    namespace.create(training_job())
    gang = Gang(namespace, "masks-0")
    gang.start()
    last = checkpoint("s3://checkpoints/last/state.pt", step=10)
    gang.end_pod(0, 1, progress(0, step=12, last=last, outcome=outcome("Crashed", "ProcessLost", "A rank is gone.")))
    gang.fail_job("FailureTarget")
    namespace.wait_for_condition("masks", "Reconciling", "WaitingForOldPods")
    assert namespace.names("job") == ["job.batch/masks-0"]
    gang.end_pod(1, 75)
    gang.fail_job("FailureTarget", "Failed")
    namespace.wait("job/masks-1", "create")
    status = namespace.get("mtj/masks")["status"]
    assert status["attempt"] == 1
    assert status["restarts"]["total"] == 1
    assert status["restarts"]["withoutProgress"] == 0, "the attempt had stored a checkpoint"
    assert status["checkpoints"]["last"]["step"] == 10


def test_a_finished_job_is_complete_with_what_rank_0_said_last(namespace: Namespace) -> None:
    namespace.create(training_job())
    gang = Gang(namespace, "masks-0")
    gang.start()
    best = checkpoint("s3://checkpoints/best.pt", step=30)
    said = progress(
        0, step=30, mAP50=0.61, best=best, outputs=[best["uri"]], outcome=outcome("Complete", "Complete", "Done.")
    )
    gang.end_pod(0, 0, said)
    gang.end_pod(1, 0)
    gang.complete_job()
    namespace.wait("mtj/masks", "condition=Complete")
    status = namespace.get("mtj/masks")["status"]
    assert status["state"] == "Complete"
    assert status["outputs"] == [best["uri"]]
    assert float(status["progress"]["mAP50"]) == pytest.approx(0.61)
    assert status["completionTime"]


def test_a_service_of_someone_else_is_never_taken_over(namespace: Namespace) -> None:
    namespace.kubectl("create", "service", "clusterip", "masks", "--tcp=80")
    before = namespace.get("service/masks")
    namespace.create(training_job())
    namespace.wait_for_condition("masks", "Stalled", "ServiceNotOurs")
    assert namespace.get("service/masks") == before
    assert namespace.names("job") == []
    namespace.kubectl("delete", "service", "masks")
    namespace.wait("job/masks-0", "create", seconds=60)


def test_a_job_of_someone_else_is_never_taken_over(namespace: Namespace) -> None:
    namespace.kubectl("create", "job", "masks-0", "--image=other")
    before = namespace.get("job/masks-0")
    namespace.create(training_job())
    namespace.wait_for_condition("masks", "Stalled", "JobNotOurs")
    assert namespace.get("job/masks-0") == before


def test_killed_and_started_again_it_goes_on(namespace: Namespace, operator: OperatorProcess) -> None:
    namespace.create(training_job())
    gang = Gang(namespace, "masks-0")
    operator.kill()
    gang.start()
    operator.start()
    namespace.wait_for_condition("masks", "Reconciling", "WorkersRunning")
    assert namespace.get("job/masks-0")["metadata"]["uid"] == gang.uid
    assert namespace.names("job") == ["job.batch/masks-0"]


@pytest.mark.parametrize(
    ("verb", "resource"),
    [("get", "secrets"), ("patch", "masktrainingjobs.masktrain.dev"), ("create", "pods"), ("patch", "jobs.batch")],
)
def test_the_chart_gives_no_right_that_is_not_needed(namespace: Namespace, verb: str, resource: str) -> None:
    account = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": account, "resourceAttributes": _attributes(namespace.name, verb, resource)},
    }
    answer = json.loads(namespace.kubectl("create", "--output=json", "--filename=-", text=json.dumps(review)))
    assert answer["status"]["allowed"] is False


def _attributes(namespace: str, verb: str, resource: str) -> dict[str, str]:
    plural, _, group = resource.partition(".")
    return {"namespace": namespace, "verb": verb, "resource": plural, "group": group}
