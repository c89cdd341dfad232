"""What one namespace may have of a pool: who is let in, how many nodes and how much money."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from devcluster.simulation.oke import CloudSettings
from devcluster.simulation.world import one_pool
from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.pool_spec import LabelSelector
from masktrain_operator.core.gangs import Gang, Objection
from masktrain_operator.core.pools.admission import admit
from masktrain_operator.core.pools.packing import NamespaceRules
from tests.unit.operator.core.pools.gangs import gang, slots

TEAM_A = LabelSelector.model_validate({"matchLabels": {"team": "a"}})
LATE = {"key": "late", "operator": "DoesNotExist"}
IN = {"key": "team", "operator": "In", "values": ["a", "c"]}
NOT_IN = {"key": "team", "operator": "NotIn", "values": ["b"]}
EXISTS = {"key": "team", "operator": "Exists"}


@pytest.mark.parametrize(
    ("selector", "labels", "matches"),
    [
        ({}, {}, True),
        ({"matchLabels": {"team": "a"}}, {"team": "a", "x": "y"}, True),
        ({"matchLabels": {"team": "a"}}, {"team": "b"}, False),
        ({"matchLabels": {"team": "a"}}, {}, False),
        ({"matchExpressions": [IN]}, {"team": "c"}, True),
        ({"matchExpressions": [IN]}, {}, False),
        ({"matchExpressions": [NOT_IN]}, {"team": "b"}, False),
        ({"matchExpressions": [NOT_IN]}, {}, True),
        ({"matchExpressions": [EXISTS]}, {"team": ""}, True),
        ({"matchExpressions": [EXISTS]}, {}, False),
        ({"matchExpressions": [IN, LATE]}, {"team": "a", "late": "1"}, False),
    ],
)
def test_a_selector_selects_as_kubernetes_does(selector: dict[str, Any], labels: dict[str, str], matches: bool) -> None:
    assert LabelSelector.model_validate(selector).matches(labels) == matches


def classed(name: str, **rules: Any) -> tuple[Gang, NamespaceRules]:
    return gang("masks", priority_class=name), NamespaceRules(**rules)


REFUSALS = {
    "another namespace": (
        gang("masks", namespace_labels={"team": "b"}),
        NamespaceRules(allowed=TEAM_A),
        Reason.NAMESPACE_NOT_ALLOWED,
    ),
    "a namespace that is not known": (
        gang("masks", namespace_labels=None),
        NamespaceRules(allowed=TEAM_A),
        Reason.NAMESPACE_NOT_ALLOWED,
    ),
    "a class that is not listed": (
        *classed("urgent", priority_classes=("normal",)),
        Reason.PRIORITY_CLASS_NOT_ALLOWED,
    ),
    "no class is listed": (*classed("urgent", priority_classes=()), Reason.PRIORITY_CLASS_NOT_ALLOWED),
    "a system class": (*classed("system-node-critical"), Reason.PRIORITY_CLASS_NOT_ALLOWED),
    "a system class that is listed": (
        *classed("system-node-critical", priority_classes=("system-node-critical",)),
        Reason.PRIORITY_CLASS_NOT_ALLOWED,
    ),
    "more nodes than a namespace may have": (
        gang("masks", nodes=3),
        NamespaceRules(max_nodes=2),
        Reason.NAMESPACE_LIMIT_TOO_SMALL,
    ),
    "a month's money is spent": (
        gang("masks"),
        NamespaceRules(spent={"vision": "It has spent all."}),
        Reason.NAMESPACE_LIMIT_REACHED,
    ),
    "nodes that idle count": (
        gang("masks", nodes=2),
        NamespaceRules(max_nodes=2, held={"vision": frozenset({"leaving"})}),
        Reason.NAMESPACE_LIMIT_REACHED,
    ),
}


@pytest.mark.parametrize(("asked", "rules", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_who_is_not_let_in(asked: Gang, rules: NamespaceRules, reason: Reason) -> None:
    other = gang("other", namespace="other", namespace_labels={"team": "a"}, age=-1)
    admissions = admit([asked, other], [slots(free=(2, 2), growable=3, rules=rules)])
    refusal = admissions.refusals[asked.job_uid]
    assert refusal.reason is reason
    assert refusal.pools == (), "and holds up nobody else"
    assert other.job_uid in admissions.placements


def test_a_gang_whose_pods_would_be_refused_gets_no_node() -> None:
    told = Objection(Reason.WRITE_REFUSED, "exceeded quota: gpus")
    admissions = admit([gang("masks", objection=told)], [slots(growable=3)])
    assert admissions.refusals["uid-of-masks"].message == "exceeded quota: gpus"


def test_a_job_that_no_pool_lets_in_is_not_left_to_nodes_of_no_pool() -> None:
    """Without a node selector its pods could be put on idle nodes of the very pool."""
    asked = gang("masks", namespace_labels={})
    assert asked.job_uid in admit([asked], [slots(free=(2,), rules=NamespaceRules(allowed=TEAM_A))]).refusals


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        (NamespaceRules(), 3),
        (NamespaceRules(allowed=TEAM_A), 1),
        (NamespaceRules(max_nodes=2), 1),
        (NamespaceRules(max_nodes=3), 3),
        (NamespaceRules(spent={"vision": "It has spent all."}), 1),
    ],
)
def test_a_batch_job_that_looks_admitted_keeps_its_pods_and_gets_no_more_than_a_new_one(
    rules: NamespaceRules, kept: int
) -> None:
    asked = gang("masks", nodes=3, admitted_to="gpu", placed_on=frozenset({"gpu-1"}), namespace_labels={})
    admissions = admit([asked], [slots(free=(2,), growable=0, rules=rules)])
    assert len(admissions.placements[asked.job_uid].slots) == kept


def test_who_waits_is_not_told_the_jobs_of_others() -> None:
    first = gang("secret-plan", nodes=3, age=9, namespace="other")
    pool = slots(free=(2,), limit=3)
    admissions = admit([first, gang("masks")], [pool])
    assert "gpu serves a job of another namespace first" in admissions.refusals["uid-of-masks"].message


MAX_NODES, CAP, BUDGET, RATE = 4, 2, Decimal(3), Decimal("3.6")
STOPPING = 400.0
"""From the moment that no money is left until the last node is gone."""


class GreedyNamespace(RuleBasedStateMachine):
    """One namespace creates and deletes jobs as it likes, beside another one; the operator may be killed."""

    def __init__(self) -> None:
        super().__init__()
        self.world = one_pool()
        self.minimum = 0.0

    @initialize(minimum=st.sampled_from([60, 3600]), idle=st.sampled_from([0, 60, 600]))
    def a_pool_is_created(self, minimum: int, idle: int) -> None:
        self.minimum = minimum
        self.world = one_pool(
            cloud=CloudSettings(shape="VM.GPU.A10.2"),
            maxNodes=MAX_NODES,
            gpusPerNode=2,
            hourlyPrice=str(RATE),
            minimumBilledSeconds=minimum,
            idleSeconds=idle,
            namespaceLimits={"nodes": CAP, "monthlyCost": str(BUDGET)},
        )

    @rule(
        namespace=st.sampled_from(["greedy", "greedy", "other"]),
        nodes=st.integers(1, 3),
        gpus=st.integers(1, 2),
        seconds=st.sampled_from([20.0, 600.0, 1e9]),
        priority=st.sampled_from([0, 9]),
    )
    def a_job_is_submitted(self, namespace: str, nodes: int, gpus: int, seconds: float, priority: int) -> None:
        if len(self.world.cluster.jobs) < 6:
            self.world.submit(namespace=namespace, nodes=nodes, gpus_per_node=gpus, seconds=seconds, priority=priority)

    @precondition(lambda self: self.world.cluster.jobs)
    @rule(data=st.data())
    def a_job_is_deleted(self, data: st.DataObject) -> None:
        self.world.cluster.cancel(data.draw(st.sampled_from(list(self.world.cluster.jobs.values()))))

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 5.0, 30.0, 120.0, 400.0, 1800.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(seconds=st.sampled_from([0.0, 20.0, 120.0]), actions=st.integers(0, 4))
    def the_operator_will_be_killed(self, seconds: float, actions: int) -> None:
        self.world.operator.actions_left = actions
        self.world.operator.restart_seconds = seconds

    @invariant()
    def no_namespace_holds_more_than_its_limit(self) -> None:
        for usage in self.world.operator.pools["gpu"].status.namespaces:
            assert usage.nodes <= CAP
        for namespace in ("greedy", "other"):
            placed = {
                slot.name
                for placement in self.world.operator.admissions.placements.values()
                if placement.gang.namespace == namespace
                for slot in placement.slots
            }
            assert len(placed) <= CAP

    @invariant()
    def nothing_runs_that_nobody_is_charged_for(self) -> None:
        """Machines that were asked for are all some namespace's."""
        status = self.world.operator.pools["gpu"].status
        assert all(entry.namespaces for entry in status.nodes)

    @invariant()
    def no_namespace_spends_much_beyond_its_month(self) -> None:
        """At most the minimum of its nodes, or the minutes until they are gone."""
        seconds = max(self.minimum, STOPPING)
        for usage in self.world.operator.pools["gpu"].status.namespaces:
            assert Decimal(usage.amount) <= BUDGET + CAP * RATE * Decimal(seconds) / 3600

    def teardown(self) -> None:
        """The namespaces' accounts are what the machines cost."""
        for job in list(self.world.cluster.jobs.values()):
            self.world.cluster.cancel(job)
        self.world.operator.actions_left = None
        self.world.wait(4 * 3600.0, skipping=True)
        status = self.world.operator.pools["gpu"].status
        charged = sum((Decimal(usage.amount) for usage in status.namespaces), Decimal(0))
        paid = self.world.usage({"gpu": self.minimum}).paid
        assert abs(charged - Decimal(paid) * RATE / 3600) < Decimal("0.02")


GreedyNamespace.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None, derandomize=True)
TestGreedyNamespace = GreedyNamespace.TestCase
