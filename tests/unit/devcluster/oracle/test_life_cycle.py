"""Nodes come and go as on OKE, step by step."""

import oci
import pytest

from tests.devcluster.fixtures import POOL
from tests.unit.devcluster.oracle.conftest import Fake, Oke


def test_a_resize_brings_nodes_step_by_step(fake_oci: Fake, oke: Oke) -> None:
    request = oke.resize(2)
    assert oke.pool.lifecycle_state == "UPDATING"
    assert oke.work_request(request).status == "ACCEPTED"
    fake_oci.clock.advance(POOL.accept_seconds)
    assert [(node.id, node.lifecycle_state) for node in oke.pool.nodes] == [(None, "CREATING")] * 2
    fake_oci.clock.advance(POOL.provision_seconds)
    assert all(instance.startswith("ocid1.instance.") for instance in oke.instance_ids)
    assert oke.work_request(request).status == "IN_PROGRESS"
    fake_oci.clock.advance(POOL.boot_seconds)
    assert [node.lifecycle_state for node in oke.pool.nodes] == ["ACTIVE"] * 2
    assert oke.pool.lifecycle_state == "ACTIVE"
    done = oke.work_request(request)
    assert (done.operation_type, done.status) == ("NODEPOOL_UPDATE", "SUCCEEDED")
    assert done.time_accepted < done.time_started < done.time_finished
    assert {resource.identifier for resource in done.resources} == {POOL.id, *oke.instance_ids}


def test_a_careful_delete_takes_just_this_node(fake_oci: Fake, oke: Oke) -> None:
    first, second = oke.grow(2)
    request = oke.delete(first)
    assert {node.id: node.lifecycle_state for node in oke.pool.nodes} == {first: "DELETING", second: "ACTIVE"}
    fake_oci.clock.advance(POOL.accept_seconds + POOL.delete_seconds)
    assert oke.work_request(request).status == "SUCCEEDED"
    assert (oke.instance_ids, oke.pool.node_config_details.size) == ([second], 1)
    assert oke.compute.get_instance(first).data.lifecycle_state == "TERMINATED"
    fake_oci.clock.advance(POOL.linger_seconds)
    assert [node.id for node in oke.pool.nodes] == [second]
    assert not fake_oci.log.violations


def test_without_decrement_a_replacement_comes(fake_oci: Fake, oke: Oke) -> None:
    (old,) = oke.grow(1)
    oke.delete(old, is_decrement_size=False)
    fake_oci.clock.advance(2 * POOL.boot_seconds)
    (new,) = oke.instance_ids
    assert new != old
    assert oke.pool.node_config_details.size == 1


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ({"override_eviction_grace_duration": "PT60M"}, "FAILED"),
        (
            {"override_eviction_grace_duration": "PT60M", "is_force_deletion_after_override_grace_duration": True},
            "SUCCEEDED",
        ),
    ],
)
def test_the_default_grace_holds_a_delete_up(
    fake_oci: Fake, oke: Oke, options: dict[str, object], outcome: str
) -> None:
    (node,) = oke.grow(1)
    answer = oke.engine.delete_node(POOL.id, node, is_decrement_size=True, **options)
    request = answer.headers["opc-work-request-id"]
    fake_oci.clock.advance(3599)
    assert oke.work_request(request).status == "IN_PROGRESS"
    fake_oci.clock.advance(60)
    assert oke.work_request(request).status == outcome
    left = [] if outcome == "SUCCEEDED" else [node]
    assert (oke.instance_ids, oke.pool.node_config_details.size) == (left, len(left))


def test_a_delete_can_be_asked_for_once(oke: Oke) -> None:
    (node,) = oke.grow(1)
    oke.delete(node)
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        oke.delete(node)
    assert refused.value.status == 409


def test_a_node_may_be_deleted_while_it_boots(fake_oci: Fake, oke: Oke) -> None:
    request = oke.resize(1)
    fake_oci.clock.advance(POOL.accept_seconds + POOL.provision_seconds)
    oke.delete(oke.instance_ids[0])
    fake_oci.clock.advance(POOL.boot_seconds)
    assert oke.work_request(request).status == "SUCCEEDED"
    assert oke.instance_ids == []


def test_a_smaller_size_leaves_the_choice_to_the_cloud_and_is_noted(fake_oci: Fake, oke: Oke) -> None:
    before = oke.grow(3)
    oke.resize(2)
    fake_oci.clock.advance(2 * 3600)
    assert oke.instance_ids == before, "nobody forced the pods off"
    oke.resize(2, override_eviction_grace_duration="PT0M", is_force_deletion_after_override_grace_duration=True)
    fake_oci.clock.advance(60)
    assert len(oke.instance_ids) == 2
    assert {violation.kind for violation in fake_oci.log.violations} == {"random-victim"}


def test_the_ledger_knows_what_was_paid_for(fake_oci: Fake, oke: Oke) -> None:
    start = fake_oci.clock.now()
    (node,) = oke.grow(1)
    fake_oci.clock.advance(start + 1801.2 - fake_oci.clock.now())
    oke.delete(node)
    fake_oci.clock.advance(7200)
    (entry,) = fake_oci.ledger.entries()
    billed = 1800 + POOL.accept_seconds + POOL.delete_seconds
    assert entry.seconds(fake_oci.clock.now()) == pytest.approx(billed)
    assert oke.compute.get_instance(node).data.time_created.timestamp() == pytest.approx(entry.time_created, abs=1e-3)
    cost = fake_oci.ledger.cost(price_per_hour=5.9, minimum_seconds=3600, now=fake_oci.clock.now())
    assert cost == pytest.approx(5.9)


def test_a_reclaimed_instance_is_replaced(fake_oci: Fake, oke: Oke) -> None:
    (old,) = oke.grow(1)
    fake_oci.control.reclaim(old)
    fake_oci.clock.advance(2 * POOL.boot_seconds)
    (new,) = oke.instance_ids
    assert new != old
    assert oke.compute.get_instance(old).data.lifecycle_state == "TERMINATED"
    newest = oke.engine.list_work_requests(POOL.compartment_id, resource_id=POOL.id).data[0]
    assert (newest.operation_type, newest.status) == ("NODEPOOL_RECONCILE", "SUCCEEDED")


def test_lists_come_in_pages(oke: Oke) -> None:
    oke.grow(3)
    pages = oci.pagination.list_call_get_all_results(oke.compute.list_instances, POOL.compartment_id, limit=2)
    assert len(pages.data) == 3
    assert [pool.id for pool in oke.engine.list_node_pools(POOL.compartment_id, name="gpu").data] == [POOL.id]
    assert oke.compute.list_shapes(POOL.compartment_id, shape=POOL.shape).data[0].gpus == 2
