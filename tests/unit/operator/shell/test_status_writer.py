"""A merge patch turns the old document into the new one, and is empty exactly if they are equal."""

import contextlib
from typing import Any
from unittest.mock import AsyncMock, Mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masktrain_operator.shell.status_writer import (
    MOST_KEYS,
    WRITE_BURST,
    WRITES_PER_SECOND,
    Allowance,
    StatusWriter,
    WriteRate,
    merge_patch,
)
from masktrain_operator.shell.work_queue import RetryAfter

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
LEAVES = st.integers() | st.text(max_size=3) | st.booleans() | st.lists(st.integers(), max_size=3)
DOCUMENTS = st.dictionaries(
    st.sampled_from("abcd"),
    st.recursive(LEAVES, lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=4), max_leaves=8),
    max_size=4,
)


def patched(document: Any, patch: Any) -> Any:
    """RFC 7386, section 2, word for word."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = patched(result.get(key), value)
    return result


@UNHURRIED
@given(DOCUMENTS, DOCUMENTS)
def test_the_patch_of_two_documents_leads_from_one_to_the_other(old: Any, new: Any) -> None:
    assert patched(old, merge_patch(old, new)) == new


@UNHURRIED
@given(DOCUMENTS)
def test_equal_documents_need_no_patch(document: Any) -> None:
    assert merge_patch(document, document) == {}


def test_only_what_differs_is_sent() -> None:
    old = {"state": "Running", "progress": {"epoch": 1, "step": 10, "eta": 5}, "outputs": []}
    new = {"state": "Running", "progress": {"epoch": 1, "step": 11}, "outputs": []}

    assert merge_patch(old, new) == {"progress": {"eta": None, "step": 11}}


def test_writes_are_spaced_evenly_and_a_waiting_key_keeps_its_turn() -> None:
    rate = WriteRate(per_second=2)

    assert [rate.wait_seconds(key, 0.0) for key in "abc"] == [0, 0.5, 1.0]
    assert rate.wait_seconds("b", 0.4) > 0
    assert rate.wait_seconds("d", 0.4) > 1
    assert rate.wait_seconds("b", 0.5) == 0
    assert rate.wait_seconds("c", 1.0) == 0


def test_after_a_pause_the_first_write_is_free() -> None:
    rate = WriteRate(per_second=2)
    rate.wait_seconds("a", 0.0)

    assert rate.wait_seconds("a", 100.0) == 0
    assert rate.wait_seconds("a", 100.0) == 0.5


def test_a_thousand_jobs_are_written_at_the_rate() -> None:
    rate = WriteRate(per_second=20)

    waits = [rate.wait_seconds(str(number), 0.0) for number in range(1000)]

    assert max(waits) == 999 / 20 or abs(max(waits) - 999 / 20) < 1e-6


def test_a_burst_is_granted_and_then_what_time_gives_back() -> None:
    allowance = Allowance(burst=3, per_second=0.5)

    assert [allowance.wait_seconds("a", 0.0) for _ in range(4)] == [0, 0, 0, 2]
    assert allowance.wait_seconds("b", 0.0) == 0, "each for itself"
    assert [allowance.wait_seconds("a", moment) for moment in (1.0, 2.0, 2.0)] == [1, 0, 2]


def test_what_is_larger_than_the_burst_goes_once_and_owes_the_rest() -> None:
    allowance = Allowance(burst=3, per_second=1)

    assert allowance.wait_seconds("a", 0.0, cost=10) == 0
    assert allowance.wait_seconds("a", 0.0) == 8


def test_a_decision_of_the_operator_never_waits() -> None:
    allowance = Allowance(burst=1, per_second=1)

    assert [allowance.wait_seconds("a", 0.0, urgent=True) for _ in range(3)] == [0, 0, 0]
    assert allowance.wait_seconds("a", 0.0) == 3


def test_keys_that_owe_nothing_are_forgotten() -> None:
    allowance = Allowance(burst=1, per_second=1)
    for number in range(MOST_KEYS + 100):
        allowance.wait_seconds(number, float(number))

    assert len(allowance) <= MOST_KEYS


async def test_one_job_cannot_write_as_often_and_as_much_as_its_pod_likes() -> None:
    client, now = Mock(), [0.0]
    client.merge_patch_status = AsyncMock(return_value={"metadata": {"uid": "u", "resourceVersion": "2"}})
    allowance = Allowance(WRITE_BURST, WRITES_PER_SECOND)
    writer = StatusWriter(client, Mock(), WriteRate(per_second=1000), lambda: now[0], allowance=allowance)
    body = {"metadata": {"name": "masks", "namespace": "vision", "uid": "u", "resourceVersion": "1"}, "status": {}}
    for look in range(200):
        now[0] += 0.1
        with contextlib.suppress(RetryAfter):
            await writer.write(body, {"dataset": {"classes": [str(look) * 30_000]}})

    assert client.merge_patch_status.call_count < 12
    assert await writer.write(body, {"completionTime": "2026-01-01T00:00:00Z"}), "the end is said at once"
