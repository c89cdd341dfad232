"""Lists of which the API server forgets the version while they are read, as its compaction of etcd makes it do."""

import base64
import json
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from devcluster.cluster import Cluster
from devcluster.control_plane import ETCD_URL
from masktrain_operator.api import labels
from masktrain_operator.core.types import Manifest
from masktrain_operator.shell import client as client_module
from masktrain_operator.shell.client import TRAINING_JOBS, KubernetesClient
from tests.api.pools.api_server import ApiServer
from tests.api.training_jobs import training_job

pytestmark = pytest.mark.api

NAME = "lists"
PATH = f"/apis/{labels.API_VERSION}/namespaces/{NAME}/{labels.PLURAL}"
POST = "import sys, urllib.request as r; print(r.urlopen(r.Request(sys.argv[1], sys.argv[2].encode())).read().decode())"


@pytest.fixture
def jobs(api_server: ApiServer) -> Iterator[ApiServer]:
    api_server.create("/api/v1/namespaces", {"metadata": {"name": NAME}})
    for name in "abc":
        api_server.create(PATH, training_job(name))
    yield api_server
    api_server.delete(PATH)
    api_server.delete(f"/api/v1/namespaces/{NAME}")


class SlowReader(KubernetesClient):
    """Asks for its second page as if hours had passed since the first."""

    asked = 0

    async def _text(self, request: Any, **options: Any) -> str:
        self.asked += 1
        if self.asked == 2:
            options["_continue"] = aged(options["_continue"])
        return await super()._text(request, **options)


def aged(token: str) -> str:
    """Of the first version there was. kube-apiserver's cache answers for all since it knows the kind, whatever etcd
    has forgotten.
    """
    content = json.loads(base64.urlsafe_b64decode(f"{token}==="))
    return base64.urlsafe_b64encode(json.dumps({**content, "rv": 1}).encode()).decode().rstrip("=")


@pytest.fixture
async def reader(pools_served: Cluster) -> AsyncIterator[SlowReader]:
    configuration = Configuration()
    await config.load_kube_config(str(pools_served.kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
    async with ApiClient(configuration) as api_client:
        yield SlowReader(api_client)


async def test_a_list_whose_version_is_forgotten_half_read_is_read_anew(
    pools_served: Cluster, jobs: ApiServer, reader: SlowReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, the API server's 410 ended the look, or the start of the operator."""
    monkeypatch.setattr(client_module, "PAGE_ITEMS", 1)
    seen: list[str] = []

    def name_of(job: Manifest) -> str:
        seen.append(job["metadata"]["name"])
        if len(seen) == 1:
            jobs.delete(f"{PATH}/a")
            created = jobs.create(PATH, training_job("d"))
            compact(pools_served, int(created["metadata"]["resourceVersion"]))
        return seen[-1]

    listed = await reader.list(TRAINING_JOBS, NAME, name_of)

    assert seen == ["a", "b", "c", "d"]
    assert listed.items == ["b", "c", "d"]


def compact(cluster: Cluster, revision: int) -> None:
    """Let etcd forget all before that revision; kube-apiserver does so every five minutes."""
    question = json.dumps({"revision": str(revision), "physical": True})
    cluster.namespaces.run(sys.executable, "-c", POST, f"{ETCD_URL}/v3/kv/compaction", question)
