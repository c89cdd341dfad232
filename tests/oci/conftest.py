"""Node pools of the fake cloud, as the operator reaches them."""

import asyncio
from collections.abc import Iterator

import pytest

from devcluster.oracle.clock import FakeClock
from devcluster.oracle.running import FakeOci
from masktrain_operator.api.pool_spec import PoolAuth
from masktrain_operator.core.pools.oke import OkeNode
from masktrain_operator.shell.oci.access import OciAccess
from masktrain_operator.shell.oci.client import NodePools
from tests.devcluster.fixtures import POOL

A_DAY = 86_400.0


def access_to(fake: FakeOci[FakeClock], **changes: str) -> OciAccess:
    """By the Secret of the fake's only user, with `changes`."""
    config = fake.sdk_config
    secret = {name: config[name] for name in ("tenancy", "user", "fingerprint")} | {"key": config["key_content"]}
    return OciAccess(PoolAuth.CONFIG_SECRET, config["region"], secret | changes, fake.endpoint)


class Pool:
    """The fake's pool in the middle of its life: what the tests do to get there."""

    def __init__(self, fake: FakeOci[FakeClock], node_pools: NodePools) -> None:
        self.fake = fake
        self._node_pools = node_pools

    async def grow(self, size: int) -> tuple[OkeNode, ...]:
        """Resize, and wait until the nodes are there."""
        pool = await self._node_pools.get_pool(POOL.id)
        await self._node_pools.resize(POOL.id, size, pool.etag)
        await self.wait()
        return (await self._node_pools.get_pool(POOL.id)).nodes

    async def wait(self, seconds: float = A_DAY) -> None:
        await asyncio.to_thread(self.fake.clock.advance, seconds)


@pytest.fixture
def node_pools(fake_oci: FakeOci[FakeClock]) -> Iterator[NodePools]:
    opened = NodePools(access_to(fake_oci))
    yield opened
    opened.close()


@pytest.fixture
def pool(fake_oci: FakeOci[FakeClock], node_pools: NodePools) -> Pool:
    return Pool(fake_oci, node_pools)
