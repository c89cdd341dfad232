"""Which statement of Oracle's policies is missing, by their text and by what was refused."""

from dataclasses import replace
from typing import Any

import pytest

from masktrain_operator.api.pool_spec import PoolAuth
from masktrain_operator.core.doctor.findings import Check, Level, NotSeen
from masktrain_operator.core.doctor.policies import ALWAYS, Right, holds, principals_of
from masktrain_operator.core.doctor.seen import Operator, PlacementConfig
from tests.unit.operator.core.doctor.healthy import (
    CLUSTER,
    COMPARTMENT,
    NAME,
    OPERATOR,
    ORACLE_POOL,
    PROBES,
    faults,
    found,
    instance_statements,
    pool,
    statements,
    view,
)

CONDITIONS = {
    "request.principal.type": "workload",
    "request.principal.namespace": "masktrain-system",
    "request.principal.service_account": "masktrain-operator",
    "request.principal.cluster_id": CLUSTER,
}


def paste(**changes: Any) -> list[str]:
    """What is to be pasted, of all that is at fault."""
    return [line for finding in faults(**changes) for line in finding.paste]


def without(resource: str, texts: tuple[str, ...] | None = None) -> tuple[str, ...]:
    return tuple(text for text in texts or statements() if f" {resource} in " not in text)


def test_nothing_is_at_fault_where_every_statement_is_there() -> None:
    assert faults() == []
    (said,) = [finding.said for finding in found(Level.OK) if finding.check is Check.POLICIES]
    assert said == "all 7 rights are granted"


@pytest.mark.parametrize("right", ALWAYS, ids=lambda right: right.resource)
def test_each_missing_statement_is_named_with_all_four_conditions_for_operator_and_sweeper(right: Right) -> None:
    resource = right.resource
    (finding,) = faults(oracle={NAME: view(granted=without(resource))})

    assert finding.check is Check.POLICIES
    assert resource in finding.said
    assert finding.paste == tuple(text for text in statements() if f" {resource} in " in text)
    assert finding.paste[0].startswith(f"Allow any-user to {right.verb} {resource} in compartment id {COMPARTMENT.id} ")
    assert all(f"{name} = '{value}'" in finding.paste[0] for name, value in CONDITIONS.items())
    assert "service_account = 'masktrain-operator-sweeper'" in finding.paste[1]


def test_two_missing_statements_are_two_faults() -> None:
    texts = without("vnics", without("cluster-work-requests"))

    assert [f.said.split('"')[1] for f in faults(oracle={NAME: view(granted=texts)})] == [
        "read cluster-work-requests",
        "use vnics",
    ]


def test_a_statement_that_lets_only_the_operator_leaves_out_the_sweeper() -> None:
    texts = tuple(text for text in statements() if "vnics" not in text or "sweeper" not in text)

    (line,) = paste(oracle={NAME: view(granted=texts)})
    assert "masktrain-operator-sweeper" in line


@pytest.mark.parametrize("name", ["namespace", "cluster_id"])
def test_a_condition_with_another_value_is_quoted(name: str) -> None:
    value = CONDITIONS[f"request.principal.{name}"]
    texts = tuple(text.replace(value, "elsewhere") if " subnets " in text else text for text in statements())

    (finding,) = faults(oracle={NAME: view(granted=texts)})
    assert f"there is one with request.principal.{name} = 'elsewhere' instead of '{value}'" in finding.said


def test_a_statement_of_a_compartment_that_the_pool_is_not_in_does_not_count() -> None:
    texts = tuple(
        text.replace(COMPARTMENT.id, "ocid1.compartment.oc1..other") if "instance-family" in text else text
        for text in statements()
    )

    (finding,) = faults(oracle={NAME: view(granted=texts)})
    assert "there is one for compartment id ocid1.compartment.oc1..other" in finding.said


@pytest.mark.parametrize(
    "text",
    [
        "allow any-user to manage all-resources in tenancy",
        "ALLOW any-user TO manage cluster-family IN compartment vision",
        (
            "Allow any-user to manage cluster-node-pools in compartment acme:Vision"
            " where request.principal.type='workload'"
        ),
        (
            "Allow any-user to manage cluster-node-pools in tenancy where any {request.principal.type = 'workload',"
            " request.principal.type = 'cluster'}"
        ),
    ],
)
def test_a_wider_statement_counts(text: str) -> None:
    assert faults(oracle={NAME: view(granted=(*without("cluster-node-pools"), text))}) == []


@pytest.mark.parametrize(
    "text",
    [
        "Allow any-user to use cluster-node-pools in tenancy",
        "Allow group admins to manage all-resources in tenancy",
        "Allow any-user to manage cluster-node-pools in tenancy where request.principal.type = 'cluster'",
        "Allow dynamic-group nodes to manage cluster-node-pools in tenancy",
        "Deny group interns to manage cluster-node-pools in tenancy",
        "this is no statement",
    ],
)
def test_a_narrower_statement_or_one_for_others_does_not(text: str) -> None:
    (finding,) = faults(oracle={NAME: view(granted=(*without("cluster-node-pools"), text))})
    assert "cluster-node-pools" in finding.said


@pytest.mark.parametrize(
    "text",
    [
        "Allow any-user to {CLUSTER_NODE_POOL_READ, CLUSTER_NODE_POOL_UPDATE} in tenancy",
        "Allow any-user to manage cluster-node-pools in tenancy where target.nodepool.id = 'ocid1.nodepool.oc1..a'",
        "Deny any-user to manage cluster-node-pools in tenancy where request.operation = 'DeleteNodePool'",
    ],
)
def test_what_this_reader_does_not_understand_is_unknown_and_no_fault(text: str) -> None:
    view_ = view(granted=(*without("cluster-node-pools"), text))

    assert faults(oracle={NAME: view_}) == []
    (finding,) = [each for each in found(Level.UNKNOWN, oracle={NAME: view_}) if each.check is Check.POLICIES]
    assert '"manage cluster-node-pools"' in finding.said


@pytest.mark.parametrize(
    ("change", "resource"),
    [
        ({"has_security_groups": True}, "network-security-groups"),
        ({"placements": (PlacementConfig("AD-1", capacity_reservation=True),)}, "compute-capacity-reservations"),
        ({"has_defined_tags": True}, "tag-namespaces"),
        ({"kms_key_id": "ocid1.key.oc1..k"}, "key-delegate"),
    ],
)
def test_what_a_pool_has_beyond_the_usual_takes_a_statement_more(change: dict[str, object], resource: str) -> None:
    oke = replace(ORACLE_POOL, **change)  # type: ignore[arg-type]

    (finding,) = faults(oracle={NAME: view(oke, statements())})
    assert resource in finding.said
    assert faults(oracle={NAME: view(oke, (*statements(), *finding.paste))}) == []


def test_a_dynamic_group_is_enough_for_instance_principals() -> None:
    pools = (pool(auth={"type": "InstancePrincipal"}),)

    assert faults(pools=pools, oracle={NAME: view(granted=instance_statements())}) == []
    (finding,) = faults(pools=pools, oracle={NAME: view(granted=without("subnets", instance_statements()))})
    assert finding.paste == (f"Allow dynamic-group masktrain to use subnets in compartment id {COMPARTMENT.id}",)
    assert "dynamic group" in finding.advice


REFUSED = NotSeen("Cannot read instance i: Oracle answered 404 NotAuthorizedOrNotFound", "read instance-family")


def test_what_oracle_refuses_to_the_operator_itself_is_a_fault_whatever_the_text_says() -> None:
    (finding,) = faults(oracle={NAME: view(probes={**PROBES, "get_instance": REFUSED})})

    assert "404 NotAuthorizedOrNotFound" in finding.said
    assert "manage instance-family" in finding.paste[0]


def test_what_oracle_refuses_to_somebody_else_is_none() -> None:
    assert faults(oracle={NAME: view(as_operator=False, probes={**PROBES, "get_instance": REFUSED})}) == []


def test_a_call_that_nobody_answered_refuses_nothing() -> None:
    assert faults(oracle={NAME: view(probes={**PROBES, "get_instance": NotSeen("no answer came")})}) == []


def test_without_a_sight_of_the_policies_the_right_for_it_is_named_and_the_statements_can_be_compared() -> None:
    hidden = NotSeen("Cannot list the policies", "read policies in the tenancy")
    changes: dict[str, Any] = {"oracle": {NAME: view(policies=hidden)}}

    assert faults(**changes) == []
    (finding,) = [each for each in found(Level.UNKNOWN, **changes) if each.check is Check.POLICIES]
    assert "read policies in the tenancy" in finding.advice
    assert finding.paste == statements()


def test_of_an_api_key_the_text_tells_nothing() -> None:
    pools = (pool(auth={"type": "ConfigSecret", "configSecretRef": {"name": "key"}}),)

    assert faults(pools=pools, oracle={NAME: view(granted=())}) == []
    assert "groups" in next(f.said for f in found(Level.UNKNOWN, pools=pools) if f.check is Check.POLICIES)


def test_a_pool_that_oracle_hides_from_the_operator_is_one_fault() -> None:
    hidden = NotSeen("Cannot read node pool p", "read cluster-node-pools")
    hiding = view(pool=hidden, probes={"get_node_pool": hidden}, policies=None, cluster=None)

    (finding,) = faults(oracle={NAME: hiding})
    assert "manage cluster-node-pools" in finding.paste[0]
    assert "spec.nodePoolId" in finding.advice


def test_a_doctor_that_may_not_look_gets_statements_that_only_read() -> None:
    hidden = NotSeen("Cannot read node pool p", "read cluster-node-pools")
    own = Operator(OPERATOR.namespace, OPERATOR.accounts, "masktrain-system/masktrain-operator-doctor")
    changes: dict[str, Any] = {
        "operator": own,
        "oracle": {NAME: view(as_operator=False, pool=hidden, probes={"get_node_pool": hidden}, policies=None)},
    }

    assert faults(**changes) == []
    (finding,) = [each for each in found(Level.UNKNOWN, **changes) if each.blind]
    assert {line.split()[3] for line in finding.paste} == {"read"}
    assert all("service_account = 'masktrain-operator-doctor'" in line for line in finding.paste)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("request.principal.type = 'workload'", True),
        ("request.principal.type='other'", False),
        ("request.principal.type != 'other'", True),
        ("all {request.principal.type = 'workload', target.a = 'b'}", None),
        ("ALL{request.principal.type = 'other', target.a = 'b'}", False),
        ("any {request.principal.type = 'workload', target.a = 'b'}", True),
        ("any {all {request.principal.type = 'other', target.a = 'b'}, request.principal.type = 'workload'}", True),
        ("request.principal.type = /work*/", None),
        ("all {request.principal.type = 'workload', any {target.a = 'x, y}', target.b = 'c'}}", None),
        ("", None),
        ("all {", None),
        ("all {" * 2000 + "}" * 2000, None),
    ],
)
def test_conditions_hold_or_not_or_depend_on_more(conditions: str, expected: bool | None) -> None:
    (who, _) = principals_of(PoolAuth.WORKLOAD_IDENTITY, OPERATOR, ORACLE_POOL)
    assert holds(conditions, who.variables) is expected
