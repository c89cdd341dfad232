"""One look at one node pool in the operator's place."""

from collections.abc import Callable

from pydantic import ValidationError

from masktrain_operator.api.gpu_node_pool import GPUNodePool
from masktrain_operator.core.pools.pool_story import removals_told
from masktrain_operator.core.pools.sweep import is_under_way, sweep_plan
from masktrain_operator.core.types import Event, Manifest
from masktrain_operator.shell.client import ApiError, KubernetesClient
from masktrain_operator.shell.events import EventRecorder
from masktrain_operator.shell.known_objects import KnownObjects
from masktrain_operator.shell.oci.errors import OciError
from masktrain_operator.shell.pools.apply_pool import PoolApplier
from masktrain_operator.shell.pools.board import PoolBoard
from masktrain_operator.shell.pools.clients import PoolClients
from masktrain_operator.shell.pools.observe_pool import PoolObserver
from masktrain_operator.shell.pools.reconcile_pool import PASSING
from masktrain_operator.shell.refusals import sentence
from masktrain_operator.shell.resources import NODE_POOLS
from masktrain_operator.shell.status_writer import StatusWriter
from masktrain_operator.shell.work_queue import RetryAfter


class PoolRefused(Exception):
    """Nothing can be done for this pool now; the message says why."""


class PoolSweep:
    """Called with a GPUNodePool, again and again until nothing of it is under way."""

    def __init__(
        self,
        *,
        client: KubernetesClient,
        known: KnownObjects,
        board: PoolBoard,
        clients: PoolClients,
        status: StatusWriter,
        tell: Callable[[str], None],
    ) -> None:
        """`tell` is given one line for each node whose removal Oracle has accepted."""
        self._board = board
        self._clients = clients
        self._status = status
        self._tell = tell
        self._observer = PoolObserver(client, known)
        self._applier = PoolApplier(client, known)
        self._events = EventRecorder(client)

    async def __call__(self, body: Manifest) -> bool:
        """Whether the pool should be looked at again soon. Raises PoolRefused."""
        name = body["metadata"]["name"]
        try:
            return await self._sweep(body, GPUNodePool.parse(body))
        except RetryAfter:
            return True
        except OciError as error:
            if error.kind in PASSING:
                return True
            raise PoolRefused(f"{NODE_POOLS.kind} {name}: {error.sentence}") from None
        except ApiError as error:
            raise PoolRefused(f"{NODE_POOLS.kind} {name}: {sentence(error)}") from None
        except ValidationError as error:
            raise PoolRefused(f"{NODE_POOLS.kind} {name} cannot be read: {error.errors()[0]['msg']}.") from None

    async def _sweep(self, body: Manifest, pool: GPUNodePool) -> bool:
        oracle = await self._clients.of(pool)
        seen = await self._observer.look(pool, oracle)
        self._board.put(pool.metadata.uid, seen)
        situation = self._board.planned_situation(pool, seen)
        plan = sweep_plan(situation)
        status = await self._applier.apply(pool, plan, oracle)
        if status is None:
            return False
        removed = removals_told(plan, status)
        self._tell_all(pool, removed)
        await self._status.write(body, status.to_manifest())
        for event in (*plan.events, *removed):
            await self._events.record(body, event)
        return is_under_way(situation, plan, status)

    def _tell_all(self, pool: GPUNodePool, removed: list[Event]) -> None:
        for event in removed:
            self._tell(f"{NODE_POOLS.kind} {pool.metadata.name}: {event.message}")
