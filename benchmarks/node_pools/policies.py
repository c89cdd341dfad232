"""The policies that are compared: the operator with several idle times, and others by their own rules."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from devcluster.simulation.oke import CloudSettings
from devcluster.simulation.world import OperatedWorld, Scaler, World, node_pool
from masktrain_operator.api.pool_spec import GPUNodePoolSpec

from .cluster_autoscaler import ClusterAutoscaler
from .karpenter import Karpenter
from .shapes import MAX_NODES

POOL = "gpu"
DEFAULT_IDLE_SECONDS: int = GPUNodePoolSpec.model_fields["idle_seconds"].default
IDLE_SECONDS = (0, 60, 120, 300, 600, 900)
CONSOLIDATE_AFTER = (0, 60, 300)
"""Karpenter's default first."""

WITHOUT_SURPRISES_SECONDS = 86_400.0
"""Nobody but the policy changes the pool."""


@dataclass(frozen=True)
class Policy:
    """`set_up` makes a world with one pool, and what scales it."""

    name: str
    set_up: Callable[[CloudSettings], tuple[World, Scaler]]


def _operated(idle_seconds: int, settings: CloudSettings) -> tuple[World, Scaler]:
    world = OperatedWorld({POOL: (node_pool(POOL, maxNodes=MAX_NODES, idleSeconds=idle_seconds), settings)})
    world.operator.longest_skip_seconds = WITHOUT_SURPRISES_SECONDS
    return world, world.operator


def _autoscaled(settings: CloudSettings) -> tuple[World, Scaler]:
    world = World()
    return world, ClusterAutoscaler(world.timeline, world.cluster, world.add_cloud(POOL, settings), MAX_NODES)


def _consolidated(seconds: int, settings: CloudSettings) -> tuple[World, Scaler]:
    world = World()
    cloud = world.add_cloud(POOL, settings)
    return world, Karpenter(world.timeline, world.cluster, cloud, MAX_NODES, consolidate_after=seconds)


OURS = {seconds: Policy(f"masktrain idleSeconds={seconds}", partial(_operated, seconds)) for seconds in IDLE_SECONDS}
CLUSTER_AUTOSCALER = Policy("cluster-autoscaler", _autoscaled)
KARPENTER = {
    seconds: Policy(f"karpenter consolidateAfter={seconds}s", partial(_consolidated, seconds))
    for seconds in CONSOLIDATE_AFTER
}
POLICIES = (*OURS.values(), CLUSTER_AUTOSCALER, *KARPENTER.values())
