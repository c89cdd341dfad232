"""A second team makes the operator read more than fits into its memory, against a real API server."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster.cluster import Cluster
from masktrain_operator.api import labels
from tests.api.namespace import ApiNamespace
from tests.api.operator_process import OperatorProcess
from tests.api.pools.api_server import ApiServer
from tests.api.training_jobs import training_job
from tests.security.team import ACCOUNT, Team

pytestmark = pytest.mark.api

NamespaceMaker = Callable[[], ApiNamespace]
MOST_GROWTH_MB = 140
"""What a list may take is a page of 20 objects as bytes and as text, here 2 x 27 MB, and one object as dictionaries,
50 MB; all of them are 270 MB. The chart gives the operator 512 MB, of which 60 are taken before it has read anything.
"""
LONG_TEXTS = [{"name": f"V{number}", "value": "x" * 1000} for number in range(1000)]
"""1 MB."""
TINY_ENTRIES = [{"name": "a"}] * 200_000
"""2.6 MB of JSON, and 45 MB of dictionaries."""


class Flooder:
    """A person who may create batch Jobs in one namespace."""

    def __init__(self, api: ApiServer, namespace: str) -> None:
        self._api = api
        self._path = f"/apis/batch/v1/namespaces/{namespace}/jobs"

    def create_job(self, name: str, env: list[dict[str, str]]) -> None:
        """Labelled like the batch Jobs of ours, and of none; it never starts a pod."""
        container = {"name": "c", "image": "theirs", "env": env}
        template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        metadata = {"name": name, "labels": {labels.JOB_UID_LABEL: "nobody"}}
        self._api.create(self._path, {"metadata": metadata, "spec": {"suspend": True, "template": template}})


@pytest.fixture
def team(new_namespace: NamespaceMaker) -> Iterator[Flooder]:
    """May create batch Jobs in a namespace of its own, and nothing else."""
    namespace = new_namespace()
    account = f"system:serviceaccount:{namespace.name}:{ACCOUNT}"
    Team(namespace, {"batch": ("jobs",)})
    opened = ApiServer(namespace.cluster.kubeconfig, impersonated=account)
    yield Flooder(opened, namespace.name)
    namespace.kubectl("delete", "jobs", "--all", "--wait=false")
    opened.close()


def test_other_teams_objects_are_never_all_in_memory(installed: Cluster, team: Flooder) -> None:
    """Before, 200 such Jobs of long texts took the operator to 1018 MB, and 40 of tiny entries to 977 MB."""
    sizes = [TINY_ENTRIES] * 4 + [LONG_TEXTS] * 16
    for number, env in enumerate(sizes):
        team.create_job(f"j{number:02}", env)
    command = [sys.executable, str(Path(__file__).with_name("refresh_under_attack.py")), str(installed.kubeconfig)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    said = json.loads(done.stdout)

    assert said["kept"] == 0
    assert said["grown"] < MOST_GROWTH_MB


def test_a_large_job_is_served_like_any_other(namespace: ApiNamespace, operator: OperatorProcess) -> None:
    """Of its spec the operator keeps nothing but the nodes."""
    env = [{"name": f"V{number}", "value": "x" * 4000} for number in range(64)]
    namespace.create(training_job(compute__env=env))
    namespace.wait("job/masks-0", "create")
    namespace.wait("mtj/masks", "jsonpath={.status.attempt}=0")
    (container,) = namespace.get("job/masks-0")["spec"]["template"]["spec"]["containers"]
    assert [variable for variable in container["env"] if variable in env] == env
