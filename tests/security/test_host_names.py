"""Attacks on the names by which ranks find each other: a name that is also another team's leads to its pods."""

from masktrain_operator.core.manifests.job import job_manifest
from tests.unit.operator.manifests import NAMESPACE, SETTINGS, training_job

CLUSTER = "svc.cluster.local"
NDOTS = 5
"""As the kubelet writes it into a pod's resolv.conf: a name of fewer dots is looked for in the search path first."""


def asked_for(name: str, namespace: str) -> list[str]:
    """What a resolver in a pod of that namespace asks for, one after the other, until a name exists."""
    search = [f"{namespace}.{CLUSTER}", CLUSTER, CLUSTER.partition(".")[2]]
    found = [f"{name}.{domain}" for domain in search]
    return [*found, name] if name.count(".") < NDOTS else [name, *found]


def namespaces_in(names: list[str]) -> set[str]:
    """Where the cluster's names are that a Service of somebody's could have: `[host.]service.namespace.svc`."""
    parts = [name.removesuffix(f".{CLUSTER}").split(".") for name in names if name.endswith(f".{CLUSTER}")]
    # A name of more parts is nobody's.
    return {part[-1] for part in parts if len(part) <= 3}


def test_no_other_namespace_has_a_name_by_which_ranks_look_for_rank_zero() -> None:
    """Attack: Service `masks-0-0` in namespace `masks`, for job `masks` of any other one. Ranks that started before
    rank 0 was published found it there, joined the stranger, and sent it their gradients."""
    job = training_job(compute={"nodes": 2})
    (container,) = job_manifest(job, 0, SETTINGS)["spec"]["template"]["spec"]["containers"]
    address = next(variable["value"] for variable in container["env"] if variable["name"] == "PET_MASTER_ADDR")

    assert namespaces_in(asked_for(address, NAMESPACE)) == {NAMESPACE}
    assert job.metadata.name in namespaces_in(asked_for("masks-0-0.masks", NAMESPACE)), "the name before"
