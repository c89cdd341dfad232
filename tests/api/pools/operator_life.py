"""All that the operator holds in memory, from its start to its end."""

from collections.abc import Callable
from datetime import UTC, datetime

from masktrain_operator.shell.client import KubernetesClient
from masktrain_operator.shell.events import EventRecorder
from masktrain_operator.shell.known_objects import KnownObjects
from masktrain_operator.shell.pools.apply_pool import PoolApplier
from masktrain_operator.shell.pools.board import PoolBoard
from masktrain_operator.shell.pools.observe_pool import PoolObserver
from masktrain_operator.shell.pools.reconcile_pool import PoolReconciler
from masktrain_operator.shell.resources import NODE_POOLS
from masktrain_operator.shell.status_writer import StatusWriter
from masktrain_operator.shell.write_rate import WriteRate
from tests.api.pools.kills import Executioner, MortalClients


class OperatorLife:
    """The parts that the controller wires together for node pools, on the clock of the tests."""

    def __init__(
        self,
        client: KubernetesClient,
        namespace: str,
        endpoint: str,
        clock: Callable[[], float],
        executioner: Executioner,
    ) -> None:
        def now() -> datetime:
            return datetime.fromtimestamp(clock(), UTC)

        self._client, self._namespace = client, namespace
        self.known = KnownObjects()
        self.board = PoolBoard(self.known, now)
        self._clients = MortalClients(client, namespace, endpoint, executioner)
        self.reconcile = PoolReconciler(
            client=client,
            known=self.known,
            board=self.board,
            clients=self._clients,
            observer=PoolObserver(client, self.known, clock, now),
            applier=PoolApplier(client, self.known),
            status=StatusWriter(client, self.known, WriteRate(1), clock, NODE_POOLS),
            events=EventRecorder(client),
            wake_waiting_jobs=lambda: None,
            clock=clock,
        )

    async def refresh(self) -> None:
        """What the watches tell."""
        await self.known.refresh(self._client, [self._namespace])

    async def end(self) -> None:
        await self._clients.close()
