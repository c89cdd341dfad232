"""A cluster and a tenancy in which nothing is at fault; tests plant defects in it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.doctor.findings import Finding, Level
from masktrain_operator.core.doctor.policies import INSTANCE, principals_of, rights_for
from masktrain_operator.core.doctor.seen import (
    GIB,
    Compartment,
    Operator,
    OraclePool,
    OracleView,
    PlacementConfig,
    Policies,
    Reached,
    Seen,
    SeenClock,
    SeenCluster,
    SeenNode,
    SeenPlugin,
    SeenStore,
    StorageNeeds,
)
from masktrain_operator.shell.doctor.command import diagnose

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
NAME = "gpu"
OCID = "ocid1.nodepool.oc1.iad.pool"
TENANCY = Compartment("ocid1.tenancy.oc1..acme", "acme")
COMPARTMENT = Compartment("ocid1.compartment.oc1..vision", "vision")
CLUSTER = "ocid1.cluster.oc1.iad.cluster"
GPU_IMAGE = "Oracle-Linux-8.10-Gen2-GPU-2025.03.18-0-OKE-1.34.1-950"
PLAIN_IMAGE = "Oracle-Linux-8.10-2025.03.18-0-OKE-1.34.1-950"
OPERATOR = Operator("masktrain-system", ("masktrain-operator", "masktrain-operator-sweeper"))
NODE = SeenNode(
    name="oke-1",
    pool=NAME,
    ready_changed=NOW - timedelta(hours=1),
    ready=True,
    gpus=2,
    driver="570.133.20",
    allocatable_bytes=90 * GIB,
    capacity_bytes=100 * GIB,
)
ORACLE_POOL = OraclePool(
    id=OCID,
    name="gpu",
    compartment_id=COMPARTMENT.id,
    cluster_id=CLUSTER,
    shape="VM.GPU3.2",
    image=GPU_IMAGE,
    placements=(PlacementConfig("Uocm:US-ASHBURN-AD-1"),),
)
PROBES = dict.fromkeys(("get_node_pool", "list_work_requests", "get_instance", "get_compartment"))


def pool(name: str = NAME, **spec: Any) -> GPUNodePool:
    """With the fields of the API."""
    whole = {"nodePoolId": OCID, "region": "us-ashburn-1", "maxNodes": 4, **spec}
    metadata = {"name": name, "uid": name, "creationTimestamp": NOW.isoformat()}
    return GPUNodePool.parse({"metadata": metadata, "spec": whole})


def statements(oke: OraclePool = ORACLE_POOL, auth: str = "WorkloadIdentity") -> tuple[str, ...]:
    """Exactly those that a pool takes, as they are offered for pasting."""
    principals = principals_of(pool(auth=_auth(auth)).spec.auth.type, OPERATOR, oke)
    return tuple(who.statement(right, oke.compartment_id) for right in rights_for(oke) for who in principals)


def instance_statements() -> tuple[str, ...]:
    return tuple(INSTANCE.statement(right, COMPARTMENT.id) for right in rights_for(ORACLE_POOL))


def _auth(kind: str) -> dict[str, Any]:
    return {"type": kind, **({"configSecretRef": {"name": "key"}} if kind == "ConfigSecret" else {})}


def view(oke: OraclePool = ORACLE_POOL, granted: tuple[str, ...] | None = None, **changes: Any) -> OracleView:
    """`granted`: the text of the policies, by default all that is needed."""
    texts = statements(oke) if granted is None else granted
    healthy = OracleView(
        as_operator=True,
        sign_in=None,
        pool=oke,
        probes=PROBES,
        policies=Policies((COMPARTMENT, TENANCY), texts),
        cluster=SeenCluster(True, {"NvidiaGpuPlugin": "ACTIVE"}),
    )
    return replace(healthy, **changes)


def seen(**changes: Any) -> Seen:
    healthy = Seen(
        now=NOW,
        operator=OPERATOR,
        pools=(pool(),),
        nodes=(NODE,),
        plugins=(SeenPlugin("nvidia-gpu-device-plugin", "kube-system", "NVIDIA"),),
        stores=(SeenStore("vision/masks", "oci://data@acme/masks.zip", None, "us-ashburn-1"),),
        oracle={NAME: view()},
        reached=(Reached("https://objectstorage.us-ashburn-1.oraclecloud.com", None),),
        clocks=(SeenClock("the API server", 0.2), SeenClock("Oracle in us-ashburn-1", -0.4)),
    )
    return replace(healthy, **changes)


USUAL = StorageNeeds()


def found(level: Level, needs: StorageNeeds = USUAL, **changes: Any) -> list[Finding]:
    """All findings of that level where everything else is healthy."""
    return [finding for finding in diagnose(seen(**changes), needs) if finding.level is level]


def faults(needs: StorageNeeds = USUAL, **changes: Any) -> list[Finding]:
    return found(Level.FAULT, needs, **changes)
