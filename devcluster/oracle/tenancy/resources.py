"""Compartments, policies and the cluster, and what people set on node pools. Nothing of it moves by itself."""

import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

TENANCY = "ocid1.tenancy.oc1..faketenancy"
COMPARTMENT = "ocid1.compartment.oc1..fakecompartment"
IMAGE_NAME = "Oracle-Linux-8.10-Gen2-GPU-2025.03.18-0-OKE-1.34.1-950"
"""As Oracle names its images with a driver: oci ce node-pool-options get --node-pool-option-id all."""
Json = dict[str, Any]


@dataclass
class Compartment:
    """`parent`: None for the tenancy, which is the root compartment."""

    name: str
    parent: str | None


@dataclass
class Policy:
    compartment: str
    statements: list[str]
    state: str = "ACTIVE"


@dataclass
class Tenancy:
    """`pools`: more fields of node pools, in the API's own JSON, by OCID."""

    compartments: dict[str, Compartment] = field(
        default_factory=lambda: {TENANCY: Compartment("acme", None), COMPARTMENT: Compartment("vision", TENANCY)}
    )
    policies: list[Policy] = field(default_factory=list)
    cluster_type: str = "ENHANCED_CLUSTER"
    addons: dict[str, str] = field(default_factory=lambda: {"NvidiaGpuPlugin": "ACTIVE"})
    pools: dict[str, Json] = field(default_factory=dict)
    clock_ahead_seconds: float = 0.0

    def described(self, pool: Json) -> Json:
        """With what was set on it, section by section. The image's name is in the older of two descriptions of it."""
        more = self.pools.get(pool["id"], {})
        named = {"nodeSource": {"sourceType": "IMAGE", "sourceName": IMAGE_NAME, "imageId": "ocid1.image.oc1..fake"}}
        return _merged({**named, **pool}, more)

    def date(self) -> str:
        """What its clock says, as the header of an answer."""
        return formatdate(time.time() + self.clock_ahead_seconds, usegmt=True)


def _merged(one: Json, other: Json) -> Json:
    both = {key: _merged(one[key], value) for key, value in other.items() if _are_sections(one.get(key), value)}
    return {**one, **other, **both}


def _are_sections(one: Any, other: Any) -> bool:
    return isinstance(one, dict) and isinstance(other, dict)
