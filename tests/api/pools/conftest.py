"""One API server for all; a namespace, a GPUNodePool and a fake cloud for each test."""

import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack

import circuitbreaker
import oci.retry.retry
import pytest
import yaml
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from devcluster.cluster import Cluster
from devcluster.layout import REPOSITORY
from devcluster.oracle.clock import FakeClock
from devcluster.oracle.pools import PoolSettings
from devcluster.oracle.running import running
from devcluster.oracle.signing import Credentials
from tests.api import chart
from tests.api.pools.api_server import ApiServer
from tests.api.pools.kills import Kills
from tests.api.pools.machines import Machines
from tests.api.pools.operator_life import Client
from tests.api.pools.world import PoolWorld

_numbers = itertools.count()
SIX_HOURS = 6 * 3600
SETTINGS = {"boot_seconds": 15.0, "delete_seconds": 12.0}
OpenWorld = Callable[..., Awaitable[PoolWorld]]


@pytest.fixture(scope="session")
def pools_served(control_plane: Cluster) -> Cluster:
    """The control plane, once it serves our kinds."""
    chart.apply(control_plane, *(yaml.safe_load(path.read_text()) for path in (REPOSITORY / "crds").glob("*.yaml")))
    names = [f"crd/{name}.masktrain.dev" for name in ("gpunodepools", "masktrainingjobs")]
    control_plane.kubectl("wait", "--for=condition=Established", *names, "--timeout=30s")
    return control_plane


@pytest.fixture(scope="session")
def api_server(pools_served: Cluster) -> Iterator[ApiServer]:
    opened = ApiServer(pools_served.kubeconfig)
    yield opened
    opened.close()


@pytest.fixture
async def client(pools_served: Cluster) -> AsyncIterator[Client]:
    """The operator's own."""
    configuration = Configuration()
    await config.load_kube_config(str(pools_served.kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
    api_client = ApiClient(configuration)
    yield Client(api_client)
    await api_client.close()  # type: ignore[no-untyped-call]


@pytest.fixture
def impatient_sdk(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The SDK's pauses between its own attempts take no time, and its circuit breaker lives on the clock returned.

    That starts hours ago, because the API server has a clock of its own: what it stamps must not look long past.
    """
    clock = FakeClock(time.time() - SIX_HOURS)
    retries = oci.retry.retry.ExponentialBackOffWithDecorrelatedJitterRetryStrategy
    monkeypatch.setattr(retries, "do_sleep", lambda *_: None)
    monkeypatch.setattr(circuitbreaker, "monotonic", clock.now)
    return clock


@pytest.fixture
async def open_world(
    api_server: ApiServer, client: Client, impatient_sdk: FakeClock, oci_credentials: Credentials
) -> AsyncIterator[OpenWorld]:
    """`await open_world(kills, **settings)`: an empty node pool with `settings`, and a namespace."""
    async with AsyncExitStack() as worlds:
        fakes = worlds.enter_context(ExitStack())

        async def opened(kills: Kills = Kills.NONE, **settings: object) -> PoolWorld:
            name, machines = f"pool-{next(_numbers)}", Machines(api_server, impatient_sdk)
            pool = PoolSettings(id=f"ocid1.nodepool.oc1.iad.{name.replace('-', '')}", **{**SETTINGS, **settings})  # type: ignore[arg-type]
            fake = fakes.enter_context(running((pool,), impatient_sdk, oci_credentials, machines))
            api_server.create("/api/v1/namespaces", {"metadata": {"name": name}})
            account = {"metadata": {"name": "default"}}
            api_server.create(f"/api/v1/namespaces/{name}/serviceaccounts", account)
            world = PoolWorld(api_server, client, fake, machines, name, kills)
            worlds.push_async_callback(world.end)
            return world

        yield opened
