"""The operator's sign of life: what is written can be read, and tells when."""

import asyncio
from datetime import UTC, datetime, timedelta
from unittest.mock import AsyncMock, Mock

import pytest

from masktrain_operator.api.labels import LOOKS_ANNOTATION
from masktrain_operator.shell.lease import Looks, lease_manifest, looks_in, renew_for_ever, renewed_at

NOW = datetime(2026, 3, 4, 5, 6, 7, 80_900, UTC)


def test_a_lease_tells_who_renewed_it_when_to_the_microsecond() -> None:
    spec = lease_manifest("masktrain-system", "masktrain-operator-7c9f-x2x", NOW)["spec"]

    assert spec["holderIdentity"] == "masktrain-operator-7c9f-x2x"
    assert spec["renewTime"] == "2026-03-04T05:06:07.080900Z"


def test_the_time_of_a_renewal_is_read_back() -> None:
    lease = lease_manifest("masktrain-system", "operator", NOW)

    assert renewed_at(lease) == NOW
    assert renewed_at({"spec": {"holderIdentity": "operator"}}) is None


async def test_an_operator_that_cannot_look_at_its_pools_gives_no_sign_of_life() -> None:
    """The sweeper stays out for as long as the Lease is fresh."""
    client = Mock(apply=AsyncMock())
    asked = asyncio.Event()

    def tends_pools() -> bool:
        asked.set()
        return False

    task = asyncio.create_task(renew_for_ever(client, "masktrain-system", tends_pools))
    await asked.wait()
    task.cancel()

    client.apply.assert_not_called()


def test_the_last_looks_at_pools_stand_on_the_lease() -> None:
    """An operator may live and stand still; an idle one writes nothing but its Lease."""
    moment = NOW.replace(microsecond=0)
    lease = lease_manifest("masktrain-system", "operator", NOW, {"uid-of-gpu": NOW})

    assert looks_in(lease) == {"uid-of-gpu": moment}
    assert looks_in(lease_manifest("masktrain-system", "operator", NOW)) == {}


@pytest.mark.parametrize("said", ["", "{", "[]", '"now"', '{"a": 1}', '{"a": "soon"}', "[" * 100_000])
def test_looks_that_cannot_be_read_say_nothing(said: str) -> None:
    assert looks_in({"metadata": {"annotations": {LOOKS_ANNOTATION: said}}}) == {}
    assert looks_in({"metadata": {}}) == {}


def test_a_pool_counts_from_when_it_is_first_asked_about_and_is_forgotten_with_its_end() -> None:
    moments = iter((NOW, NOW + timedelta(seconds=5), NOW + timedelta(seconds=9)))
    looks = Looks(lambda: next(moments))

    assert looks.of(["a"]) == {"a": NOW}
    looks.note("a")
    assert looks.of(["a", "b"]) == {"a": NOW + timedelta(seconds=5), "b": NOW + timedelta(seconds=9)}
    assert looks.of([]) == {}
