"""One control plane with the chart installed; a namespace for each test; the operator where a test asks for it."""

import itertools
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster.cluster import Cluster, ClusterError
from devcluster.waiting import wait_until
from masktrain_operator.api import labels
from tests.api import chart
from tests.api.namespace import ApiNamespace
from tests.api.operator_process import OperatorProcess
from tests.api.training_jobs import training_job
from tests.unit.chart.rendering import NAME, render

CRD = "customresourcedefinition/masktrainingjobs.masktrain.dev"
PORTS = {"ports": [{"port": 80}]}
_numbers = itertools.count()


@pytest.fixture(scope="session")
def installed(control_plane: Cluster) -> Cluster:
    """The control plane, with the chart's objects on it."""
    chart.install(control_plane)
    return control_plane


@pytest.fixture
def new_namespace(installed: Cluster) -> Callable[[], ApiNamespace]:
    """Makes one more namespace at each call."""

    def make() -> ApiNamespace:
        name = f"test-{next(_numbers)}"
        installed.kubectl("create", "namespace", name)
        installed.kubectl("create", "serviceaccount", "default", f"--namespace={name}")
        return ApiNamespace(installed, name)

    return make


@pytest.fixture
def namespace(new_namespace: Callable[[], ApiNamespace]) -> ApiNamespace:
    return new_namespace()


@pytest.fixture(scope="module")
def running_operator(installed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    folder: Path = tmp_path_factory.mktemp("operator")
    kubeconfig = chart.service_account_kubeconfig(installed, folder / "kubeconfig")
    process = OperatorProcess(kubeconfig, folder / "log", _two_free_ports())
    process.start()
    yield process
    process.kill()


@pytest.fixture
def later_architecture(namespace: ApiNamespace) -> Iterator[str]:
    """A model that the API server lets pass and this operator doesn't know, as after a roll-back of the operator."""
    name = "yolov5later"
    names = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/model/properties/architecture/enum"
    namespace.json_patch(CRD, {"op": "add", "path": f"{names}/0", "value": name})
    probe = training_job("probe", model__architecture=name)
    wait_until(lambda: namespace.accepts(probe), "the changed schema", seconds=30)
    yield name
    namespace.json_patch(CRD, {"op": "remove", "path": f"{names}/0"})
    wait_until(lambda: not namespace.accepts(probe), "the schema as it was", seconds=30)


@pytest.fixture
def frozen_services(namespace: ApiNamespace) -> Iterator[str]:
    """An admission policy by which no Service of the namespace gets our label again; its message."""
    message, label = "the services of this namespace are frozen", labels.JOB_LABEL
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy"}
    name = {"name": f"frozen-{namespace.name}"}
    services = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["services"]}
    has_label = "has({0}.metadata.labels) && '" + label + "' in {0}.metadata.labels"
    expression = f"!({has_label.format('object')}) || ({has_label.format('oldObject')})"
    rules = {"resourceRules": [services]}
    policy = {"matchConstraints": rules, "validations": [{"expression": expression, "message": message}]}
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}
    binding = {"policyName": name["name"], "validationActions": ["Deny"], "matchResources": {"namespaceSelector": here}}
    namespace.create({**kind, "metadata": name, "spec": policy})
    namespace.create({**kind, "kind": "ValidatingAdmissionPolicyBinding", "metadata": name, "spec": binding})
    namespace.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "probe"}, "spec": PORTS})
    wait_until(lambda: _is_frozen(namespace, f"{label}=x"), "the policy", seconds=30)
    yield message
    for each in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        namespace.kubectl("delete", each, name["name"])


def _is_frozen(namespace: ApiNamespace, label: str) -> bool:
    try:
        namespace.kubectl("label", "service", "probe", label, "--dry-run=server")
    except ClusterError:
        return True
    return False


@pytest.fixture
def operator(running_operator: OperatorProcess) -> Iterator[OperatorProcess]:
    """The one operator of the module. Fails the test if the operator stumbled meanwhile."""
    before = len(running_operator.log)
    yield running_operator
    said = running_operator.log[before:]
    assert "Traceback" not in said, said
    assert "forbidden: User" not in said, f"a right is missing: {said}"


@pytest.fixture
def narrow_operator(
    installed: Cluster, namespace: ApiNamespace, running_operator: OperatorProcess, tmp_path: Path
) -> Iterator[OperatorProcess]:
    """An operator with a Role in the test's namespace and no right beyond it, instead of the one of the module."""
    values = (f"--set=watchNamespaces={{{namespace.name}}}", "--set=crds.enabled=false")
    chart.apply(installed, *render(*values, release="narrow"))
    kubeconfig = chart.service_account_kubeconfig(installed, tmp_path / "kubeconfig", f"narrow-{NAME}")
    running_operator.stop()
    process = OperatorProcess(kubeconfig, tmp_path / "log", _two_free_ports(), watch_namespaces=namespace.name)
    process.start()
    yield process
    process.stop()
    running_operator.start()


def _two_free_ports() -> int:
    """Two neighbours that are free. Where the search begins differs by process: test runs may stand side by side."""
    for number in range(5_000):
        port = 20_000 + (os.getpid() + number) % 5_000 * 2
        if all(map(_is_free, (port, port + 1))):
            return port
    raise RuntimeError("No two neighbouring ports are free.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
