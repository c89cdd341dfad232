"""A whole simulated world: node pools at Oracle, a cluster, and somebody who scales them."""

from collections.abc import Mapping
from typing import Any, Protocol

from masktrain_operator.api import labels
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.pools.plan_pool import plan_pool
from masktrain_operator.core.pools.types import PoolPlan, Removal

from .cluster import Cluster
from .oke import CloudPool, CloudSettings, Machine, Usage, usage_of
from .pool_operator import Avoided, PoolOperator, Removed, Resized
from .timeline import START, Timeline
from .workload import TrainingJob

RACER_SECONDS = 100.0
"""How long a pod runs that got in between."""


class Scaler(Protocol):
    """Grows and shrinks pools when its time comes."""

    next_look: float

    def wake(self) -> None: ...

    def look(self) -> None: ...

    def skip_idle_looks(self) -> None: ...


def node_pool(name: str, **spec: Any) -> GPUNodePool:
    """A GPUNodePool as the API server would hold it; `spec` is in the manifest's words."""
    return GPUNodePool.parse(
        {
            "metadata": {"name": name, "uid": f"uid-of-{name}", "creationTimestamp": START.isoformat()},
            "spec": {"nodePoolId": f"ocid1.nodepool.{name}", "region": "us-ashburn-1", "maxNodes": 4, **spec},
        }
    )


class World:
    """What the weather is like is up to the test: it cuts power, ends pods and lets time pass."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.cluster = Cluster(self.timeline)
        self.clouds: dict[str, CloudPool] = {}
        self._jobs = 0

    def add_cloud(self, name: str, settings: CloudSettings) -> CloudPool:
        self.clouds[name] = CloudPool(name, self.timeline, self.cluster, settings)
        return self.clouds[name]

    def run(self, scaler: Scaler, seconds: float, *, skipping: bool = False) -> None:
        """Let time pass; `skipping` leaves out looks that could find nothing new."""
        end = self.timeline.seconds + seconds
        while min(self.timeline.next_event, scaler.next_look) <= end:
            # At the same moment the world moves first: a look sees all that has happened by then.
            if self.timeline.next_event <= scaler.next_look:
                self.timeline.run_to(self.timeline.next_event)
                self._tell(scaler)
            else:
                self.timeline.run_to(scaler.next_look)
                scaler.look()
                self._tell(scaler)
                if skipping:
                    scaler.skip_idle_looks()
        self.timeline.run_to(end)

    def usage(self, minimum_seconds: Mapping[str, float]) -> Usage:
        """Node seconds of all pools; `minimum_seconds`: billed at least, by pool."""
        total = Usage()
        for name, cloud in self.clouds.items():
            for machine in cloud.past.values():
                total += usage_of(machine, self.timeline.seconds, minimum_seconds[name])
        return total

    def _tell(self, scaler: Scaler) -> None:
        if self.cluster.has_changed:
            self.cluster.has_changed = False
            scaler.wake()


class OperatedWorld(World):
    """A world in which the operator does the scaling."""

    def __init__(self, pools: Mapping[str, tuple[GPUNodePool, CloudSettings]]) -> None:
        super().__init__()
        for name, (_, settings) in pools.items():
            self.add_cloud(name, settings)
        resources = {name: pool for name, (pool, _) in pools.items()}
        self.operator = PoolOperator(self.timeline, self.cluster, self.clouds, resources)

    def wait(self, seconds: float, *, skipping: bool = False) -> None:
        self.run(self.operator, seconds, skipping=skipping)

    def submit(self, **job: Any) -> TrainingJob:
        self._jobs += 1
        made = TrainingJob(**{"name": f"job-{self._jobs}", **job})
        self.cluster.submit(made)
        self._tell(self.operator)
        return made

    def plan_again(self, pool: str) -> PoolPlan:
        """What the operator would do if it looked at this very moment."""
        context = next(s for s in self.operator.contexts() if s.pool.metadata.name == pool)
        return plan_pool(context)

    def plans_at(self, seconds: float) -> list[PoolPlan]:
        """What the operator would do at that moment of the timeline, if nothing happened until then."""
        return list(map(plan_pool, self.operator.contexts_at(seconds)))

    def race(self, gpus: int) -> None:
        """A scheduler that has not seen the next removal's cordon binds a pod between the plan and the last look."""

        def bind(removal: Removal) -> None:
            self.operator.before_last_look = lambda _: None
            if removal.node is not None:
                pod = self.cluster.start_foreign_pod(removal.node.name, gpus, despite_cordon=True)
                self.timeline.after(RACER_SECONDS, lambda: self.cluster.end_pod(pod) if pod else None)

        self.operator.before_last_look = bind

    def machines(self, pool: str) -> list[Machine]:
        """Those that are paid for."""
        return [machine for machine in self.clouds[pool].past.values() if machine.is_paid]

    def agree_on_whose_machines(self, pool: str) -> None:
        """Machines that came together are alike: take the operator's word for which of them people added."""
        for entry in self.operator.pools[pool].status.nodes:
            self.clouds[pool].past[entry.instance_id].by_hand = not entry.added_by_operator

    def change(self, pool: str, **spec: Any) -> None:
        """A person edits the GPUNodePool."""
        old = self.operator.pools[pool]
        self.operator.pools[pool] = old.model_copy(update={"spec": old.spec.model_copy(update=spec)})
        self.operator.wake()

    def annotate(self, pool: str, **annotations: str) -> None:
        """A person sets these annotations of the GPUNodePool, and no others."""
        old = self.operator.pools[pool]
        found = {f"{labels.GROUP}/{key}": value for key, value in annotations.items()}
        metadata = old.metadata.model_copy(update={"annotations": found})
        self.operator.pools[pool] = old.model_copy(update={"metadata": metadata})
        self.operator.wake()

    def delete(self, pool: str) -> None:
        """A person deletes the GPUNodePool, which goes once the operator lets it."""
        old = self.operator.pools[pool]
        metadata = old.metadata.model_copy(update={"deletion_timestamp": self.timeline.now})
        self.operator.pools[pool] = old.model_copy(update={"metadata": metadata})
        self.operator.wake()

    def forget_status(self, pool: str) -> None:
        """The GPUNodePool is deleted with its nodes left, and made anew."""
        old = self.operator.pools[pool]
        self.operator.pools[pool] = old.model_copy(update={"status": type(old.status)()})

    @property
    def resizes(self) -> list[Resized]:
        return [deed for deed in self.operator.deeds if isinstance(deed, Resized)]

    @property
    def removals(self) -> list[Removed]:
        return [deed for deed in self.operator.deeds if isinstance(deed, Removed)]

    @property
    def avoided(self) -> list[Avoided]:
        return [deed for deed in self.operator.deeds if isinstance(deed, Avoided)]


def one_pool(name: str = "gpu", cloud: CloudSettings | None = None, **spec: Any) -> OperatedWorld:
    """A world with one pool of at most four nodes with two GPUs."""
    return OperatedWorld({name: (node_pool(name, **spec), cloud or CloudSettings())})
