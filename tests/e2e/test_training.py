"""Whole runs: from `kubectl apply` to a verified best.pt, and what must not go wrong on the way."""

import hashlib

import pytest

from devcluster.install import OPERATOR_NAMESPACE
from tests.e2e.conftest import CPU_ONLY, HANGS_AFTER_SECONDS, NAMESPACE, WEIGHTS_MIRROR, Jobs

pytestmark = pytest.mark.e2e

LONG = {"epochs": 60, "batchSize": 8, "imageSize": 96}


def assert_complete_and_tidy(jobs: Jobs, name: str) -> None:
    status = jobs.status(name)
    best = status["checkpoints"]["best"]
    assert best["uri"] == f"s3://checkpoints/{NAMESPACE}/{name}/best.pt"
    stored = jobs.s3.get_object(Bucket="checkpoints", Key=f"{NAMESPACE}/{name}/best.pt")["Body"].read()
    assert hashlib.sha256(stored).hexdigest() == best["sha256"]
    kept = jobs.objects(name)
    assert "best.pt" in kept
    assert "results.csv" in kept
    assert not [key for key in kept if "ckpt/" in key], "checkpoints that `keep: Best` should have deleted"
    assert [key for key in kept if key.endswith(".pt")] == ["best.pt"]


@pytest.mark.parametrize(
    ("name", "nodes", "gpus_per_node", "weights"),
    # The second as the README's job: official weights, by the mirror that the chart names.
    [("two-nodes", 2, 1, "scratch"), ("two-ranks", 1, 2, "official")],
    ids=["2x1", "1x2"],
)
def test_a_job_trains_and_leaves_a_verified_best_pt(
    jobs: Jobs, name: str, nodes: int, gpus_per_node: int, weights: str
) -> None:
    compute = jobs.spec()["compute"] | {"nodes": nodes, "gpusPerNode": gpus_per_node}
    jobs.apply(name, compute=compute, model={"weights": weights})
    jobs.wait(name, "condition=Complete")
    if weights == "official":
        log = jobs.kubectl("logs", "--selector", f"masktrain.dev/job={name}", "--tail=-1")
        assert f"weights: {WEIGHTS_MIRROR}/yolov5n.pt" in log
        assert "343 of 349 tensors taken over; new head for 3 classes" in log
    assert_complete_and_tidy(jobs, name)
    status = jobs.status(name)
    assert status["dataset"]["classes"] == ["incorrect", "mask", "no mask"]
    assert status["attempt"] == 0
    assert {"AttemptStarted", "DatasetVerified", "Complete"} <= jobs.events(name).keys()


def test_twins_and_sample_media_lie_beside_best_pt(jobs: Jobs) -> None:
    sources = ["s3://datasets/street.mp4", "s3://datasets/nowhere.mp4"]
    jobs.apply(
        "used",
        training={"epochs": 1},
        export={"formats": ["OpenVINO", "ONNX"], "int8": True},
        evaluation={"sources": sources, "store": jobs.spec()["dataset"]["store"]},
    )
    jobs.wait("used", "condition=Complete")
    assert_complete_and_tidy(jobs, "used")
    exported, evaluated = jobs.condition("used", "Exported"), jobs.condition("used", "Evaluated")
    assert (exported["status"], exported["reason"]) == ("True", "Exported"), exported
    assert (evaluated["status"], evaluated["reason"]) == ("False", "SourceUnusable"), evaluated
    assert "s3://datasets/nowhere.mp4 does not exist" in evaluated["message"]
    kept = jobs.objects("used")
    assert {"best.onnx", "best_openvino_model/best.xml", "best-int8_openvino_model/best-int8.xml"} <= set(kept), kept
    (video,) = (key for key in kept if key.startswith("evaluation/1-street/") and key.endswith(".webm"))
    stored = jobs.s3.get_object(Bucket="checkpoints", Key=f"{NAMESPACE}/used/{video}")["Body"].read()
    assert stored.startswith(b"\x1a\x45\xdf\xa3"), "no Matroska"


def test_a_killed_rank_0_pod_costs_only_the_time_since_the_last_checkpoint(jobs: Jobs) -> None:
    jobs.apply("killed", training=LONG | {"epochs": 12}, compute={"nodes": 2, "gpusPerNode": 1, "env": CPU_ONLY})
    jobs.wait("killed", "jsonpath={.status.checkpoints.last.uri}")
    row = jobs.kubectl("get", "mtj", "killed")
    assert all(column in row for column in ("STATE", "EPOCH", "MAP50", "RESTARTS")), row
    selector = "masktrain.dev/job=killed,batch.kubernetes.io/job-completion-index=0"
    jobs.kubectl("delete", "pod", "--selector", selector, "--grace-period=0", "--force")
    jobs.wait("killed", "jsonpath={.status.attempt}=1")
    jobs.wait("killed", "condition=Complete")
    assert_complete_and_tidy(jobs, "killed")
    status, events = jobs.status("killed"), jobs.events("killed")
    assert status["restarts"]["total"] == 1
    assert "ResumedFromCheckpoint" in events
    assert "AttemptFailed" in events


@pytest.mark.parametrize(
    ("name", "dataset", "reason", "words"),
    [
        ("no-object", {"uri": "s3://datasets/nothing.zip"}, "InvalidDataset", "nothing.zip"),
        ("no-bucket", {"uri": "s3://no-such-bucket/small.zip"}, "StoreDenied", "no-such-bucket"),
        ("not-a-zip", {"uri": "s3://datasets/not-a-zip.zip"}, "InvalidDataset", "zip"),
        ("bad-labels", {"uri": "s3://datasets/bad-labels.zip"}, "InvalidDataset", "class"),
        ("no-secret", {"secret": "missing"}, "StoreDenied", "missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_fails_once_with_a_sentence(
    jobs: Jobs, name: str, dataset: dict[str, str], reason: str, words: str
) -> None:
    spec = dict(jobs.spec()["dataset"])
    if "secret" in dataset:
        spec["store"] = spec["store"] | {"credentialsSecretRef": {"name": dataset["secret"]}}
    else:
        spec |= dataset
    jobs.apply(name, dataset=spec)
    jobs.wait(name, "condition=Failed")
    failed = jobs.condition(name, "Failed")
    assert failed["reason"] == reason
    assert words in failed["message"]
    assert "Traceback" not in failed["message"]
    assert jobs.status(name)["restarts"]["total"] == 0


def test_official_weights_that_are_nowhere_end_the_job_with_what_to_do(jobs: Jobs) -> None:
    nowhere = {"name": "MASKTRAIN_WEIGHTS_MIRROR", "value": "s3://datasets/nowhere"}
    jobs.apply("no-release", model={"weights": "official"}, compute={"env": [*CPU_ONLY, nowhere]})
    jobs.wait("no-release", "condition=Failed")
    failed = jobs.condition("no-release", "Failed")
    assert failed["reason"] == "InvalidWeights"
    assert all(words in failed["message"] for words in ("model.weights scratch", "a URI", "trainer.weightsMirror"))
    assert jobs.status("no-release")["restarts"]["total"] == 0


def test_a_deleted_job_leaves_nothing(jobs: Jobs) -> None:
    jobs.apply("deleted", training=LONG)
    jobs.wait("deleted", "condition=DatasetVerified")
    assert jobs.children("deleted")
    jobs.kubectl("delete", "mtj", "deleted", "--cascade=foreground", f"--timeout={HANGS_AFTER_SECONDS}s")
    assert jobs.children("deleted") == ""


def test_training_does_not_notice_that_the_operator_is_killed(jobs: Jobs) -> None:
    jobs.apply("alone", training=LONG | {"epochs": 12})
    jobs.wait("alone", "condition=DatasetVerified")
    delete = ("delete", "pod", "--namespace", OPERATOR_NAMESPACE, "--all", "--grace-period=0", "--force")
    jobs.cluster.kubectl(*delete)
    jobs.wait("alone", "condition=Complete")
    assert_complete_and_tidy(jobs, "alone")
    assert jobs.status("alone")["restarts"]["total"] == 0
