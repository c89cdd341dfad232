"""A real kube-apiserver with our definition installed, a namespace for each test, and the operator as a process."""

import itertools
from collections.abc import Iterator

import pytest

from tests.api.objects import Namespace
from tests.api.operator_process import OperatorProcess, grant_chart_rights
from tests.devcluster.cluster import Cluster
from tests.devcluster.layout import REPOSITORY

_numbers = itertools.count()


@pytest.fixture(scope="session")
def api(control_plane: Cluster) -> Cluster:
    """The control plane, with MaskTrainingJob established."""
    control_plane.kubectl("apply", "--server-side", f"--filename={REPOSITORY / 'crds'}")
    control_plane.kubectl("wait", "--for=condition=Established", "crd/masktrainingjobs.masktrain.dev")
    return control_plane


@pytest.fixture
def namespace(api: Cluster) -> Namespace:
    """Empty, and never deleted: nothing here could empty it, and the cluster goes with the session."""
    name = f"test-{next(_numbers)}"
    api.kubectl("create", "namespace", name)
    api.kubectl("create", "serviceaccount", "default", "--namespace", name)
    return Namespace(api, name)


@pytest.fixture(scope="session")
def operator(api: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The running operator. Its log is the file `operator.log` of the session's temporary folder."""
    folder = tmp_path_factory.mktemp("operator")
    process = OperatorProcess(grant_chart_rights(api, folder), folder / "operator.log")
    process.start()
    yield process
    process.stop()
