"""The operator's loop over all its node pools: look, admit, plan, carry out, write down, as its shell does.

Between two looks it remembers nothing but the GPUNodePools themselves, and those only as the API server would store
them. So an operator that is killed after any of its actions is simply one that stops there.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from masktrain_operator.api.pool_status import GPUNodePoolStatus, NodeState
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.pools.admission import Admissions, admit
from masktrain_operator.core.pools.conditions import with_refused_writes
from masktrain_operator.core.pools.deadlines import next_change
from masktrain_operator.core.pools.failures.outcomes import Denial, Outcome, after_calls
from masktrain_operator.core.pools.inventory import record_removal
from masktrain_operator.core.pools.nodes import KubeNode, gpu_pod
from masktrain_operator.core.pools.oke import shortage_of
from masktrain_operator.core.pools.plan_pool import CALM_SECONDS, FLUX_SECONDS, plan_pool
from masktrain_operator.core.pools.scale_down import doom, objection, uncordon
from masktrain_operator.core.pools.snapshot import slots_of
from masktrain_operator.core.pools.types import NodePatch, ObservedPool, PoolContext, PoolPlan, Removal, Resize

from .cluster import Cluster, Conflict, Forbidden
from .oke import CloudPool, Refused, Stale
from .timeline import START, Timeline
from .workload import pod_manifest

WAKE_SECONDS = 0.5
"""From something that a watch tells to the look that it causes."""
AGAIN_SECONDS = 2.0
"""After a change at Oracle."""
STALE_SECONDS = 1.0
REFUSED_SECONDS = 30.0


class Killed(Exception):
    """The operator's process ends here."""


@dataclass(frozen=True)
class Resized:
    time: float
    pool: str
    before: int
    after: int


@dataclass(frozen=True)
class Removed:
    """`was_busy`, `was_healthy`: at the moment of the call; `healthy_left`: nodes after it that could work."""

    time: float
    pool: str
    instance_id: str
    by_hand: bool
    was_busy: bool
    was_healthy: bool
    healthy_left: int


@dataclass(frozen=True)
class Avoided:
    """A removal that the last look prevented."""

    time: float
    pool: str
    instance_id: str
    reason: str


Deed = Resized | Removed | Avoided


class PoolOperator:
    """`actions_left`: how many calls it may make before it is killed; None for a long life."""

    def __init__(
        self, timeline: Timeline, cluster: Cluster, clouds: Mapping[str, CloudPool], pools: Mapping[str, GPUNodePool]
    ) -> None:
        self._timeline, self._cluster, self._clouds = timeline, cluster, clouds
        self.pools = dict(pools)
        self.next_look = 0.0
        self.asked_for_look = math.inf
        """When its last plans wanted to look again; infinite if what they went by is out of date."""
        self.restart_seconds = 0.0
        """From its death until the next operator starts, which looks at everything."""
        self.actions_left: int | None = None
        self.deeds: list[Deed] = []
        self.plans: dict[str, PoolPlan] = {}
        self.admissions = Admissions()
        self.looks = 0
        self.before_last_look: Callable[[Removal], None] = lambda _: None
        """What happens between a plan and the last look before a removal."""
        self.after_look: Callable[[], None] = lambda: None
        self.longest_skip_seconds = 3600.0
        """People may do something at Oracle that nobody has announced."""
        self._acted = False
        self._refused: list[str] = []
        self._must_look_anew = False
        """Whether Oracle or the API server no longer shows what the last plan went by."""
        self._seen: dict[str, PoolContext] = {}

    def wake(self) -> None:
        self.next_look = min(self.next_look, self._timeline.seconds + WAKE_SECONDS)
        self.asked_for_look = math.inf

    def look(self) -> None:
        """At all pools, once."""
        self.looks += 1
        self._acted = self._must_look_anew = False
        try:
            waits = [self._serve(context) for context in self.contexts()]
        except Killed:
            self.next_look = self._timeline.seconds + self.restart_seconds
            self.asked_for_look = math.inf
            return
        self.next_look = self._timeline.seconds + min(waits, default=math.inf)
        self.asked_for_look = math.inf if self._must_look_anew else self.next_look
        self.after_look()

    def contexts(self) -> list[PoolContext]:
        """Of all pools at this moment; gangs whose nodes are all present get their Job."""
        bare = [self._context(name) for name in self.pools]
        self.admissions = self._admit(bare)
        self._create_jobs()
        self._stop_overspent()
        return [with_admissions(context, self.admissions) for context in bare]

    def contexts_at(self, seconds: float) -> list[PoolContext]:
        """What it would go by then if nothing happened any more and Oracle showed what it showed last."""
        now = START + timedelta(seconds=seconds)
        bare = [
            replace(seen, pool=self.pools[name], now=now, observed=replace(seen.observed, nodes=self._nodes(seen)))
            for name, seen in self._seen.items()
        ]
        admissions = self._admit(bare)
        return [with_admissions(context, admissions) for context in bare]

    def _admit(self, contexts: list[PoolContext]) -> Admissions:
        gangs = tuple(job.gang() for job in self._cluster.jobs.values())
        by_uid = {gang.job_uid: gang for gang in gangs}
        return admit(gangs, tuple(slots_of(context, by_uid) for context in contexts))

    def _nodes(self, seen: PoolContext) -> tuple[KubeNode, ...]:
        known = {entry.instance_id for entry in self.pools[seen.pool.metadata.name].status.nodes}
        return self._cluster.kube_nodes(known | set(seen.oke_nodes))

    def skip_idle_looks(self) -> None:
        """Move the next look to the first one that can find anything new, if the last one found nothing to do."""
        wait = self.next_look - self._timeline.seconds
        # Any other wait ends at a rule's own moment, which may not be skipped.
        if self._acted or wait not in (FLUX_SECONDS, CALM_SECONDS) or not all(map(_is_patient, self.plans.values())):
            return
        ahead = [self._seconds(moment) for name in self.pools if (moment := self._next_change(name)) is not None]
        latest = self._timeline.seconds + self.longest_skip_seconds
        steps = math.ceil((min((self._timeline.next_event, latest, *ahead)) - self._timeline.seconds) / wait)
        self.next_look = self._timeline.seconds + max(1, steps) * wait

    def _context(self, name: str) -> PoolContext:
        pool, cloud = self.pools[name], self._clouds[name]
        oke = cloud.view()
        known = {entry.instance_id for entry in pool.status.nodes}
        listed = {node.instance_id for node in oke.nodes if node.instance_id}
        new = (cloud.instance(instance) for instance in sorted(oke.alive_instances - known))
        observed = ObservedPool(
            oke=oke,
            nodes=self._cluster.kube_nodes(known | listed),
            instances={instance.id: instance for instance in new if instance is not None},
            ended=cloud.ended(known - listed),
        )
        return PoolContext(pool, observed, self._timeline.now)

    def _create_jobs(self) -> None:
        for placement in self.admissions.placements.values():
            job = self._cluster.jobs[placement.gang.job_uid]
            if placement.is_present and job.admitted_to is None:
                self._act()
                self._cluster.create_job(job, placement.pool)

    def _stop_overspent(self) -> None:
        for uid in self.admissions.overspent:
            self._act()
            self._cluster.cancel(self._cluster.jobs[uid])

    def _serve(self, context: PoolContext) -> float:
        name = context.pool.metadata.name
        self._seen[name] = context
        plan = self.plans[name] = plan_pool(context)
        try:
            status, outcome = self._carry_out(context, plan)
        except Conflict:
            self._must_look_anew = True
            return STALE_SECONDS
        if status is not None:
            status = after_calls(context, plan, status, outcome)
            self._write(name, with_refused_writes(status, self._refused, context.now))
        if plan.finalize:
            del self.pools[name], self._seen[name]
            return math.inf
        if self._refused:
            self._must_look_anew = True
            return REFUSED_SECONDS
        if outcome.denials:
            self._must_look_anew = True
            return REFUSED_SECONDS if any(denial.lasts for denial in outcome.denials) else STALE_SECONDS
        if plan.resize is not None or plan.removals:
            self._must_look_anew = True
            return AGAIN_SECONDS
        return math.inf if plan.requeue_after is None else plan.requeue_after

    def _carry_out(self, context: PoolContext, plan: PoolPlan) -> tuple[GPUNodePoolStatus | None, Outcome]:
        self._refused = [sentence for patch in plan.patches if (sentence := self._patch(patch))]
        cloud = self._clouds[context.pool.metadata.name]
        status, removed = plan.status, len(self.deeds)
        for removal in plan.removals:
            status = self._remove(cloud, removal, status)
        accepted = [deed.instance_id for deed in self.deeds[removed:] if isinstance(deed, Removed)]
        if plan.resize is None or accepted:
            return status, Outcome(accepted=accepted)
        denial = self._resize(cloud, plan.resize)
        return status, Outcome(() if denial is None else (denial,), resized=denial is None)

    def _resize(self, cloud: CloudPool, resize: Resize) -> Denial | None:
        self._act()
        before = cloud.size
        try:
            cloud.resize(resize.size, resize.etag)
        except Stale:
            return Denial("The node pool was changed meanwhile.", lasts=False)
        except Refused as refusal:
            error = refusal.error
            return Denial(error.message, lasts=True, is_limit=shortage_of(error.code, error.message) is not None)
        self.deeds.append(Resized(self._timeline.seconds, cloud.name, before, cloud.size))
        return None

    def _patch(self, patch: NodePatch) -> str | None:
        """Why it is refused, if it is."""
        self._act()
        told = self._cluster.has_changed
        try:
            self._cluster.patch(patch.name, patch.uid, patch.body, patch.resource_version)
        except Forbidden as refusal:
            return str(refusal)
        self._cluster.has_changed = told  # the watch takes the operator's own writes for old news
        return None

    def _remove(self, cloud: CloudPool, removal: Removal, status: GPUNodePoolStatus | None) -> GPUNodePoolStatus | None:
        self.before_last_look(removal)
        node = self._cluster.node_of_instance(removal.instance_id)
        pods = self._cluster.pods[node["metadata"]["name"]] if node else ()
        holders = (gpu_pod(pod_manifest(pod)) for pod in pods)
        reason = objection(removal, node, next(filter(None, holders), None))
        if reason is not None:
            self.deeds.append(Avoided(self._timeline.seconds, cloud.name, removal.instance_id, reason))
            if removal.node is not None and not removal.is_repeated:
                self._patch(replace(uncordon(removal.node), resource_version=None))
            return status
        mark = None if node is None else doom(removal, node)
        if mark is not None and self._patch(mark):
            return status
        self._act()
        machine = cloud.past[removal.instance_id]
        busy, healthy = self._cluster.is_busy(machine), machine.is_healthy
        request = cloud.delete_node(removal.instance_id)
        left = sum(other.is_healthy for other in cloud.machines)
        deed = Removed(self._timeline.seconds, cloud.name, removal.instance_id, machine.by_hand, busy, healthy, left)
        self.deeds.append(deed)
        return None if status is None else record_removal(status, removal.instance_id, request)

    def _write(self, name: str, status: GPUNodePoolStatus) -> None:
        acted = self._acted or _memory(status) != _memory(self.pools[name].status)
        # Writing down what has only grown older is an action that can be killed, but no reason to look again soon.
        self._act()
        self._acted = acted
        # By way of its JSON, in which times lose their fractions: plans have to stand what really comes back.
        self.pools[name] = self.pools[name].model_copy(update={"status": stored(status)})

    def _act(self) -> None:
        """Raises Killed instead of the action, once no more are left."""
        if self.actions_left is not None:
            if self.actions_left == 0:
                self.actions_left = None
                raise Killed
            self.actions_left -= 1
        self._acted = True

    def _next_change(self, name: str) -> datetime | None:
        context = replace(self._seen[name], pool=self.pools[name])
        return next_change(context, context.status)

    @staticmethod
    def _seconds(moment: datetime) -> float:
        return (moment - START).total_seconds()


def stored(status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    """As it comes back from the API server."""
    return GPUNodePoolStatus.model_validate(status.to_manifest())


def with_admissions(context: PoolContext, admissions: Admissions) -> PoolContext:
    name = context.pool.metadata.name
    observed = replace(context.observed, placements=admissions.of_pool(name), waiting_jobs=admissions.waiting_for(name))
    return replace(context, observed=observed)


def _memory(status: GPUNodePoolStatus) -> tuple[object, ...]:
    """What of a status later plans go by: all but the money, which grows with every look."""
    nodes = tuple((e.instance_id, e.state, e.joined_time, e.idle_since, e.removal_requested_time) for e in status.nodes)
    return (nodes, status.size, status.added_nodes, status.scale_up, status.backoff, tuple(status.recent_removals))


def _is_patient(plan: PoolPlan) -> bool:
    """Whether nothing of what it remembers runs out within seconds."""
    status = plan.status
    hasty = (NodeState.DRAINING, NodeState.LOST)
    return status is not None and status.scale_up is None and not any(entry.state in hasty for entry in status.nodes)
