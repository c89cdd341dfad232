"""All that one region holds, under one lock: the API's threads, the tests and the clock meet here."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .clock import Clock, Schedule, SystemClock
from .failures import Failures, not_found
from .life_cycle import LifeCycle, Machines, NoMachines
from .pools import Names, Node, Pool, PoolSettings, WorkRequest
from .records import CallLog, Ledger
from .tenancy.resources import Tenancy

DEFAULT_SEED = 7


class FakeCloud:
    """Node pools, instances and work requests of one tenancy."""

    def __init__(
        self,
        pools: tuple[PoolSettings, ...] = (),
        clock: Clock | None = None,
        machines: Machines | None = None,
        seed: int = DEFAULT_SEED,
    ) -> None:
        """Pools begin ACTIVE; those with a size fill up as after a resize."""
        self.clock = clock or SystemClock()
        self.schedule = Schedule(self.clock)
        self.names = Names(seed)
        self.failures = Failures()
        self.ledger = Ledger()
        self.log = CallLog()
        self.tenancy = Tenancy()
        self.pools: dict[str, Pool] = {}
        self.life_cycle = LifeCycle(
            self.schedule, self.names, self.failures, self.ledger, self.log, machines or NoMachines()
        )
        # Reentrant: a transition that runs while the cloud is settled may look at the cloud again.
        self._lock = threading.RLock()
        for settings in pools:
            self.add_pool(settings)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Hold the cloud still, everything due having happened."""
        with self._lock:
            self.schedule.settle()
            yield

    def settle(self) -> None:
        """Let everything happen that is due."""
        with self.settled():
            pass

    def add_pool(self, settings: PoolSettings) -> None:
        """Create a node pool."""
        with self.settled():
            pool = Pool(settings, size=settings.size, etag=self.names.etag())
            self.pools[settings.id] = pool
            if settings.size:
                self.life_cycle.reconcile(pool)

    def pool(self, pool_id: str) -> Pool:
        """The pool of that id. Raises ServiceError 404."""
        pool = self.pools.get(pool_id)
        if pool is None or pool.hidden:
            raise not_found(f"node pool {pool_id}")
        return pool

    def node(self, pool: Pool, instance_id: str) -> Node:
        """The pool's node of that instance. Raises ServiceError 404."""
        node = pool.node(instance_id)
        if node is None:
            raise not_found(f"node {instance_id}")
        return node

    def instances(self) -> list[Node]:
        """Every instance that ever existed, the terminated ones included, in order of creation."""
        present = [node for pool in self.pools.values() for node in pool.nodes if node.instance_id is not None]
        return sorted({*present, *self.life_cycle.gone}, key=lambda node: node.time_created)

    def instance(self, instance_id: str) -> Node:
        """The instance of that id. Raises ServiceError 404."""
        found = next((node for node in self.instances() if node.instance_id == instance_id), None)
        if found is None:
            raise not_found(f"instance {instance_id}")
        return found

    def work_requests(self) -> list[WorkRequest]:
        """All of them, newest first."""
        every = [request for pool in self.pools.values() for request in pool.work_requests]
        # Turned round afterwards: with `reverse=True` those accepted at one moment would keep the older one in front.
        return sorted(every, key=lambda request: request.time_accepted)[::-1]

    def work_request(self, request_id: str) -> WorkRequest:
        """The work request of that id. Raises ServiceError 404."""
        found = next((request for request in self.work_requests() if request.id == request_id), None)
        if found is None:
            raise not_found(f"work request {request_id}")
        return found
