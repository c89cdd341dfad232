"""Every call of NodePools over the wire: what it sends, what it makes of the answer."""

import asyncio
from dataclasses import replace

import pytest

from devcluster.oracle.clock import FakeClock
from devcluster.oracle.running import FakeOci
from masktrain_operator.api.pool_spec import PoolAuth
from masktrain_operator.shell.oci.access import OciAccess, OciError, OciErrorKind
from masktrain_operator.shell.oci.client import NodePools
from tests.devcluster.fixtures import POOL
from tests.oci.conftest import Pool, access_to

Fake = FakeOci[FakeClock]


async def refusal(call: object) -> OciError:
    with pytest.raises(OciError) as caught:
        await call  # type: ignore[misc]
    return caught.value


# Reading


async def test_a_pool_is_read_whole(node_pools: NodePools, pool: Pool) -> None:
    await pool.grow(2)
    found = await node_pools.get_pool(POOL.id)
    assert (found.id, found.name, found.size, found.shape, found.preemptible) == (POOL.id, "gpu", 2, "VM.GPU3.2", False)
    assert (found.lifecycle_state, found.cluster_id, found.compartment_id) == (
        "ACTIVE",
        POOL.cluster_id,
        POOL.compartment_id,
    )
    assert found.etag == pool.fake.cloud.pools[POOL.id].etag
    assert [(node.lifecycle_state, node.availability_domain, node.error) for node in found.nodes] == [
        ("ACTIVE", "Uocm:US-ASHBURN-AD-1", None)
    ] * 2
    assert all(node.is_alive and (node.instance_id or "").startswith("ocid1.instance.") for node in found.nodes)


async def test_preemptible_is_read_from_the_placement(node_pools: NodePools, fake_oci: Fake) -> None:
    fake_oci.control.add_pool(id="ocid1.nodepool.oc1.iad.cheap", preemptible=True)
    assert (await node_pools.get_pool("ocid1.nodepool.oc1.iad.cheap")).preemptible


async def test_work_requests_are_read_only_when_asked_for(node_pools: NodePools, pool: Pool) -> None:
    await pool.grow(1)
    assert (await node_pools.get_pool(POOL.id)).work_requests == ()
    assert pool.fake.log.of("list_work_requests", "list_work_request_errors") == []


async def test_work_requests_come_newest_first_with_the_errors_of_the_newest_failed_one(
    node_pools: NodePools, pool: Pool
) -> None:
    (node,) = await pool.grow(1)
    pool.fake.control.run_out_of_capacity()
    await pool.grow(2)
    await node_pools.delete_node(POOL.id, node.instance_id or "")
    found = await node_pools.get_pool(POOL.id, with_work_requests=True)
    accepted = [request.accepted for request in found.work_requests]
    assert accepted == sorted(accepted, reverse=True)
    assert [request.is_running for request in found.work_requests] == [True, False, False]
    failed = found.work_requests[1]
    assert failed.has_failed
    assert "Out of host capacity" in failed.errors[0].message
    assert failed.finished is not None
    assert POOL.id in failed.resources
    assert node.instance_id in found.work_requests[0].resources
    assert [call.parameters["request"] for call in pool.fake.log.of("list_work_request_errors")] == [failed.id]


async def test_a_pool_is_shown_without_work_requests_that_cannot_be_read(node_pools: NodePools, pool: Pool) -> None:
    await pool.grow(1)
    pool.fake.control.withhold_rights("list_work_requests")
    found = await node_pools.get_pool(POOL.id, with_work_requests=True)
    assert (found.size, found.work_requests) == (1, ())
    assert "list the work requests" in (found.unread or "")


async def test_a_failure_is_known_although_its_errors_cannot_be_read(node_pools: NodePools, pool: Pool) -> None:
    pool.fake.control.run_out_of_capacity()
    await pool.grow(1)
    pool.fake.control.break_service(None, 500, "list_work_request_errors")
    found = await node_pools.get_pool(POOL.id, with_work_requests=True)
    assert (found.work_requests[0].has_failed, found.work_requests[0].errors) == (True, ())
    assert found.unread is None


async def test_a_phantom_has_an_error_and_no_instance(node_pools: NodePools, pool: Pool) -> None:
    pool.fake.control.run_out_of_capacity()
    (node,) = await pool.grow(1)
    assert node.is_phantom
    assert node.error is not None
    assert (node.error.code, node.error.message) == ("InternalError", "Out of host capacity.")
    assert node.error.request_id


async def test_a_failed_work_request_is_read_with_its_errors(node_pools: NodePools, pool: Pool) -> None:
    pool.fake.control.exceed_limit()
    etag = (await node_pools.get_pool(POOL.id)).etag
    request_id = await node_pools.resize(POOL.id, 1, etag)
    assert request_id is not None
    assert (await node_pools.get_work_request(request_id)).is_running
    await pool.wait()
    request = await node_pools.get_work_request(request_id)
    assert (request.status, request.errors[0].code) == ("FAILED", "LimitExceeded")


async def test_an_instance_is_what_is_billed(node_pools: NodePools, pool: Pool) -> None:
    (node,) = await pool.grow(1)
    instance = await node_pools.get_instance(node.instance_id or "")
    assert instance is not None
    assert (instance.id, instance.lifecycle_state, instance.shape) == (node.instance_id, "RUNNING", "VM.GPU3.2")
    assert not instance.preemptible
    assert instance.time_created.timestamp() == pytest.approx(pool.fake.ledger.entries()[0].time_created, abs=0.01)


async def test_an_instance_that_never_was_is_none(node_pools: NodePools) -> None:
    assert await node_pools.get_instance("ocid1.instance.oc1.iad.nowhere") is None


# Resizing


async def test_a_resize_sends_the_size_and_the_etag_alone(node_pools: NodePools, fake_oci: Fake) -> None:
    etag = (await node_pools.get_pool(POOL.id)).etag
    request_id = await node_pools.resize(POOL.id, 3, etag)
    assert (request_id or "").startswith("ocid1.")
    (call,) = fake_oci.log.of("update_node_pool")
    assert call.parameters == {"pool": POOL.id, "if-match": etag, "size": 3}
    assert fake_oci.log.violations == []


async def test_a_pool_that_somebody_else_changed_is_stale(node_pools: NodePools, fake_oci: Fake) -> None:
    etag = (await node_pools.get_pool(POOL.id)).etag
    fake_oci.control.resize(5)
    error = await refusal(node_pools.resize(POOL.id, 1, etag))
    assert error.kind is OciErrorKind.STALE
    assert fake_oci.cloud.pools[POOL.id].size == 5
    assert len(fake_oci.log.of("update_node_pool")) == 1


async def test_a_resize_whose_answer_is_lost_happens_once(node_pools: NodePools, fake_oci: Fake) -> None:
    etag = (await node_pools.get_pool(POOL.id)).etag
    fake_oci.control.lose_answers(operation="update_node_pool")
    error = await refusal(node_pools.resize(POOL.id, 2, etag))
    assert error.kind is OciErrorKind.STALE
    assert (await node_pools.get_pool(POOL.id)).size == 2


async def test_a_busy_pool_is_left_to_the_caller_at_once(node_pools: NodePools, fake_oci: Fake) -> None:
    etag = (await node_pools.get_pool(POOL.id)).etag
    fake_oci.control.conflict(None)
    assert (await refusal(node_pools.resize(POOL.id, 1, etag))).kind is OciErrorKind.BUSY
    assert len(fake_oci.log.of("update_node_pool")) == 1


# Removing a node


async def test_a_node_is_removed_at_once_and_not_replaced(node_pools: NodePools, pool: Pool) -> None:
    first, second = await pool.grow(2)
    assert await node_pools.delete_node(POOL.id, first.instance_id or "")
    (call,) = pool.fake.log.of("delete_node")
    assert call.parameters == {
        "pool": POOL.id,
        "instance": first.instance_id,
        "isDecrementSize": "true",
        "overrideEvictionGraceDuration": "PT0M",
        "isForceDeletionAfterOverrideGraceDuration": "true",
    }
    await pool.wait()
    found = await node_pools.get_pool(POOL.id)
    assert found.size == 1
    assert [node.instance_id for node in found.nodes if node.is_alive] == [second.instance_id]
    assert pool.fake.log.violations == []


async def test_a_node_that_is_being_deleted_needs_no_more(node_pools: NodePools, pool: Pool) -> None:
    (node,) = await pool.grow(1)
    await node_pools.delete_node(POOL.id, node.instance_id or "")
    assert await node_pools.delete_node(POOL.id, node.instance_id or "") is None


async def test_a_node_that_is_gone_needs_no_more(node_pools: NodePools, pool: Pool) -> None:
    (node,) = await pool.grow(1)
    await node_pools.delete_node(POOL.id, node.instance_id or "")
    await pool.wait()
    assert await node_pools.delete_node(POOL.id, node.instance_id or "") is None


async def test_a_removal_whose_answer_is_lost_is_done(node_pools: NodePools, pool: Pool) -> None:
    (node,) = await pool.grow(1)
    pool.fake.control.lose_answers(operation="delete_node")
    assert await node_pools.delete_node(POOL.id, node.instance_id or "") is None
    assert pool.fake.cloud.pools[POOL.id].size == 0


async def test_a_pool_busy_with_something_else_has_not_removed_the_node(node_pools: NodePools, pool: Pool) -> None:
    (node,) = await pool.grow(1)
    pool.fake.control.conflict(None, operation="delete_node")
    error = await refusal(node_pools.delete_node(POOL.id, node.instance_id or ""))
    assert error.kind is OciErrorKind.BUSY


async def test_a_missing_right_to_remove_is_not_taken_for_a_removal(node_pools: NodePools, pool: Pool) -> None:
    (node,) = await pool.grow(1)
    pool.fake.control.withhold_rights("delete_node")
    error = await refusal(node_pools.delete_node(POOL.id, node.instance_id or ""))
    assert error.kind is OciErrorKind.DENIED
    assert (await node_pools.get_pool(POOL.id)).size == 1


async def test_a_hidden_pool_is_not_taken_for_a_removal(node_pools: NodePools, pool: Pool) -> None:
    (node,) = await pool.grow(1)
    pool.fake.control.hide_pool()
    assert (await refusal(node_pools.delete_node(POOL.id, node.instance_id or ""))).kind is OciErrorKind.DENIED


# Failures


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "InvalidParameter", OciErrorKind.INVALID),
        (400, "QuotaExceeded", OciErrorKind.LIMIT),
        (401, "NotAuthenticated", OciErrorKind.DENIED),
        (404, "NotFound", OciErrorKind.NOT_FOUND),
        (404, "NotAuthorizedOrNotFound", OciErrorKind.DENIED),
        (409, "LockConflict", OciErrorKind.BUSY),
    ],
)
async def test_a_refusal_is_not_repeated_and_names_its_request(
    node_pools: NodePools, fake_oci: Fake, status: int, code: str, kind: OciErrorKind
) -> None:
    fake_oci.control.refuse(status, code)
    error = await refusal(node_pools.get_pool(POOL.id))
    (call,) = fake_oci.log.calls
    assert (error.kind, error.request_id) == (kind, call.request_id)
    assert str(error).startswith(f'Cannot read node pool {POOL.id}: Oracle answered {status} {code}, "Refused"; ')


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, OciErrorKind.THROTTLED), (500, OciErrorKind.UNAVAILABLE), (503, OciErrorKind.UNAVAILABLE)],
)
async def test_a_service_in_trouble_is_asked_three_times(
    node_pools: NodePools, fake_oci: Fake, status: int, kind: OciErrorKind
) -> None:
    fake_oci.control.refuse(status, "Trouble", count=None)
    assert (await refusal(node_pools.get_pool(POOL.id))).kind is kind
    assert len(fake_oci.log.calls) == 3


async def test_a_short_trouble_goes_unnoticed(node_pools: NodePools, fake_oci: Fake) -> None:
    fake_oci.control.throttle(1)
    assert (await node_pools.get_pool(POOL.id)).id == POOL.id


async def test_a_service_that_is_not_there_is_unavailable(fake_oci: Fake) -> None:
    access = replace(access_to(fake_oci), endpoint="http://127.0.0.1:9")
    error = await _error_of(access)
    assert error.kind is OciErrorKind.UNAVAILABLE
    assert "no answer came from Oracle (Connection refused)" in str(error)


async def test_a_call_ends_at_its_deadline(fake_oci: Fake) -> None:
    fake_oci.control.slow_down(1.0)
    opened = NodePools(access_to(fake_oci), deadline_seconds=0.05)
    error = await refusal(opened.get_pool(POOL.id))
    assert error.kind is OciErrorKind.UNAVAILABLE
    assert "no answer came within 0.05 s" in str(error)
    await asyncio.to_thread(opened.close)


async def test_calls_run_side_by_side(node_pools: NodePools, fake_oci: Fake) -> None:
    await node_pools.get_pool(POOL.id)
    fake_oci.control.slow_down(0.2)
    found = await asyncio.gather(*(node_pools.get_pool(POOL.id) for _ in range(8)))
    assert {pool.id for pool in found} == {POOL.id}


# Signing in


async def test_a_secret_without_keys_names_each_of_them() -> None:
    access = OciAccess(PoolAuth.CONFIG_SECRET, "us-ashburn-1", {"user": "ocid1.user.oc1..x", "key": " "})
    error = await _error_of(access)
    assert error.kind is OciErrorKind.INVALID
    assert str(error) == (
        "Cannot sign in to Oracle: the Secret of spec.auth.configSecretRef lacks 'tenancy' (the OCID of the tenancy), "
        "'fingerprint' (the fingerprint of the API key), 'key' (the private API key in PEM); add it."
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tenancy", "mine"),
        ("user", "nobody"),
        ("fingerprint", "12"),
        ("key", "-----BEGIN topsecret"),
        ("key", "schlüssel"),
    ],
)
async def test_a_secret_that_cannot_be_used_says_which_key_and_not_what_it_holds(
    fake_oci: Fake, name: str, value: str
) -> None:
    error = await _error_of(access_to(fake_oci, **{name: value}))
    assert error.kind is OciErrorKind.INVALID
    assert f"'{name}' of the Secret" in str(error)
    assert value not in str(error)
    assert fake_oci.log.calls == []


async def test_a_key_that_oracle_does_not_know_is_denied(fake_oci: Fake) -> None:
    error = await _error_of(access_to(fake_oci, fingerprint=":".join(["00"] * 16)))
    assert error.kind is OciErrorKind.DENIED
    assert "check that the credentials of spec.auth are valid" in str(error)


def test_nothing_secret_is_shown_of_an_access(fake_oci: Fake) -> None:
    assert "PRIVATE KEY" not in repr(access_to(fake_oci))


async def _error_of(access: OciAccess) -> OciError:
    opened = NodePools(access)
    try:
        return await refusal(opened.get_pool(POOL.id))
    finally:
        opened.close()
