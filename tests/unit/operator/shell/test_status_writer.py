"""A merge patch turns the old document into the new one, and is empty exactly if they are equal."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masktrain_operator.shell.status_writer import WriteRate, merge_patch

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
