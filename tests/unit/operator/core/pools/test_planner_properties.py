"""What holds for every pool in every weather: hypothesis makes jobs, people and Oracle do things in any order.

The operator plans when a watch would wake it and when its own requeue is due, never just because: a moment that it has
forgotten to ask for shows.
"""

import math
from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from devcluster.simulation.oke import NO_LIMIT, OUT_OF_CAPACITY, CloudSettings, Machine
from devcluster.simulation.world import one_pool
from masktrain_operator.api.pool_status import GPUNodePoolStatus
from masktrain_operator.core.pools.types import PoolPlan

MAX_NODES = 4
SETTLED = 400.0
TO_REST = 4 * 3600.0
NEVER = 1e9
"""A job whose pods never start: their image cannot be pulled, and they hold their GPUs until somebody deletes them."""
GANGS = st.fixed_dictionaries(
    {
        "nodes": st.integers(1, 3),
        "gpus_per_node": st.integers(1, 2),
        "seconds": st.sampled_from([20.0, 300.0, 4000.0, NEVER]),
        "priority": st.sampled_from([0, 0, 0, 5]),
    }
)

SPECS = st.fixed_dictionaries(
    {
        "minNodes": st.sampled_from([0, 0, 1]),
        "idleSeconds": st.sampled_from([0, 60, 60, 300]),
        "minimumBilledSeconds": st.sampled_from([None, 0, 3600]),
        "hourlyPrice": st.sampled_from([None, "2.5"]),
        "provisioningTimeoutSeconds": st.sampled_from([400, 1200]),
        "scaleDown": st.sampled_from([{}, {"maxRemovalsPerMinute": 1}]),
    }
)
CLOUDS = st.builds(
    CloudSettings,
    shape=st.sampled_from(["VM.GPU.A10.2", "VM.GPU.NEW.2"]),
    preemptible=st.booleans(),
    accept_seconds=st.sampled_from([2.0, 3.7]),
    terminate_seconds=st.sampled_from([45.2, 60.0]),
)
"""One shape is not in the price table: it has no price. Odd times do not fall on the operator's own by accident."""


def makes_no_change(plan: PoolPlan) -> bool:
    return not (plan.patches or plan.resize or plan.removals or plan.events or plan.finalize)


def memory(status: GPUNodePoolStatus) -> tuple[object, ...]:
    """What later plans go by; the money grows all the time."""
    nodes = [(entry.instance_id, entry.state, entry.removal_requested_time) for entry in status.nodes]
    conditions = [(condition.type, condition.status) for condition in status.conditions]
    return status.scale_up, status.backoff, status.added_nodes, nodes, conditions


class LifeOfAPool(RuleBasedStateMachine):
    """One pool. People add machines only while nothing is coming."""

    def __init__(self) -> None:
        super().__init__()
        self.world = one_pool()
        self.min_nodes = self.by_hand = self.reclaimed = 0
        self.is_deleted = False

    @initialize(spec=SPECS, cloud=CLOUDS, at_work=st.integers(0, 2), first_joins=st.booleans())
    def a_pool_is_created(self, spec: dict[str, Any], cloud: CloudSettings, at_work: int, first_joins: bool) -> None:
        """Sometimes long ago, so that it has nodes."""
        self.world = one_pool(cloud=cloud, maxNodes=MAX_NODES, gpusPerNode=2, **spec)
        self.min_nodes = spec["minNodes"]
        self.world.operator.after_look = self.no_moment_is_missed
        self.cloud.next_boots = [] if first_joins else [None]
        for _ in range(at_work):
            self.world.submit(gpus_per_node=2, seconds=NEVER)
            self.world.wait(SETTLED)

    @property
    def cloud(self) -> Any:
        return self.world.clouds["gpu"]

    @rule(gang=GANGS)
    def a_job_is_submitted(self, gang: dict[str, Any]) -> None:
        if len(self.world.cluster.jobs) < 4:
            self.world.submit(**gang)

    @precondition(lambda self: self.world.cluster.jobs)
    @rule(data=st.data())
    def a_job_is_deleted(self, data: st.DataObject) -> None:
        self.world.cluster.cancel(data.draw(st.sampled_from(list(self.world.cluster.jobs.values()))))

    @rule(seconds=st.sampled_from([0.5, 3.0, 7.0, 30.0, 61.0, 200.0, 900.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(seconds=st.sampled_from([300.0, 1300.0, 4000.0]))
    def a_long_time_passes(self, seconds: float) -> None:
        """Enough to boot, to fall idle, or to give a machine up."""
        self.world.wait(seconds)

    @rule(seconds=st.sampled_from([0.0, 1.0, 20.0, 300.0]), actions=st.integers(0, 4))
    def the_operator_will_be_killed(self, seconds: float, actions: int) -> None:
        """After so many calls; the next one starts after a while and knows only what is stored."""
        self.world.operator.actions_left = actions
        self.world.operator.restart_seconds = seconds

    @rule(has_capacity=st.booleans())
    def capacity_comes_and_goes(self, has_capacity: bool) -> None:
        self.cloud.shortage = None if has_capacity else OUT_OF_CAPACITY

    @rule(accepts=st.booleans())
    def limits_come_and_go(self, accepts: bool) -> None:
        self.cloud.refusal = None if accepts else NO_LIMIT

    @rule()
    def the_next_machine_never_joins(self) -> None:
        self.cloud.next_boots = [None]

    @rule()
    def the_next_machine_lacks_a_gpu(self) -> None:
        """Pods that were to run there cannot be scheduled."""
        self.world.cluster.next_gpus = [1]

    @precondition(lambda self: self.world.cluster.nodes)
    @rule(data=st.data())
    def a_person_cordons_a_node(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.cluster.nodes)))
        self.world.cluster.cordon(next(machine for machine in self.cloud.past.values() if machine.name == name))

    @rule(forbids=st.booleans())
    def a_policy_protects_nodes(self, forbids: bool) -> None:
        self.world.cluster.forbids_patches = forbids

    @rule()
    def the_next_removal_fails(self) -> None:
        self.cloud.failing_removals = 1

    @precondition(lambda self: self.exists and not self.is_deleted)
    @rule()
    def a_person_deletes_the_pool(self) -> None:
        self.is_deleted = True
        self.min_nodes = 0
        self.world.delete("gpu")

    @precondition(lambda self: self.exists)
    @rule(paused=st.booleans())
    def a_person_pauses_the_pool(self, paused: bool) -> None:
        self.world.change("gpu", paused=paused)

    @precondition(lambda self: self.exists)
    @rule(seconds=st.sampled_from([0.0, 20.0, 100.0, 700.0]))
    def the_pool_is_maintained(self, seconds: float) -> None:
        end = self.world.timeline.now + timedelta(seconds=seconds)
        self.world.annotate("gpu", maintenance=end.isoformat())

    @precondition(lambda self: self.running())
    @rule(data=st.data(), death=st.sampled_from(["power", "reclaimed", "by hand"]))
    def a_machine_goes(self, data: st.DataObject, death: str) -> None:
        machine = data.draw(st.sampled_from(self.running()))
        self.reclaimed += death == "reclaimed" and not machine.by_hand
        {"power": self.cloud.cut_power, "reclaimed": self.cloud.reclaim, "by hand": self.cloud.remove_by_hand}[death](
            machine
        )

    @precondition(lambda self: self.is_settled())
    @rule(count=st.integers(1, 2))
    def machines_are_added_by_hand(self, count: int) -> None:
        """Those that come in the same minute as the operator's own are told apart by their number only."""
        self.by_hand += count
        before = len(self.world.resizes)
        self.cloud.add_by_hand(count)
        self.world.wait(70)
        if len(self.world.resizes) != before and self.exists:
            self.world.agree_on_whose_machines("gpu")

    @precondition(lambda self: self.world.cluster.nodes)
    @rule(data=st.data(), seconds=st.sampled_from([5.0, 120.0]))
    def a_foreign_pod_comes(self, data: st.DataObject, seconds: float) -> None:
        pod = self.world.cluster.start_foreign_pod(data.draw(st.sampled_from(sorted(self.world.cluster.nodes))))
        if pod is not None:
            self.world.timeline.after(seconds, lambda: self.world.cluster.end_pod(pod))

    @precondition(lambda self: self.world.cluster.nodes)
    @rule(gpus=st.integers(1, 2))
    def a_pod_races_with_the_next_removal(self, gpus: int) -> None:
        """A scheduler that had not seen the cordon binds it after the plan, before the last look."""
        self.world.race(gpus)

    @invariant()
    def promises_are_kept(self) -> None:
        self.no_busy_node_is_removed()
        self.nodes_of_people_stay()
        self.no_more_is_removed_than_was_added()
        self.the_pool_never_grows_beyond_its_maximum()
        self.oracle_never_chooses_a_victim()
        self.the_minimum_stays()
        self.a_gang_starts_whole()

    def no_busy_node_is_removed(self) -> None:
        assert not any(removed.was_busy for removed in self.world.removals)

    def nodes_of_people_stay(self) -> None:
        assert not any(removed.by_hand for removed in self.world.removals)

    def no_more_is_removed_than_was_added(self) -> None:
        added = sum(max(0, resized.after - resized.before) for resized in self.world.resizes)
        assert len({removed.instance_id for removed in self.world.removals}) <= added + self.reclaimed

    def the_pool_never_grows_beyond_its_maximum(self) -> None:
        assert all(resized.after <= max(MAX_NODES, resized.before) for resized in self.world.resizes)

    def oracle_never_chooses_a_victim(self) -> None:
        assert self.cloud.random_victims == 0

    def the_minimum_stays(self) -> None:
        assert all(removed.healthy_left >= self.min_nodes for removed in self.world.removals if removed.was_healthy)

    def a_gang_starts_whole(self) -> None:
        """Pods of an admitted gang are bound at once or, after a node was lost in that moment, with new nodes."""
        waiting = [job for job in self.world.cluster.jobs.values() if job.pods and job.admitted_to is None]
        assert not waiting

    def no_moment_is_missed(self) -> None:
        """Until the operator looks again, as its plan has asked for, the clock alone changes nothing of that."""
        operator = self.world.operator
        if operator.asked_for_look not in (math.inf, self.world.timeline.seconds):
            for plan in self.world.plans_at(operator.asked_for_look - 0.001):
                assert makes_no_change(plan), f"missed until {operator.asked_for_look}: {plan}"
                assert plan.status is not None
                then, now = memory(plan.status), memory(operator.pools["gpu"].status)
                # What its own patches of Nodes have changed is news to the operator, which looks again for that.
                patched = bool(operator.plans["gpu"].patches)
                assert patched or then == now, f"missed until {operator.asked_for_look}: {then} follows {now}"

    def teardown(self) -> None:
        """Once nobody wants anything any more, nothing of the operator's is left that costs."""
        for job in list(self.world.cluster.jobs.values()):
            self.world.cluster.cancel(job)
        self.cloud.shortage = self.cloud.refusal = None
        self.cloud.next_boots = []
        self.cloud.failing_removals = 0
        self.world.cluster.forbids_patches = False
        self.world.operator.actions_left = None
        if self.exists:
            self.world.annotate("gpu")
            self.world.change("gpu", paused=False)
        self.world.wait(TO_REST, skipping=True)
        if self.exists:
            self.nothing_is_left()

    def nothing_is_left(self) -> None:
        assert not self.is_deleted, "it is never let go"
        ours = [machine for machine in self.world.machines("gpu") if not machine.by_hand]
        assert len(ours) <= self.min_nodes, f"left running: {[machine.name for machine in ours]}"
        assert sum(machine.is_healthy or machine.by_hand for machine in self.cloud.machines) >= self.min_nodes
        assert makes_no_change(self.world.plan_again("gpu"))

    @property
    def exists(self) -> bool:
        return "gpu" in self.world.operator.pools

    def running(self) -> list[Machine]:
        return [machine for machine in self.cloud.machines if machine.state == "ACTIVE" and machine.has_power]

    def is_settled(self) -> bool:
        if not self.exists:
            return False
        status = self.world.operator.pools["gpu"].status
        known = {entry.instance_id for entry in status.nodes}
        alive = self.cloud.view().alive_instances
        return status.scale_up is None and self.cloud.size == len(alive) and alive == known and self.by_hand < 2


LifeOfAPool.TestCase.settings = settings(max_examples=90, stateful_step_count=30, deadline=None, derandomize=True)
TestLifeOfAPool = LifeOfAPool.TestCase
