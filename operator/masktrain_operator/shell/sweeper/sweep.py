"""The run over all pools, for as long as the operator gives no sign of life."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from masktrain_operator.core.pools.sweep import is_stale, sweepable
from masktrain_operator.core.types import Manifest
from masktrain_operator.shell.client import KubernetesClient
from masktrain_operator.shell.known_objects import KnownObjects
from masktrain_operator.shell.lease import lease_age
from masktrain_operator.shell.pools.board import PoolBoard
from masktrain_operator.shell.pools.clients import PoolClients
from masktrain_operator.shell.resources import JOBS, NODE_POOLS, NODES, PODS, TRAINING_JOBS
from masktrain_operator.shell.settings import CloudSettings
from masktrain_operator.shell.status_writer import StatusWriter
from masktrain_operator.shell.write_rate import WriteRate

from .pool_sweep import PoolRefused, PoolSweep

LOOK_AGAIN_SECONDS = 3.0
NEEDED_KINDS = (NODE_POOLS, TRAINING_JOBS, JOBS, PODS, NODES)


@dataclass(frozen=True)
class Limits:
    """`stale`: how long without a sign of life the operator counts as gone; `seconds`: for the whole run."""

    stale: timedelta
    seconds: float


class Sweep:
    """One run. Whatever it leaves undone is left to the next one."""

    def __init__(
        self,
        client: KubernetesClient,
        clients: PoolClients,
        settings: CloudSettings,
        limits: Limits,
        tell: Callable[[str], None],
    ) -> None:
        """`tell` takes what a person should read, a line at a time."""
        self._client = client
        self._namespace = settings.namespace
        self._limits = limits
        self._tell = tell
        self._known = KnownObjects()
        self._refusals: dict[str, str] = {}
        self._pool_sweep = PoolSweep(
            client=client,
            known=self._known,
            board=PoolBoard(self._known, lambda: datetime.now(UTC)),
            clients=clients,
            status=StatusWriter(client, self._known, WriteRate(1), time.monotonic, NODE_POOLS),
            tell=tell,
        )

    async def run(self) -> list[str]:
        """Why pools could not be swept, a sentence for each. Raises what `shell.refusals` lists."""
        deadline = time.monotonic() + self._limits.seconds
        while not await self._operator_lives():
            if not await self._round() or time.monotonic() > deadline:
                break
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return list(self._refusals.values())

    async def _operator_lives(self) -> bool:
        age = await self._lease_age()
        if is_stale(age, self._limits.stale):
            return False
        self._tell(f"The operator is alive, its Lease was renewed {_seconds(age)} s ago: nothing to do in its place.")
        return True

    async def _round(self) -> bool:
        """Whether another one is needed."""
        await self._known.refresh(self._client, (), NEEDED_KINDS)
        again = [await self._look_at(body) for body in list(sweepable(self._known.node_pools))]
        return any(again)

    async def _look_at(self, body: Manifest) -> bool:
        """A pool that was refused is left to the next run, all of them to an operator that has come back."""
        uid = body["metadata"]["uid"]
        if uid in self._refusals:
            return False
        if not is_stale(await self._lease_age(), self._limits.stale):
            return True
        try:
            return await self._pool_sweep(body)
        except PoolRefused as reason:
            self._refusals[uid] = str(reason)
            return False

    async def _lease_age(self) -> timedelta | None:
        return await lease_age(self._client, self._namespace, datetime.now(UTC))


def _seconds(age: timedelta | None) -> int:
    return 0 if age is None else max(0, round(age.total_seconds()))
