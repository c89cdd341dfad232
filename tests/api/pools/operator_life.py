"""All that the operator holds in memory, from its start to its end."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from masktrain_operator.core.types import Manifest
from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.client import NODE_POOLS, NODES, KubernetesClient, ResourceKind
from masktrain_operator.shell.events import EventRecorder
from masktrain_operator.shell.pools.apply_pool import PoolApplier
from masktrain_operator.shell.pools.observe_pool import PoolObserver
from masktrain_operator.shell.pools.pool_cache import PoolCache
from masktrain_operator.shell.pools.reconcile_pool import PoolReconciler
from masktrain_operator.shell.status_writer import StatusWriter, WriteRate
from tests.api.pools.kills import Executioner, MortalClients


class Client(KubernetesClient):
    """`before_last_look` is called once, just before the operator reads one Node by its name."""

    before_last_look: Callable[[], None] | None = None

    async def get(self, kind: ResourceKind, namespace: str | None, name: str) -> Manifest | None:
        if kind is NODES and self.before_last_look is not None:
            hook, self.before_last_look = self.before_last_look, None
            hook()
        return await super().get(kind, namespace, name)


class OperatorLife:
    """The parts that the controller wires together for node pools, on the clock of the tests."""

    def __init__(
        self,
        client: KubernetesClient,
        namespace: str,
        endpoint: str,
        clock: Callable[[], float],
        executioner: Executioner,
        watched: Sequence[str] = (),
    ) -> None:
        """`watched`: namespaces besides its own whose jobs it serves."""

        def now() -> datetime:
            return datetime.fromtimestamp(clock(), UTC)

        self._client, self._namespaces = client, (namespace, *watched)
        self.known = KnownObjects()
        self.pools = PoolCache(self.known, now)
        self._clients = MortalClients(client, namespace, endpoint, executioner)
        self.reconcile = PoolReconciler(
            client=client,
            known=self.known,
            pools=self.pools,
            clients=self._clients,
            observer=PoolObserver(client, self.known, clock, now),
            applier=PoolApplier(client, self.known),
            status=StatusWriter(client, self.known, WriteRate(1), clock, kind=NODE_POOLS),
            events=EventRecorder(client),
            wake_waiting_jobs=lambda: None,
            clock=clock,
        )

    async def refresh(self) -> None:
        """What the watches tell."""
        await self.known.refresh(self._client, self._namespaces)

    async def end(self) -> None:
        await self._clients.close()
