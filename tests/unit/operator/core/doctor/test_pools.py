"""What a pool at Oracle is like."""

from dataclasses import replace
from typing import Any

import pytest

from masktrain_operator.core.doctor.findings import Check, Level, NotSeen
from masktrain_operator.core.doctor.pools import CLOUD_INIT, has_no_driver
from masktrain_operator.core.doctor.seen import GIB, PlacementConfig, SeenCluster
from tests.unit.operator.core.doctor.healthy import (
    GPU_IMAGE,
    NAME,
    NODE,
    ORACLE_POOL,
    PLAIN_IMAGE,
    faults,
    found,
    pool,
    view,
)

ORACLES_SCRIPT = "\n".join(CLOUD_INIT[:-1])
GROWING_SCRIPT = "\n".join(CLOUD_INIT)


def at_oracle(**changes: Any) -> dict[str, Any]:
    return {NAME: view(replace(ORACLE_POOL, **changes))}


def test_several_availability_domains_are_a_warning() -> None:
    two = at_oracle(placements=(PlacementConfig("Uocm:AD-1"), PlacementConfig("Uocm:AD-2")))

    (finding,) = found(Level.WARNING, oracle=two)
    assert (finding.check, "Uocm:AD-1, Uocm:AD-2" in finding.said) == (Check.DOMAINS, True)
    assert faults(oracle=two) == []


@pytest.mark.parametrize(
    ("shape", "spec", "level", "words"),
    [
        ("VM.GPU.NEW.1", {}, Level.FAULT, "spec.gpusPerNode"),
        ("VM.GPU.NEW.1", {"gpusPerNode": 1}, Level.WARNING, "spec.hourlyPrice"),
        ("VM.GPU2.1", {}, Level.FAULT, "another shape"),
        ("BM.GPU.MI300X.8", {}, Level.FAULT, "another shape"),
    ],
)
def test_a_shape_that_nobody_knows_or_no_image_runs_on_is_said(
    shape: str, spec: dict[str, Any], level: Level, words: str
) -> None:
    (finding,) = [
        each
        for each in found(level, pools=(pool(**spec),), oracle=at_oracle(shape=shape))
        if each.check is Check.PRICES
    ]
    assert (shape in finding.said, words in finding.advice) == (True, True)


def test_a_price_of_ones_own_is_a_price() -> None:
    pools = (pool(gpusPerNode=1, hourlyPrice="3.5"),)
    (finding,) = [e for e in found(Level.OK, pools=pools, oracle=at_oracle(shape="VM.X.1")) if e.check is Check.PRICES]
    assert "3.5 USD" in finding.said


def test_preemptible_capacity_that_oracle_does_not_offer_is_a_warning() -> None:
    (finding,) = found(Level.WARNING, oracle=at_oracle(shape="BM.GPU4.8", preemptible=True))
    assert "preemptible" in finding.said


def test_a_boot_volume_that_nothing_grows_is_a_fault_before_any_node_comes() -> None:
    (finding,) = faults(nodes=(), oracle=at_oracle(boot_volume_gb=200))

    assert finding.check is Check.BOOT_VOLUME
    assert finding.paste == CLOUD_INIT
    assert faults(nodes=(), oracle=at_oracle(boot_volume_gb=200, cloud_init=GROWING_SCRIPT)) == []
    assert faults(nodes=(), oracle=at_oracle(boot_volume_gb=47, cloud_init=ORACLES_SCRIPT)) == []


def test_of_other_images_it_is_only_doubted() -> None:
    ubuntu = at_oracle(boot_volume_gb=200, image="Canonical-Ubuntu-22.04")

    assert faults(nodes=(), oracle=ubuntu) == []
    assert [finding.check for finding in found(Level.WARNING, nodes=(), oracle=ubuntu)] == [Check.BOOT_VOLUME]


def test_a_node_that_stands_is_the_better_witness() -> None:
    ungrown = replace(NODE, capacity_bytes=36 * GIB, allocatable_bytes=32 * GIB)
    grown = replace(NODE, capacity_bytes=180 * GIB)

    (finding,) = faults(nodes=(ungrown,), oracle=at_oracle(boot_volume_gb=200, cloud_init=GROWING_SCRIPT))
    assert "oke-1 36 GiB" in finding.said
    assert faults(nodes=(grown,), oracle=at_oracle(boot_volume_gb=200)) == []


def test_a_script_that_does_not_start_oracles_is_a_fault() -> None:
    (finding,) = faults(nodes=(), oracle=at_oracle(cloud_init="#!/bin/bash\n/usr/libexec/oci-growfs -y\n"))
    assert "never join" in finding.said


def test_a_script_that_cannot_be_read_is_unknown() -> None:
    unreadable = at_oracle(boot_volume_gb=200, cloud_init=NotSeen("no text"))
    assert faults(nodes=(), oracle=unreadable) == []
    assert Check.BOOT_VOLUME in [finding.check for finding in found(Level.UNKNOWN, nodes=(), oracle=unreadable)]


def test_workload_identity_takes_an_enhanced_cluster() -> None:
    basic = {NAME: view(cluster=SeenCluster(False, {}))}

    (finding,) = faults(oracle=basic)
    assert (finding.check, "basic" in finding.said) == (Check.CLUSTER, True)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (GPU_IMAGE, False),
        (PLAIN_IMAGE, True),
        ("Oracle-Linux-8.10-aarch64-2024.09.30-0-OKE-1.30.1-747", True),
        ("my-gpu-image", False),
        ("ocid1.image.oc1.iad.a", False),
        ("Canonical-Ubuntu-22.04-2024.10.04-0-OKE-1.30.1", False),
    ],
)
def test_only_of_oracles_own_images_it_is_known_that_they_lack_a_driver(image: str, expected: bool) -> None:
    assert has_no_driver(image) is expected


def test_a_sign_in_that_fails_is_the_operators_fault_only_where_it_is_the_operators() -> None:
    failed = NotSeen("Cannot sign in to Oracle")
    mine = view(sign_in=failed, pool=failed, policies=None)
    (finding,) = faults(oracle={NAME: mine})
    assert finding.check is Check.SIGN_IN

    elsewhere = replace(mine, is_refused_for_good=False)
    assert faults(oracle={NAME: elsewhere}) == []
    assert any(finding.blind for finding in found(Level.UNKNOWN, oracle={NAME: elsewhere}))
