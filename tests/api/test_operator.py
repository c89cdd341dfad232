"""The operator as a process against a real API server, with the rights of its chart. The test plays the cluster."""

import json
from typing import Any

import pytest

from devcluster.waiting import wait_until
from tests.api.gang import Gang, moment
from tests.api.namespace import ApiNamespace
from tests.api.operator_process import OperatorProcess
from tests.api.training_jobs import training_job

pytestmark = pytest.mark.api

UNFITTING = "The data.yaml names 3 classes but nc is 2: correct nc."


def final_progress(kind: str, reason: str, message: str, **fields: Any) -> str:
    """The termination message that a trainer leaves."""
    outcome = {"kind": kind, "reason": reason, "message": message}
    return json.dumps({"attempt": 0, "phase": "Finished", "outcome": outcome, "updatedAt": moment(), **fields})


def checkpoint(uri: str, step: int) -> dict[str, Any]:
    return {"uri": uri, "sha256": "0" * 64, "sizeBytes": 1, "epoch": 1, "step": step, "verifiedAt": moment()}


def created_gang(namespace: ApiNamespace, manifest: dict[str, Any], attempt: int = 0) -> Gang:
    """The gang of a job just applied, once the operator has made its Job."""
    name = f"{manifest['metadata']['name']}-{attempt}"
    namespace.wait(f"job/{name}", "create")
    return Gang(namespace, name)


def test_a_job_gets_one_service_and_one_job_and_nothing_else_is_touched(
    namespace: ApiNamespace, operator: OperatorProcess
) -> None:
    created = namespace.create(training_job(compute__nodes=2))
    namespace.wait("mtj/masks", "jsonpath={.status.state}=Pending")
    namespace.wait_for_event("AttemptStarted")

    resource = namespace.get("mtj/masks")
    assert namespace.names("jobs") == ["masks-0"]
    assert namespace.names("services") == ["masks"]
    assert [event["count"] for event in namespace.events("AttemptStarted")] == [1]
    assert "finalizers" not in resource["metadata"]
    assert "annotations" not in resource["metadata"]
    assert resource["spec"] == created["spec"]
    for child in (namespace.get("job/masks-0"), namespace.get("service/masks")):
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (resource["metadata"]["uid"], True)
        assert not {"foregroundDeletion", "kopf.zalando.org/KopfFinalizerMarker"} & set(
            child["metadata"].get("finalizers", ())
        )


def test_the_pods_of_an_attempt_pass_pod_security_restricted(
    namespace: ApiNamespace, operator: OperatorProcess
) -> None:
    namespace.kubectl("label", "namespace", namespace.name, "pod-security.kubernetes.io/enforce=restricted")
    manifest = training_job()
    namespace.create(manifest)
    created_gang(namespace, manifest).start()


def test_a_gang_has_a_network_policy_of_the_job_that_is_repaired(
    namespace: ApiNamespace, operator: OperatorProcess
) -> None:
    manifest = training_job()
    namespace.create(manifest)
    created_gang(namespace, manifest).start()
    namespace.wait("networkpolicy/masks", "create")
    written = namespace.get("networkpolicy/masks")
    (owner,) = written["metadata"]["ownerReferences"]
    assert owner["uid"] == namespace.get("mtj/masks")["metadata"]["uid"]
    namespace.kubectl("patch", "networkpolicy", "masks", "--type=merge", '--patch={"spec": {"ingress": [{}]}}')
    wait_until(lambda: namespace.get("networkpolicy/masks")["spec"] == written["spec"], "the repair", seconds=30)


def test_a_running_gang_is_no_longer_reconciling(namespace: ApiNamespace, operator: OperatorProcess) -> None:
    manifest = training_job(compute__nodes=2)
    namespace.create(manifest)
    created_gang(namespace, manifest).start()
    namespace.wait("mtj/masks", "condition=Reconciling=false")

    assert namespace.get("mtj/masks")["status"]["state"] == "Running"


def test_refused_input_fails_the_job_with_the_trainers_own_sentence(
    namespace: ApiNamespace, operator: OperatorProcess
) -> None:
    manifest = training_job(compute__nodes=2)
    namespace.create(manifest)
    gang = created_gang(namespace, manifest)
    gang.start()
    gang.exit(0, 64, final_progress("UserError", "InvalidDataset", UNFITTING))
    gang.lose(1)
    gang.has_failed("PodFailurePolicy", "Container trainer for pod x failed with exit code 64 matching FailJob rule")
    namespace.wait("mtj/masks", "condition=Failed")
    namespace.wait_for_event("Failed")

    failed = namespace.condition("masks", "Failed")
    assert (failed["reason"], failed["message"]) == ("InvalidDataset", UNFITTING)
    assert namespace.names("jobs") == ["masks-0"]


def test_the_next_attempt_starts_only_when_the_old_gang_is_gone(
    namespace: ApiNamespace, operator: OperatorProcess
) -> None:
    manifest = training_job(compute__nodes=2)
    namespace.create(manifest)
    gang = created_gang(namespace, manifest)
    gang.start()
    last = checkpoint("s3://checkpoints/last/state.pt", step=10)
    gang.exit(0, 1, final_progress("Crashed", "ProcessLost", "A rank is gone.", step=12, last=last))
    gang.is_failing("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    namespace.wait("mtj/masks", "jsonpath={.status.state}=Restarting")
    assert namespace.names("jobs") == ["masks-0"]

    gang.lose(1)
    gang.has_failed("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    created_gang(namespace, manifest, attempt=1)
    namespace.wait("mtj/masks", "jsonpath={.status.attempt}=1")
    status = namespace.get("mtj/masks")["status"]
    assert (status["restarts"]["total"], status["restarts"]["withoutProgress"]) == (1, 0), "a checkpoint is progress"
    assert status["checkpoints"]["last"]["step"] == 10


def test_a_completed_job_shows_what_rank_zero_said_last(namespace: ApiNamespace, operator: OperatorProcess) -> None:
    manifest = training_job()
    namespace.create(manifest)
    gang = created_gang(namespace, manifest)
    gang.start()
    best = checkpoint("s3://checkpoints/best.pt", step=30)
    said = final_progress("Complete", "Complete", "Done.", mAP50=0.61, best=best, outputs=[best["uri"]])
    gang.exit(0, 0, said)
    gang.has_completed()
    namespace.wait("mtj/masks", "condition=Complete")

    status = namespace.get("mtj/masks")["status"]
    assert (status["state"], status["outputs"]) == ("Complete", [best["uri"]])
    assert float(status["progress"]["mAP50"]) == pytest.approx(0.61)


def test_a_service_of_somebody_else_is_left_alone_and_said_so(
    namespace: ApiNamespace, operator: OperatorProcess
) -> None:
    theirs = {"metadata": {"name": "masks"}, "spec": {"ports": [{"port": 80}]}}
    before = namespace.create({"apiVersion": "v1", "kind": "Service", **theirs})
    namespace.create(training_job())
    namespace.wait("mtj/masks", "condition=Stalled")

    assert namespace.condition("masks", "Stalled")["reason"] == "ServiceNotOurs"
    assert namespace.names("jobs") == []
    assert namespace.get("service/masks")["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_a_job_of_somebody_else_is_left_alone_and_said_so(namespace: ApiNamespace, operator: OperatorProcess) -> None:
    container = {"name": "main", "image": "busybox"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    theirs = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "masks-0"}, "spec": {"template": template}}
    before = namespace.create(theirs)
    namespace.create(training_job())
    namespace.wait("mtj/masks", "condition=Stalled")

    assert namespace.condition("masks", "Stalled")["reason"] == "JobNotOurs"
    assert namespace.get("job/masks-0")["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_a_deleted_service_comes_back(namespace: ApiNamespace, operator: OperatorProcess) -> None:
    namespace.create(training_job())
    namespace.wait("service/masks", "create")
    first = namespace.get("service/masks")["metadata"]["uid"]
    namespace.kubectl("delete", "service", "masks")
    namespace.wait("service/masks", "create")

    assert namespace.get("service/masks")["metadata"]["uid"] != first


def test_a_deletion_ends_at_once_and_a_new_job_of_the_same_name_starts_afresh(
    namespace: ApiNamespace, operator: OperatorProcess
) -> None:
    namespace.create(training_job())
    namespace.wait("mtj/masks", "jsonpath={.status.state}=Pending")
    namespace.kubectl("delete", "mtj", "masks", "--wait=false")
    namespace.wait_until_gone("mtj/masks")
    namespace.create(training_job())
    namespace.wait("mtj/masks", "condition=Stalled")  # without a garbage collector the old Service and Job still stand
    namespace.kubectl("delete", "service,job", "--all")
    namespace.merge("mtj/masks", {"metadata": {"labels": {"look": "again"}}})
    namespace.wait("mtj/masks", "jsonpath={.status.state}=Pending")


def test_a_killed_operator_goes_on_where_it_was(namespace: ApiNamespace, operator: OperatorProcess) -> None:
    manifest = training_job()
    namespace.create(manifest)
    gang = created_gang(namespace, manifest)
    gang.start()
    namespace.wait("mtj/masks", "jsonpath={.status.state}=Running")
    operator.kill()
    gang.exit(0, 1, "RuntimeError: CUDA error")
    gang.has_failed("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    namespace.create(training_job("others"))
    namespace.kubectl("delete", "mtj", "others", "--timeout=10s")  # nothing of ours holds a deletion up
    operator.start()
    created_gang(namespace, manifest, attempt=1)

    assert namespace.names("jobs") == ["masks-0", "masks-1"]
    assert namespace.names("services") == ["masks"]


def test_a_resource_that_this_operator_cannot_read_is_stalled_with_a_sentence(
    namespace: ApiNamespace, operator: OperatorProcess, later_architecture: str
) -> None:
    namespace.create(training_job(model__architecture=later_architecture))
    namespace.wait("mtj/masks", "condition=Stalled")

    stalled = namespace.condition("masks", "Stalled")
    assert stalled["reason"] == "InvalidSpec"
    assert "spec.model.architecture" in stalled["message"]
    assert namespace.names("jobs") == []


def test_a_job_over_a_quota_says_so_and_starts_when_there_is_room(
    namespace: ApiNamespace, operator: OperatorProcess
) -> None:
    full = {"count/jobs.batch": "0"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": full}}
    namespace.create(quota)
    namespace.merge_status("resourcequota/full", {"hard": full, "used": full})
    namespace.create(training_job())
    namespace.wait("mtj/masks", "condition=WriteRefused")

    status = namespace.get("mtj/masks")["status"]
    assert "exceeded quota: full" in namespace.condition("masks", "WriteRefused")["message"]
    assert namespace.condition("masks", "Reconciling")["reason"] == "WriteRefused"
    assert ("attempt" in status, status["state"]) == (False, "Pending")
    assert namespace.names("services") == ["masks"], "the rest is done"
    namespace.wait_for_event("ApplyFailed")

    namespace.kubectl("delete", "resourcequota", "full")
    namespace.wait("job/masks-0", "create")
    namespace.wait("mtj/masks", "condition=WriteRefused=false")
    assert namespace.get("mtj/masks")["status"]["attempt"] == 0


def test_what_an_admission_policy_refuses_hides_nothing_else(
    namespace: ApiNamespace, operator: OperatorProcess, frozen_services: str
) -> None:
    manifest = training_job()
    namespace.create(manifest)
    gang = created_gang(namespace, manifest)
    gang.start()
    namespace.wait("mtj/masks", "jsonpath={.status.state}=Running")
    namespace.kubectl("label", "service", "masks", "masktrain.dev/job-")
    namespace.wait("mtj/masks", "condition=WriteRefused")
    assert frozen_services in namespace.condition("masks", "WriteRefused")["message"]

    best = checkpoint("s3://checkpoints/best.pt", step=30)
    gang.exit(0, 0, final_progress("Complete", "Complete", "Done.", mAP50=0.61, best=best, outputs=[best["uri"]]))
    gang.has_completed()
    namespace.wait("mtj/masks", "condition=Complete")
    namespace.wait("mtj/masks", "condition=WriteRefused=false")


def test_a_status_of_another_version_stops_nothing(namespace: ApiNamespace, operator: OperatorProcess) -> None:
    manifest = training_job()
    namespace.create(manifest)
    gang = created_gang(namespace, manifest)
    theirs = {"type": "Brilliant", "status": "True", "reason": "Stars", "lastTransitionTime": moment()}
    conditions = [theirs, *namespace.get("mtj/masks")["status"]["conditions"]]
    namespace.merge_status(
        "mtj/masks", {"state": "Pondering", "progress": {"phase": "Compiling"}, "conditions": conditions}
    )
    gang.start()
    namespace.wait("mtj/masks", "jsonpath={.status.state}=Running")

    assert namespace.condition("masks", "Brilliant")["reason"] == "Stars"


def test_a_stop_is_clean(operator: OperatorProcess) -> None:
    assert operator.stop() == 0
    operator.start()


def test_an_operator_of_one_namespace_needs_no_right_in_the_others(
    namespace: ApiNamespace, narrow_operator: OperatorProcess
) -> None:
    namespace.create(training_job())
    namespace.wait("mtj/masks", "jsonpath={.status.state}=Pending")

    assert namespace.names("jobs") == ["masks-0"]
    assert "forbidden" not in narrow_operator.log
    assert narrow_operator.metric("masktrain_operator_reconcile_errors_total") == 0
