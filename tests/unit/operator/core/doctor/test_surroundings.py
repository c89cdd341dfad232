"""Definitions, stores and clocks, and what the findings add up to."""

from typing import Any

import pytest

from masktrain_operator.core.doctor.findings import EXIT_BLIND, EXIT_FAULT, EXIT_OK, Check, Level, NotSeen, exit_code
from masktrain_operator.core.doctor.seen import Reached, SeenClock, SeenStore, StorageNeeds
from masktrain_operator.core.doctor.surroundings import addresses_to_reach
from masktrain_operator.shell.doctor.command import diagnose
from tests.unit.operator.core.doctor.healthy import NAME, faults, found, pool, seen, view


def test_a_healthy_cluster_is_all_ok() -> None:
    findings = diagnose(seen(), StorageNeeds())

    assert [finding for finding in findings if finding.level is not Level.OK] == []
    assert {finding.check for finding in findings} == set(Check)
    assert exit_code(findings) == EXIT_OK


def test_two_defects_are_two_faults_and_one_exit_code() -> None:
    changes: dict[str, Any] = {
        "clocks": (SeenClock("Oracle in us-ashburn-1", -400.0),),
        "reached": (Reached("https://objectstorage.us-ashburn-1.oraclecloud.com", NotSeen("timed out")),),
    }

    assert [finding.check for finding in faults(**changes)] == [Check.OBJECT_STORAGE, Check.CLOCKS]
    assert exit_code(diagnose(seen(**changes), StorageNeeds())) == EXIT_FAULT


@pytest.mark.parametrize(
    ("ahead", "level"),
    [(29.0, Level.OK), (-29.0, Level.OK), (31.0, Level.WARNING), (-299.0, Level.WARNING), (300.0, Level.FAULT)],
)
def test_clocks_are_judged_by_what_oracle_takes(ahead: float, level: Level) -> None:
    (finding,) = [f for f in found(level, clocks=(SeenClock("x", ahead),)) if f.check is Check.CLOCKS]
    assert finding.about == "x"


@pytest.mark.parametrize(
    ("endpoint", "is_wrong"),
    [
        ("https://acme.compat.objectstorage.us-ashburn-1.oraclecloud.com", False),
        ("https://acme.compat.objectstorage.us-ashburn-1.oci.customer-oci.com", False),
        ("https://s3.example.com", False),
        (None, False),
        ("https://objectstorage.us-ashburn-1.oraclecloud.com", True),
        ("https://compat.objectstorage.us-ashburn-1.oraclecloud.com", True),
        ("https://bucket.vhcompat.objectstorage.us-ashburn-1.oci.customer-oci.com", True),
    ],
)
def test_an_endpoint_of_oracle_that_speaks_no_s3_is_told_by_its_name(endpoint: str | None, is_wrong: bool) -> None:
    stores = (SeenStore("vision/masks", "s3://data/masks.zip", endpoint, "us-ashburn-1"),)

    assert bool(faults(stores=stores)) is is_wrong


def test_addresses_are_those_of_pools_and_of_jobs_without_repeating_any() -> None:
    stores = [
        SeenStore("a/b", "oci://data@acme/x.zip", None, "eu-frankfurt-1"),
        SeenStore("a/b", "oci://data@acme/x.zip", "https://private.example.com/path", "eu-frankfurt-1"),
        SeenStore("a/c", "s3://data/x.zip", "https://s3.example.com", None),
    ]

    assert addresses_to_reach([pool(), pool("other")], stores) == [
        "https://objectstorage.us-ashburn-1.oraclecloud.com",
        "https://objectstorage.eu-frankfurt-1.oraclecloud.com",
        "https://private.example.com",
    ]


def test_without_a_sight_of_the_pools_the_exit_code_says_so() -> None:
    findings = diagnose(
        seen(pools=NotSeen("refused", "list gpunodepools in all namespaces"), oracle={}), StorageNeeds()
    )

    assert exit_code(findings) == EXIT_BLIND
    assert "list gpunodepools" in findings[0].advice


def test_no_pools_are_a_warning_and_no_failure() -> None:
    findings = diagnose(seen(pools=(), oracle={}), StorageNeeds())

    assert exit_code(findings) == EXIT_OK
    assert findings[0].level is Level.WARNING


def test_two_pools_that_name_one_node_pool_are_a_fault_and_share_their_other_findings() -> None:
    changes: dict[str, Any] = {"pools": (pool(), pool("twin")), "oracle": {NAME: view(), "twin": view()}}

    (finding,) = faults(**changes)
    assert finding.about == "GPUNodePool gpu and GPUNodePool twin"
    (prices,) = [each for each in found(Level.OK, **changes) if each.check is Check.PRICES]
    assert prices.about == "GPUNodePool gpu, GPUNodePool twin"


def test_a_pool_that_this_version_cannot_read_is_a_fault() -> None:
    (finding,) = faults(unreadable=(("later", "spec.x is unknown"),))
    assert (finding.about, "spec.x" in finding.said) == ("GPUNodePool later", True)
