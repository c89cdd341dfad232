"""The operator's sign of life: what is written can be read, and tells when."""

import asyncio
from datetime import UTC, datetime
from unittest.mock import AsyncMock, Mock

from masktrain_operator.shell.lease import lease_manifest, renew_for_ever, renewed_at

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
