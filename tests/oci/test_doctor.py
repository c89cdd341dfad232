"""Looking at a node pool of the fake cloud over the wire: what the SDK is answered and refused becomes findings."""

import base64
import gzip
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from devcluster.oracle.clock import FakeClock
from devcluster.oracle.running import FakeOci
from masktrain_operator.core.doctor.findings import Check, Finding, Level
from masktrain_operator.core.doctor.policies import principals_of, rights_for
from masktrain_operator.core.doctor.pools import CLOUD_INIT
from masktrain_operator.core.doctor.seen import OraclePool, OracleView, Seen, StorageNeeds
from masktrain_operator.shell.doctor.command import diagnose
from masktrain_operator.shell.doctor.oracle import Signing, Watch, look_at_pool
from tests.devcluster.fixtures import POOL
from tests.oci.conftest import Pool, access_to
from tests.unit.operator.core.doctor import healthy

Look = Callable[..., list[Finding]]
GROWS = base64.b64encode("\n".join(CLOUD_INIT).encode()).decode()


@pytest.fixture
def look(fake_oci: FakeOci[FakeClock]) -> Look:
    """All findings with what Oracle shows now, the rest of the world being healthy."""

    def now(**changes: Any) -> list[Finding]:
        view, _ = _view(fake_oci, as_operator=changes.pop("as_operator", True))
        return diagnose(_seen(view, **changes), StorageNeeds())

    return now


def _view(fake: FakeOci[FakeClock], *, as_operator: bool = True) -> tuple[OracleView, Watch]:
    access = access_to(fake)
    return look_at_pool(POOL.id, Signing(access.region, access, as_operator=as_operator, for_good=True), fake.endpoint)


def _seen(view: OracleView, **changes: Any) -> Seen:
    return healthy.seen(**{"oracle": {healthy.NAME: view}, "nodes": (), **changes})


def grant(fake: FakeOci[FakeClock], *left_out: str) -> None:
    """Exactly the statements that the pool takes, without those about `left_out`."""
    view, _ = _view(fake)
    oke = view.pool
    assert isinstance(oke, OraclePool)
    whose = principals_of(healthy.pool().spec.auth.type, healthy.OPERATOR, oke)
    texts = [who.statement(right, oke.compartment_id) for right in rights_for(oke) for who in whose]
    fake.control.set_policies([text for text in texts if not any(f" {name} " in text for name in left_out)])


def faults(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level is Level.FAULT]


async def test_nothing_is_at_fault_in_a_healthy_tenancy(fake_oci: FakeOci[FakeClock], pool: Pool, look: Look) -> None:
    await pool.grow(1)
    grant(fake_oci)

    findings = look()

    assert [finding for finding in findings if finding.level in (Level.FAULT, Level.WARNING)] == []
    assert "all 7 rights are granted" in [finding.said for finding in findings]
    assert not any(finding.blind for finding in findings)


@pytest.mark.parametrize("left_out", [("vnics",), ("virtual-network-family", "cluster-work-requests")])
def test_statements_that_no_policy_has_are_named(
    fake_oci: FakeOci[FakeClock], look: Look, left_out: tuple[str, ...]
) -> None:
    grant(fake_oci, *left_out)

    named = {finding.said.split('"')[1].split()[1] for finding in faults(look())}
    assert named == set(left_out)


def test_a_policy_of_the_tenancy_counts_and_an_inactive_one_does_not(fake_oci: FakeOci[FakeClock], look: Look) -> None:
    everything = ["Allow any-user to manage all-resources in tenancy"]
    fake_oci.control.set_policies(everything, "ocid1.tenancy.oc1..faketenancy")
    assert faults(look()) == []

    fake_oci.cloud.tenancy.policies[0].state = "INACTIVE"
    assert len(faults(look())) == 7


@pytest.mark.parametrize(
    ("operation", "statement"),
    [
        ("get_node_pool", "manage cluster-node-pools"),
        ("list_work_requests", "read cluster-work-requests"),
        ("get_instance", "manage instance-family"),
        ("get_compartment", "inspect compartments"),
    ],
)
async def test_each_refused_call_is_the_one_statement_that_allows_it(
    fake_oci: FakeOci[FakeClock], pool: Pool, look: Look, operation: str, statement: str
) -> None:
    await pool.grow(1)
    grant(fake_oci)
    fake_oci.control.withhold_rights(operation)

    (finding,) = faults(look())

    assert (finding.check, statement in finding.paste[0]) == (Check.POLICIES, True)


def test_a_refused_sight_of_the_policies_is_unknown_and_names_the_right(
    fake_oci: FakeOci[FakeClock], look: Look
) -> None:
    fake_oci.control.withhold_rights("list_policies")

    findings = look()

    assert faults(findings) == []
    (finding,) = [each for each in findings if each.check is Check.POLICIES]
    assert (finding.level, "read policies in the tenancy" in finding.advice) == (Level.UNKNOWN, True)


@pytest.mark.parametrize("operation", ["get_cluster", "list_addons"])
def test_a_cluster_that_may_not_be_read_is_unknown(fake_oci: FakeOci[FakeClock], look: Look, operation: str) -> None:
    grant(fake_oci)
    fake_oci.control.withhold_rights(operation)

    findings = look()

    assert faults(findings) == []
    assert [f.level for f in findings if f.check is Check.CLUSTER] == [Level.UNKNOWN]


def test_a_basic_cluster_without_the_add_on_and_its_plugin_is_two_faults(
    fake_oci: FakeOci[FakeClock], look: Look
) -> None:
    grant(fake_oci)
    fake_oci.control.set_cluster("BASIC_CLUSTER")

    assert [f.check for f in faults(look(plugins=()))] == [Check.CLUSTER, Check.DEVICE_PLUGIN]


def test_what_people_set_on_the_pool_is_read(fake_oci: FakeOci[FakeClock], look: Look) -> None:
    grant(fake_oci)
    fake_oci.control.describe_pool(
        {
            "nodeSourceDetails": {"bootVolumeSizeInGBs": 200},
            "nodeConfigDetails": {"nsgIds": ["ocid1.networksecuritygroup.oc1.iad.a"]},
        }
    )

    found = faults(look())
    assert [finding.check for finding in found] == [Check.POLICIES, Check.BOOT_VOLUME]
    assert "network-security-groups" in found[0].said


@pytest.mark.parametrize("user_data", [GROWS, base64.b64encode(gzip.compress("\n".join(CLOUD_INIT).encode())).decode()])
def test_cloud_init_is_read_also_when_compressed(fake_oci: FakeOci[FakeClock], look: Look, user_data: str) -> None:
    grant(fake_oci)
    fake_oci.control.describe_pool(
        {"nodeSourceDetails": {"bootVolumeSizeInGBs": 200}, "nodeMetadata": {"user_data": user_data}}
    )
    assert faults(look()) == []


def test_placements_and_the_images_name_are_read(fake_oci: FakeOci[FakeClock], look: Look) -> None:
    placements = [
        {"availabilityDomain": f"Uocm:US-ASHBURN-AD-{number}", "subnetId": "s", "capacityReservationId": "r"}
        for number in (1, 2)
    ]
    fake_oci.control.describe_pool(
        {
            "nodeConfigDetails": {"placementConfigs": placements},
            "nodeSource": {"sourceType": "IMAGE", "sourceName": healthy.PLAIN_IMAGE},
        }
    )
    grant(fake_oci)

    findings = look()

    assert [f.check for f in findings if f.level is Level.WARNING] == [Check.DOMAINS]
    assert [f.check for f in faults(findings)] == [Check.DRIVERS]


def test_a_wrong_key_is_a_failed_sign_in_and_nothing_else(fake_oci: FakeOci[FakeClock]) -> None:
    access = access_to(fake_oci, fingerprint="00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff")
    view, _ = look_at_pool(POOL.id, Signing(access.region, access, as_operator=True, for_good=True), fake_oci.endpoint)

    (finding,) = faults(diagnose(_seen(view), StorageNeeds()))

    assert (finding.check, "401 NotAuthenticated" in finding.said) == (Check.SIGN_IN, True)


def test_a_service_that_is_broken_is_no_fault_of_the_policies(fake_oci: FakeOci[FakeClock], look: Look) -> None:
    fake_oci.control.refuse(501, "NotImplemented", count=None, operation="get_node_pool")

    findings = look()

    assert faults(findings) == []
    assert any(finding.blind for finding in findings)


@pytest.mark.parametrize(("ahead", "level"), [(0.0, Level.OK), (-120.0, Level.WARNING), (400.0, Level.FAULT)])
def test_oracles_clock_is_read_from_its_answers(fake_oci: FakeOci[FakeClock], ahead: float, level: Level) -> None:
    fake_oci.control.put_clock_ahead(ahead)

    view, watch = _view(fake_oci)

    assert watch.ahead_seconds == pytest.approx(ahead, abs=2)
    clock = replace(healthy.seen().clocks[1], ahead_seconds=watch.ahead_seconds)
    (finding,) = [f for f in diagnose(_seen(view, clocks=(clock,)), StorageNeeds()) if f.check is Check.CLOCKS]
    assert finding.level is level


def test_nothing_is_ever_changed(fake_oci: FakeOci[FakeClock], look: Look) -> None:
    grant(fake_oci)
    look()

    assert {call.method for call in fake_oci.log.calls} == {"GET"}
