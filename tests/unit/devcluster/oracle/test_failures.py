"""What can be switched on to go wrong reaches the SDK as it would from Oracle."""

import threading
from typing import Any

import oci
import pytest
import requests

from devcluster.oracle.clock import SystemClock
from devcluster.oracle.life_cycle import NoMachines
from devcluster.oracle.pools import Node, PoolSettings
from devcluster.oracle.running import running
from devcluster.oracle.signing import Credentials
from tests.devcluster.fixtures import POOL
from tests.unit.devcluster.oracle.conftest import Fake, Oke


def test_without_capacity_a_phantom_stands_in_the_way_until_the_size_is_lowered(fake_oci: Fake, oke: Oke) -> None:
    fake_oci.control.run_out_of_capacity(spared=1)
    request = oke.resize(2)
    fake_oci.clock.advance(2 * POOL.boot_seconds)
    real, phantom = oke.pool.nodes
    assert (real.lifecycle_state, phantom.id) == ("ACTIVE", None)
    assert (phantom.node_error.code, phantom.node_error.message) == ("InternalError", "Out of host capacity.")
    assert phantom.node_error.opc_request_id
    assert oke.work_request(request).status == "FAILED"
    assert [error.code for error in oke.errors(request)] == ["InternalError"]
    oke.resize(1)
    fake_oci.clock.advance(60)
    assert oke.instance_ids == [real.id]
    assert not fake_oci.log.violations


@pytest.mark.parametrize(("switch", "code"), [("exceed_limit", "LimitExceeded"), ("exceed_quota", "QuotaExceeded")])
def test_limits_show_in_the_node(fake_oci: Fake, oke: Oke, switch: str, code: str) -> None:
    fake_oci.control.call(switch, {})
    oke.grow(1)
    assert oke.pool.nodes[0].node_error.code == code


def test_one_availability_domain_can_be_empty(fake_oci: Fake, oke: Oke) -> None:
    domains = ["Uocm:US-ASHBURN-AD-1", "Uocm:US-ASHBURN-AD-2"]
    fake_oci.control.add_pool(id="two-domains", size=4, availability_domains=domains)
    fake_oci.control.run_out_of_capacity(availability_domain=domains[1])
    fake_oci.clock.advance(2 * POOL.boot_seconds)
    nodes = oke.engine.get_node_pool("two-domains").data.nodes
    assert {(node.availability_domain, node.node_error is None) for node in nodes} == set(
        zip(domains, (True, False), strict=True)
    )


def test_a_pool_sticks_in_updating_until_a_change_succeeds(fake_oci: Fake, oke: Oke) -> None:
    fake_oci.control.run_out_of_capacity()
    fake_oci.control.stick(at_next_failure=True)
    oke.grow(1)
    fake_oci.clock.advance(3600)
    assert oke.pool.lifecycle_state == "UPDATING"
    newest = oke.engine.list_work_requests(POOL.compartment_id, resource_id=POOL.id, status=["FAILED"]).data
    assert "NODEPOOL_RECONCILE" in [request.operation_type for request in newest]
    oke.resize(0)
    fake_oci.clock.advance(60)
    assert oke.pool.lifecycle_state == "ACTIVE"


def test_a_pool_can_need_attention_and_vanish(fake_oci: Fake, oke: Oke) -> None:
    fake_oci.control.need_attention("no subnet")
    assert (oke.pool.lifecycle_state, oke.pool.lifecycle_details) == ("NEEDS_ATTENTION", "no subnet")
    fake_oci.control.hide_pool()
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        _ = oke.pool
    assert (refused.value.status, refused.value.code) == (404, "NotAuthorizedOrNotFound")


def test_someone_elses_change_fails_if_match_once(fake_oci: Fake, oke: Oke) -> None:
    fake_oci.control.change_before_next_call()
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        oke.resize(1, if_match=oke.etag)
    assert refused.value.status == 412
    oke.resize(1, if_match=oke.etag)
    assert [(call.status, call.parameters["size"]) for call in fake_oci.log.of("update_node_pool")] == [
        (412, 1),
        (202, 1),
    ]


@pytest.mark.parametrize(
    ("switch", "arguments", "status", "code"),
    [
        ("throttle", {"count": 1}, 429, "TooManyRequests"),
        ("break_service", {"count": 1}, 500, "InternalServerError"),
        ("break_service", {"count": 1, "status": 503}, 503, "ServiceUnavailable"),
        ("conflict", {"count": 1}, 409, "IncorrectState"),
        ("withhold_rights", {"count": 1, "operation": "get_node_pool"}, 404, "NotAuthorizedOrNotFound"),
    ],
)
def test_a_burst_of_refusals_ends(
    fake_oci: Fake, oke: Oke, switch: str, arguments: dict[str, object], status: int, code: str
) -> None:
    fake_oci.control.call(switch, arguments)
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        _ = oke.pool
    assert (refused.value.status, refused.value.code) == (status, code)
    assert oke.pool.id == POOL.id


def test_an_answer_can_be_lost_after_the_deed(fake_oci: Fake, oke: Oke) -> None:
    fake_oci.control.lose_answers(operation="update_node_pool")
    with pytest.raises(oci.exceptions.RequestException):
        oke.resize(1)
    assert oke.pool.node_config_details.size == 1
    assert fake_oci.log.of("update_node_pool")[0].answer_lost


def test_slow_answers_run_into_the_clients_timeout(fake_oci: Fake, oke: Oke) -> None:
    fake_oci.control.slow_down(0.5, count=1)
    oke.engine.base_client.timeout = (1, 0.1)
    with pytest.raises(oci.exceptions.RequestException):
        _ = oke.pool


def test_a_failed_delete_leaves_the_node(fake_oci: Fake, oke: Oke) -> None:
    (node,) = oke.grow(1)
    fake_oci.control.fail_next_delete()
    request = oke.delete(node)
    fake_oci.clock.advance(60)
    assert oke.work_request(request).status == "FAILED"
    assert oke.errors(request)
    assert (oke.instance_ids, oke.pool.node_config_details.size) == ([node], 1)


def test_a_node_that_never_joins_is_billed_all_the_same(fake_oci: Fake, oke: Oke) -> None:
    fake_oci.control.never_join()
    (node,) = oke.grow(1)
    fake_oci.clock.advance(7200)
    assert oke.pool.nodes[0].lifecycle_state == "CREATING"
    assert oke.compute.get_instance(node).data.lifecycle_state == "RUNNING"
    oke.delete(node)
    fake_oci.clock.advance(60)
    assert oke.instance_ids == []


def test_the_switches_work_over_http(fake_oci: Fake, oke: Oke) -> None:
    with requests.Session() as session:
        switch: Any = {"operation": "throttle", "arguments": {"count": 1}}
        assert session.post(f"{fake_oci.endpoint}/_control", json=switch).status_code == 200
        with pytest.raises(oci.exceptions.ServiceError):
            _ = oke.pool
        assert session.get(f"{fake_oci.endpoint}/_log").json()["calls"][0]["code"] == "TooManyRequests"
        assert session.get(f"{fake_oci.endpoint}/_ledger").json() == []
        refused = session.post(f"{fake_oci.endpoint}/_control", json={"operation": "explode"})
    assert "no switch 'explode'" in refused.json()["message"]


def test_on_the_machines_clock_things_happen_unasked(oci_credentials: Credentials) -> None:
    machines = Recorder()
    pool = PoolSettings(id=POOL.id, size=1, accept_seconds=0, provision_seconds=0, boot_seconds=0.05)
    with running((pool,), SystemClock(), oci_credentials, machines):
        assert machines.switched_on.wait(timeout=5)


class Recorder(NoMachines):
    def __init__(self) -> None:
        self.switched_on = threading.Event()

    def switch_on(self, node: Node) -> None:
        self.switched_on.set()
