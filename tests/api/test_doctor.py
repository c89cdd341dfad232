"""`masktrain doctor` as `helm test` runs it: a process with the rights of its ServiceAccount, on a real API server."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster.cluster import Cluster
from devcluster.oracle.clock import SystemClock
from devcluster.oracle.running import FakeOci, running
from devcluster.oracle.signing import Credentials
from tests.api import chart
from tests.api.abandoned_pool import NAME as POOL_NAME
from tests.api.abandoned_pool import QUICK, SECRET, AbandonedPool
from tests.api.namespace import ApiNamespace
from tests.api.test_rights import may
from tests.unit.chart.rendering import NAME, OPERATOR_NAMESPACE, render_tests

pytestmark = pytest.mark.api

DOCTOR = f"{NAME}-doctor"
ACCOUNT = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{DOCTOR}"
GIB = 2**30
Diagnosis = dict[str, Any]
Doctor = Callable[..., Diagnosis]


@pytest.fixture
def fake(oci_credentials: Credentials) -> Iterator[FakeOci[SystemClock]]:
    with running((QUICK,), SystemClock(), oci_credentials) as started:
        yield started


class World:
    """Three nodes of a pool with drivers and disks, and the device plugin; what the tests break in it."""

    def __init__(self, namespace: ApiNamespace, fake: FakeOci[SystemClock]) -> None:
        self.fake = fake
        self._system = ApiNamespace(namespace.cluster, OPERATOR_NAMESPACE)
        self._pool = AbandonedPool(namespace, fake)
        self.nodes = [node.name for node in (self._pool.added, self._pool.busy, self._pool.by_hand)]

    def create(self) -> None:
        self._pool.create()
        for name in self.nodes:
            self.merge_node(name, {"metadata": {"labels": {"nvidia.com/cuda.driver-version.full": "570.133.20"}}})
            self.give_disk(name, 90)
        self._system.create(_plugin())

    def remove(self) -> None:
        self._pool.remove()
        self.remove_plugin()

    def remove_plugin(self) -> None:
        self._system.kubectl("delete", "--ignore-not-found", "daemonset/nvidia-gpu-device-plugin")

    def merge_node(self, name: str, patch: dict[str, Any]) -> None:
        self._system.merge(f"node/{name}", patch)

    def give_disk(self, name: str, gib: int) -> None:
        disk = {"ephemeral-storage": str(gib * GIB)}
        self._system.merge_status(f"node/{name}", {"capacity": disk, "allocatable": disk})

    def lose_gpus(self) -> None:
        for name in self.nodes:
            none = {"nvidia.com/gpu": None}
            self._system.merge_status(f"node/{name}", {"capacity": none, "allocatable": none})

    def lose_plugin(self) -> None:
        self.lose_gpus()
        self.remove_plugin()

    def merge_pool(self, spec: dict[str, Any]) -> None:
        self._system.merge(f"gpunodepool/{POOL_NAME}", {"spec": spec})


def _plugin() -> dict[str, Any]:
    labels = {"app": "nvidia"}
    container = {"name": "plugin", "image": "iad.ocir.io/oke/k8s-device-plugin:1"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "nvidia-gpu-device-plugin"},
        "spec": spec,
    }


@pytest.fixture
def world(namespace: ApiNamespace, fake: FakeOci[SystemClock]) -> Iterator[World]:
    found = World(namespace, fake)
    found.create()
    yield found
    found.remove()


@pytest.fixture
def account(installed: Cluster) -> None:
    objects = render_tests(f"--set=doctor.secrets={{{SECRET}}}")
    chart.apply(installed, *(found for found in objects if found["kind"] != "Pod"))


@pytest.fixture
def doctor(installed: Cluster, account: None, world: World, tmp_path: Path) -> Doctor:
    kubeconfig = chart.service_account_kubeconfig(installed, tmp_path / "kubeconfig", DOCTOR)

    def run(*arguments: str, kubeconfig: Path = kubeconfig) -> Diagnosis:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "KUBECONFIG": str(kubeconfig),
            "MASKTRAIN_OPERATOR_OCI_ENDPOINT": world.fake.endpoint,
            "MASKTRAIN_OPERATOR_OBJECT_STORAGE_ENDPOINT": world.fake.endpoint,
        }
        command = [sys.executable, "-m", "masktrain_trainer.cli.main", "doctor", "--json", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        answer: Diagnosis = json.loads(done.stdout)
        assert answer["exitCode"] == done.returncode
        return answer

    return run


def checks(answer: Diagnosis, level: str) -> list[str]:
    return [finding["check"] for finding in answer["findings"] if finding["level"] == level]


def test_nothing_is_at_fault_and_the_account_of_the_test_may_see_all_of_it(doctor: Doctor) -> None:
    answer = doctor()

    assert answer["exitCode"] == 0, answer
    assert (checks(answer, "fault"), checks(answer, "warning")) == ([], [])
    # Of an API key's user the groups are not looked at, so what it may change stays unknown.
    assert checks(answer, "unknown") == ["policies"]


Defect = Callable[[World], object]
DEFECTS: dict[str, tuple[Defect, str]] = {
    "no plugin": (lambda world: world.lose_plugin(), "device plugin"),
    "GPUs that do not show": (lambda world: world.lose_gpus(), "device plugin"),
    "an old driver": (
        lambda world: world.merge_node(
            world.nodes[0], {"metadata": {"labels": {"nvidia.com/cuda.driver-version.full": "515.105.01"}}}
        ),
        "drivers",
    ),
    "a small disk": (lambda world: world.give_disk(world.nodes[1], 18), "storage of nodes"),
    "a boot volume that was not grown": (
        lambda world: world.fake.control.describe_pool({"nodeSourceDetails": {"bootVolumeSizeInGBs": 400}}),
        "boot volume",
    ),
    "no right to read work requests": (
        lambda world: world.fake.control.withhold_rights("list_work_requests"),
        "policies",
    ),
    "no right to read instances": (lambda world: world.fake.control.withhold_rights("get_instance"), "policies"),
    "no right to the pool": (lambda world: world.fake.control.withhold_rights("get_node_pool"), "policies"),
    "Oracle's clock": (lambda world: world.fake.control.put_clock_ahead(600), "clocks"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_named_and_nothing_else(doctor: Doctor, world: World, defect: str) -> None:
    plant, check = DEFECTS[defect]
    plant(world)

    answer = doctor()

    assert (answer["exitCode"], checks(answer, "fault")) == (1, [check]), answer


@pytest.mark.parametrize(
    "pair",
    [
        ("an old driver", "a small disk"),
        ("no right to read instances", "Oracle's clock"),
        ("no plugin", "a small disk"),
    ],
)
def test_two_planted_defects_are_two_faults(doctor: Doctor, world: World, pair: tuple[str, str]) -> None:
    for defect in pair:
        DEFECTS[defect][0](world)

    answer = doctor()

    assert (answer["exitCode"], checks(answer, "fault")) == (1, [DEFECTS[defect][1] for defect in pair]), answer


def test_several_availability_domains_and_an_unknown_price_are_warnings(doctor: Doctor, world: World) -> None:
    placements = [{"availabilityDomain": f"Uocm:US-ASHBURN-AD-{n}", "subnetId": "s"} for n in (1, 2)]
    description = {"nodeConfigDetails": {"placementConfigs": placements}, "nodeShape": "VM.GPU.NEW.1"}
    world.fake.control.describe_pool(description)
    world.merge_pool({"gpusPerNode": 2})

    answer = doctor()

    assert (answer["exitCode"], checks(answer, "warning")) == (0, ["availability domains", "prices"]), answer


def test_object_storage_that_does_not_answer_is_named(doctor: Doctor) -> None:
    answer = doctor("--object-storage", "http://127.0.0.1:1")

    assert (answer["exitCode"], checks(answer, "fault")) == (1, ["object storage"])


def test_a_missing_secret_is_a_failed_sign_in(doctor: Doctor, world: World) -> None:
    world.merge_pool({"auth": {"configSecretRef": {"name": "another"}}})

    answer = doctor()

    (finding,) = [f for f in answer["findings"] if f["check"] == "sign-in"]
    # Only the Secret that the chart was told of may be read.
    assert finding["level"] == "unknown"
    assert "get the Secret of spec.auth.configSecretRef" in finding["advice"]
    assert answer["exitCode"] == 3


def test_workload_identity_is_looked_at_in_the_cluster_only(doctor: Doctor, world: World) -> None:
    world.merge_pool({"auth": {"type": "WorkloadIdentity", "configSecretRef": None}})

    answer = doctor()

    (finding,) = [f for f in answer["findings"] if f["check"] == "sign-in"]
    assert (answer["exitCode"], finding["level"], "--profile" in finding["found"]) == (3, "unknown", True)


def test_a_person_who_may_see_nothing_is_told_which_rights_are_missing(
    doctor: Doctor, installed: Cluster, namespace: ApiNamespace, tmp_path: Path
) -> None:
    ApiNamespace(installed, OPERATOR_NAMESPACE).kubectl("create", "serviceaccount", "nobody")
    try:
        answer = doctor(kubeconfig=chart.service_account_kubeconfig(installed, tmp_path / "nobody", "nobody"))
    finally:
        ApiNamespace(installed, OPERATOR_NAMESPACE).kubectl("delete", "serviceaccount", "nobody")

    assert answer["exitCode"] == 3
    assert checks(answer, "fault") == []
    assert "list gpunodepools in all namespaces" in answer["findings"][0]["advice"]


@pytest.mark.parametrize(
    "words",
    [
        *(("get", "secrets"), ("list", "secrets"), ("list", "pods"), ("create", "pods"), ("watch", "nodes")),
        *(("patch", "nodes"), ("patch", "gpunodepools"), ("patch", "gpunodepools", "--subresource=status")),
        *(("delete", "gpunodepools"), ("get", "leases"), ("create", "events"), ("patch", "daemonsets")),
    ],
)
@pytest.mark.usefixtures("account")
def test_the_account_of_the_test_has_no_right_that_it_does_not_need(
    namespace: ApiNamespace, words: tuple[str, ...]
) -> None:
    assert not may(namespace, ACCOUNT, *words)


@pytest.mark.usefixtures("account")
def test_the_judgement_is_not_always_no(installed: Cluster) -> None:
    system = ApiNamespace(installed, OPERATOR_NAMESPACE)

    assert may(system, ACCOUNT, "list", "nodes")
    assert may(system, ACCOUNT, "get", f"secret/{SECRET}")
    assert not may(system, ACCOUNT, "get", "secret/another")
