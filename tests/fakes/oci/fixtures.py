"""Pytest fixtures: a fake Oracle Cloud on a clock that the test moves."""

from collections.abc import Iterator

import pytest

from tests.fakes.oci.clock import FakeClock
from tests.fakes.oci.credentials import Credentials
from tests.fakes.oci.in_process import FakeOci, running
from tests.fakes.oci.pool_state import PoolSettings

POOL = PoolSettings(id="ocid1.nodepool.oc1.iad.fakegpupool")


@pytest.fixture(scope="session")
def oci_credentials() -> Credentials:
    """One key for all tests: drawing it takes a tenth of a second."""
    return Credentials.create()


@pytest.fixture
def fake_oci(oci_credentials: Credentials) -> Iterator[FakeOci[FakeClock]]:
    """One empty pool of VM.GPU3.2, `POOL`; `control.add_pool` makes more."""
    with running((POOL,), FakeClock(), oci_credentials) as fake:
        yield fake
