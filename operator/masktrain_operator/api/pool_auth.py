"""Who the operator is to Oracle's APIs."""

from enum import StrEnum


class PoolAuth(StrEnum):
    """`InstancePrincipal`: the node it runs on; `WorkloadIdentity`: its ServiceAccount; `ConfigSecret`: an API key."""

    INSTANCE_PRINCIPAL = "InstancePrincipal"
    WORKLOAD_IDENTITY = "WorkloadIdentity"
    CONFIG_SECRET = "ConfigSecret"  # noqa: S105 (the name of a type)
