"""All gangs and all pools at one moment, as admission sees them, and what it answers to one job.

Every node of a pool is a slot; a pool also says what it may grow by, and why it does not grow now. A snapshot is a
value: two equal ones have the same admissions, so that whoever keeps the last one admits once per change.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.pool_spec import GPUNodePoolSpec
from masktrain_operator.api.pool_status import GPUNodePoolStatus, NodeState, PoolNodeStatus
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.gangs import Gang
from masktrain_operator.core.shapes import GPUS, Fit, check_shape, gpu_name
from masktrain_operator.core.types import Capacity, NodeRate

from .admission import Admissions, Placement, admit
from .deadlines import is_backing_off, is_due, is_paused, next_change, provisioning_timeout
from .inventory import take_inventory
from .nodes import KubeNode
from .packing import NamespaceRules, NodeSlot, PoolSlots
from .types import PoolContext

SHAPE_LABEL = "node.kubernetes.io/instance-type"
ARCHITECTURE_LABEL = "kubernetes.io/arch"
ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
CAPABILITY_LABELS = ("nvidia.com/gpu.compute.major", "nvidia.com/gpu.compute.minor")
MOST_GPUS = 16
"""Of any shape: a pool of which nothing is known yet is not refused for having too few."""
PRESENT = (NodeState.BUSY, NodeState.IDLE, NodeState.DRAINING)
NOT_ASKED = "Oracle has not been asked yet"


@dataclass(frozen=True)
class Snapshot:
    gangs: tuple[Gang, ...] = ()
    pools: tuple[PoolSlots, ...] = ()

    @cached_property
    def admissions(self) -> Admissions:
        return admit(self.gangs, self.pools)

    @property
    def changes(self) -> datetime | None:
        """When admission may answer otherwise although nothing happens."""
        return min((pool.changes for pool in self.pools if pool.changes is not None), default=None)


def slots_of(context: PoolContext, gangs: Mapping[str, Gang], silence: str | None = None) -> PoolSlots:
    """Of a pool that Oracle has shown. `silence`: why it shows the pool no more, if so.

    `gangs`: by the uid of their jobs; admission accounts for their pods itself. All other pods only take GPUs away.
    """
    oke, spec, inventory = context.observed.oke, context.pool.spec, take_inventory(context)
    obstacle = silence or _obstacle(context, inventory)
    standing = len(oke.alive_instances) + oke.coming
    return PoolSlots(
        name=context.pool.metadata.name,
        gpus_per_node=context.gpus_per_node or 0,
        slots=tuple(_slots(context, inventory, gangs)),
        growable=0 if obstacle else max(0, spec.max_nodes - standing),
        # Nodes that people added beyond maxNodes can hold a gang as well.
        limit=0 if context.is_deleting else max(spec.max_nodes, standing),
        hourly_rate=context.tariff.hourly_rate,
        node_labels=_labels_of(oke.shape),
        maker=_maker(oke.shape),
        obstacle=obstacle,
        rules=_rules(context, inventory),
        unsupported=_unsupported(oke.shape),
        takes_own_images=spec.skip_shape_check,
        changes=next_change(context, inventory),
    )


def unobserved_slots(pool: GPUNodePool, obstacle: str | None) -> PoolSlots:
    """A pool of which nothing is known but its own resource: whoever suits it has to wait for an answer."""
    status = pool.status
    return PoolSlots(
        name=pool.metadata.name,
        gpus_per_node=pool.spec.gpus_per_node or status.gpus_per_node or MOST_GPUS,
        limit=pool.spec.max_nodes,
        hourly_rate=Decimal(status.hourly_rate) if status.hourly_rate else None,
        node_labels=_labels_of(status.shape) if status.shape else {},
        maker=_maker(status.shape) if status.shape else None,
        obstacle=obstacle or NOT_ASKED,
        rules=_without_limits(pool.spec),
        unsupported=_unsupported(status.shape) if status.shape else None,
        takes_own_images=pool.spec.skip_shape_check,
    )


def _labels_of(shape: str) -> Mapping[str, str]:
    """Those that are known of its Nodes before there is one. NVIDIA's are set by its GPU feature discovery."""
    found, gpu = {SHAPE_LABEL: shape}, gpu_name(shape)
    if gpu is None:
        return found
    found[ARCHITECTURE_LABEL] = ARCHITECTURES[GPUS[gpu].cpu]
    capability = GPUS[gpu].capability
    return found if capability is None else found | dict(zip(CAPABILITY_LABELS, map(str, capability), strict=True))


def _maker(shape: str) -> str | None:
    gpu = gpu_name(shape)
    return None if gpu is None else GPUS[gpu].maker


def capacity_of(job_uid: str, admissions: Admissions, pools: Collection[GPUNodePool], now: datetime) -> Capacity | None:
    """What the pools answer to the job; None if it is not for pools."""
    placement = admissions.placements.get(job_uid)
    if placement is not None:
        pool = next(pool for pool in pools if pool.metadata.name == placement.pool)
        return _capacity(placement, pool, now)
    refusal = admissions.refusals.get(job_uid)
    return None if refusal is None else Capacity(is_ready=False, reason=refusal.reason, message=refusal.message)


def node_rates(names: Iterable[str], pools: Iterable[GPUNodePool]) -> Mapping[str, NodeRate]:
    """Of those Nodes that belong to a pool with a price."""
    wanted = set(names)
    return {
        entry.name: NodeRate(Decimal(pool.status.hourly_rate), pool.status.gpus_per_node, entry.created_time)
        for pool in pools
        for entry in pool.status.nodes
        if entry.name in wanted and pool.status.hourly_rate and pool.status.gpus_per_node
    }


def _slots(context: PoolContext, inventory: GPUNodePoolStatus, gangs: Mapping[str, Gang]) -> Iterator[NodeSlot]:
    """Those that are paid for longest come first, so that what is removed is what costs."""
    present = []
    for entry in sorted(inventory.nodes, key=lambda entry: entry.created_time, reverse=True):
        node = context.kube_node_of(entry)
        if entry.state in PRESENT and node is not None:
            present.append(_on_node(context, entry, node, gangs))
    # The fullest first (the sort is stable): small gangs share nodes, and empty ones may go.
    yield from sorted(present, key=lambda slot: slot.free_gpus)
    gpus = context.gpus_per_node or 0
    for entry in inventory.nodes:
        if entry.state is NodeState.BOOTING and not is_due(provisioning_timeout(context, entry), context.now):
            yield NodeSlot(entry.instance_id, gpus, present=False)
    for number in range(context.observed.oke.coming):
        yield NodeSlot(f"coming-{number}", gpus, present=False)


def _on_node(context: PoolContext, entry: PoolNodeStatus, node: KubeNode, gangs: Mapping[str, Gang]) -> NodeSlot:
    """A node that is not ready for a moment, was just cordoned by the operator, or whose pods nobody has looked at yet
    is on its way, like one that boots: what will fit there needs no other node. One that a person cordoned is closed.
    """
    taken = _taken(node, gangs)
    gpus = node.gpus or context.gpus_per_node or 0
    cordoned_by_person = node.cordoned and node.removal_begun is None
    on_its_way = node.pods is None or not node.is_usable or entry.state is NodeState.DRAINING
    has_future = entry.failure is None and entry.unlisted_time is None
    is_open = has_future and not cordoned_by_person and not context.is_deleting
    return NodeSlot(
        node.name,
        max(0, gpus - taken.total()),
        open=is_open,
        present=not on_its_way,
        gpus=gpus,
        taken=tuple(sorted(taken.items())),
    )


def _taken(node: KubeNode, gangs: Mapping[str, Gang]) -> Counter[str]:
    """GPUs by namespace, without those that admission counts for a gang: one rank of it for each node."""
    taken: Counter[str] = Counter()
    by_job: Counter[tuple[str, str | None]] = Counter()
    for pod in node.pods or ():
        by_job[pod.namespace, pod.job_uid] += pod.gpus
    for (namespace, uid), gpus in by_job.items():
        gang = gangs.get(uid or "")
        counted = gang.gpus_per_node if gang is not None and node.name in gang.placed_on else 0
        if gpus > counted:
            taken[namespace] += gpus - counted
    return taken


def _unsupported(shape: str) -> str | None:
    check = check_shape(shape)
    if check.fit is not Fit.NOT_SUPPORTED:
        return None
    return f"{check.sentence}: name a pool of another shape, or one whose skipShapeCheck lets your own image in."


def _without_limits(spec: GPUNodePoolSpec) -> NamespaceRules:
    classes = spec.allowed_priority_classes
    return NamespaceRules(
        allowed=spec.allowed_namespaces,
        priority_classes=None if classes is None else tuple(classes),
        max_nodes=spec.namespace_limits.nodes,
    )


def _rules(context: PoolContext, inventory: GPUNodePoolStatus) -> NamespaceRules:
    limit = context.pool.spec.namespace_limits.monthly_cost
    sentence = (
        f"{{}} has spent the {limit} USD that a namespace may spend on GPUNodePool {context.pool.metadata.name} "
        f"in {context.now:%Y-%m} (namespaceLimits.monthlyCost)."
    )
    spent = {name: sentence.format(f"Namespace {name}") for name in sorted(context.overspent)}
    rules = _without_limits(context.pool.spec)
    # Only where it counts: who holds what changes often, and would make another snapshot of the same answers.
    held = {} if rules.max_nodes is None else _held(context, inventory)
    return replace(rules, held=held, spent=spent)


def _held(context: PoolContext, inventory: GPUNodePoolStatus) -> Mapping[str, frozenset[str]]:
    """By namespace, names of the slots that are charged to it, and of its instances that are none any more."""
    held: defaultdict[str, set[str]] = defaultdict(set)
    for entry in inventory.nodes:
        node = context.kube_node_of(entry)
        is_slot = entry.state in PRESENT and node is not None
        for namespace in entry.namespaces:
            held[namespace].add(node.name if is_slot and node is not None else entry.instance_id)
    for number, namespace in enumerate(inventory.coming_for[: context.observed.oke.coming]):
        if namespace:
            held[namespace].add(f"coming-{number}")
    return {namespace: frozenset(names) for namespace, names in held.items()}


def _obstacle(context: PoolContext, inventory: GPUNodePoolStatus) -> str | None:
    if context.is_deleting:
        return "it is being deleted"
    if is_paused(context):
        return "it is paused"
    if context.is_refused:
        return "no image runs on its shape"
    if context.gpus_per_node is None:
        return f"shape {context.observed.oke.shape} is unknown, set gpusPerNode"
    if inventory.backoff is not None and is_backing_off(inventory, context.now):
        return f"{inventory.backoff.message} Next try at {inventory.backoff.until:%H:%M:%SZ}"
    return None


def _capacity(placement: Placement, pool: GPUNodePool, now: datetime) -> Capacity:
    names = placement.node_names
    kept = [entry for entry in pool.status.nodes if entry.name in names or entry.instance_id in names]
    return Capacity(
        is_ready=placement.is_present,
        reason=Reason.WAITING_FOR_NODES,
        message=f"{placement.gang.nodes} nodes of GPUNodePool {placement.pool} are being made ready.",
        pool=placement.pool,
        hourly_rate=Decimal(pool.status.hourly_rate) if pool.status.hourly_rate else None,
        reserved=tuple(_came_for(entry, placement.gang) for entry in kept if entry.created_time <= now),
        gpus_per_node=pool.status.gpus_per_node or 0,
    )


def _came_for(entry: PoolNodeStatus, gang: Gang) -> datetime | None:
    """Since its creation, of a node that came after the job and that nobody has used yet."""
    used = entry.busy_seconds > 0 or entry.busy_since is not None
    return None if used or entry.created_time < gang.created else entry.created_time
