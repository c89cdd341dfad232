"""MaskTrain as a user has it: full cluster, chart installed by helm, data sets in a bucket, jobs applied by kubectl."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster.cloud import CLOUD_ENDPOINT
from devcluster.cluster import Cluster
from devcluster.install import CREDENTIALS_SECRET, ORACLE_KEY_SECRET, install_operator, provide_store, s3_client
from examples.masks.build import build_dataset
from examples.masks.video import FRAMES_PER_SECOND, draw_video, write_video
from tests.unit.trainer.weights.yolov5_files import as_released

NAMESPACE = "e2e"
HANGS_AFTER_SECONDS = 600
"""Longer than anything takes on a machine that is busy with other tests: a bound for what would never come."""
WEIGHTS_MIRROR = "s3://datasets/yolov5/v7.0"
CPU_ONLY = [{"name": "MASKTRAIN_DEVICE", "value": "cpu"}, {"name": "OMP_NUM_THREADS", "value": "1"}]


class Jobs:
    """MaskTrainingJobs of one namespace, handled with kubectl as a person would."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.s3 = s3_client(cluster)

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return self.cluster.kubectl("--namespace", NAMESPACE, *arguments, text=text)

    def apply(self, name: str, **changes: dict[str, Any]) -> None:
        manifest = {
            "apiVersion": "masktrain.dev/v1alpha1",
            "kind": "MaskTrainingJob",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": self.spec(**changes),
        }
        self.kubectl("apply", "--filename", "-", text=json.dumps(manifest))

    def spec(self, **changes: dict[str, Any]) -> dict[str, Any]:
        store = {"endpoint": self.cluster.s3_endpoint_in_cluster, "credentialsSecretRef": {"name": CREDENTIALS_SECRET}}
        base: dict[str, dict[str, Any]] = {
            "model": {"architecture": "yolov5n", "weights": "scratch"},
            "dataset": {"uri": "s3://datasets/small.zip", "store": store},
            "training": {"epochs": 3, "batchSize": 8, "imageSize": 96},
            "checkpoint": {"uri": "s3://checkpoints", "store": store, "intervalSeconds": 5},
            "compute": {"nodes": 1, "gpusPerNode": 1, "env": CPU_ONLY},
            "limits": {"stopGraceSeconds": 30},
        }
        return {section: base.get(section, {}) | changes.get(section, {}) for section in base | changes}

    def wait(self, name: str, condition: str) -> None:
        """Return when `condition` (the argument of `kubectl wait --for`) holds."""
        self.kubectl("wait", f"mtj/{name}", f"--for={condition}", f"--timeout={HANGS_AFTER_SECONDS}s")

    def status(self, name: str) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.kubectl("get", "mtj", name, "--output", "json"))["status"]
        return status

    def condition(self, name: str, kind: str) -> dict[str, str]:
        found: dict[str, str] = next(c for c in self.status(name)["conditions"] if c["type"] == kind)
        return found

    def events(self, name: str) -> dict[str, str]:
        """Reason to message of the job's events."""
        listed = json.loads(self.kubectl("events", "--for", f"mtj/{name}", "--output", "json"))["items"]
        return {event["reason"]: event["message"] for event in listed}

    def objects(self, name: str) -> list[str]:
        """Keys of the checkpoint bucket below the job, relative to it."""
        prefix = f"{NAMESPACE}/{name}/"
        listed = self.s3.list_objects_v2(Bucket="checkpoints", Prefix=prefix).get("Contents", [])
        return [entry["Key"].removeprefix(prefix) for entry in listed]

    def children(self, name: str) -> str:
        """Names of everything the operator made for the job."""
        kinds = "jobs.batch,pods,services,endpointslices"
        return self.kubectl("get", kinds, "--selector", f"masktrain.dev/job={name}", "--output", "name").strip()


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 drawn training pictures: enough to train on, seconds to finish."""
    return build_dataset(tmp_path_factory.mktemp("dataset") / "small.zip", images=40, size=96)


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames of people who walk by."""
    path = tmp_path_factory.mktemp("film") / "street.mp4"
    return write_video(path, (frame for frame, _ in draw_video(10, 160, 96, seed=1)), FRAMES_PER_SECOND)


@pytest.fixture(scope="session")
def broken_datasets(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> dict[str, Path]:
    """Archives that cannot be trained on, by object key."""
    folder = tmp_path_factory.mktemp("broken")
    not_a_zip = folder / "not-a-zip.zip"
    not_a_zip.write_text("hello")
    bad_labels = folder / "bad-labels.zip"
    with zipfile.ZipFile(small_dataset) as good, zipfile.ZipFile(bad_labels, "w") as bad:
        for member in good.namelist():
            content = b"7 0.5 0.5 0.1 0.1\n" if "/labels/" in member and member.endswith(".txt") else good.read(member)
            bad.writestr(member, content)
    return {path.name: path for path in (not_a_zip, bad_labels)}


@pytest.fixture(scope="session")
def jobs(
    cluster: Cluster,
    small_dataset: Path,
    film: Path,
    broken_datasets: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Jobs]:
    """The installed product."""
    install_operator(
        cluster,
        **{
            "oci.endpoint": CLOUD_ENDPOINT,
            "trainer.weightsMirror": WEIGHTS_MIRROR,
            "doctor.secrets": f"{{{ORACLE_KEY_SECRET}}}",
        },
    )
    release = as_released(tmp_path_factory.mktemp("release") / "yolov5n.pt")
    objects = {"small.zip": small_dataset, "street.mp4": film, "yolov5/v7.0/yolov5n.pt": release} | broken_datasets
    provide_store(cluster, NAMESPACE, objects)
    yield Jobs(cluster)
    cluster.kubectl("delete", "mtj", "--all", "--namespace", NAMESPACE, "--cascade=foreground")
