"""What a job asks of the cluster: the `compute` section of the spec.

Fields that Kubernetes itself defines (resources, env, tolerations) keep its names and shapes, and are handed to the
pods as they are.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, JsonValue, WithJsonSchema

from masktrain_trainer.config import Contract, SecretKeyRef

QUANTITY_PATTERN = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
"""The pattern that Kubernetes' own CRDs use for resource.Quantity."""

Quantity = Annotated[
    int | str,
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "pattern": QUANTITY_PATTERN,
            "maxLength": 32,
        }
    ),
]
ResourceName = Annotated[str, Field(min_length=1, max_length=253)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253)]
LabelValue = Annotated[str, Field(max_length=63)]


def _keyed_by(field: str) -> dict[str, JsonValue]:
    """A list that server-side apply merges by `field`, and in which no two items share it."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [field]}


class Resources(Contract):
    """CPU and memory of a pod; GPUs are `gpusPerNode`."""

    requests: dict[ResourceName, Quantity] = Field(
        default={},
        max_length=16,
        description="Least resources of a pod, GPUs aside: cpu, memory, ephemeral-storage. Unless a limit is set, "
        "unset means 2Gi of memory.",
    )
    limits: dict[ResourceName, Quantity] = Field(
        default={},
        max_length=16,
        description="Most resources of a pod, GPUs aside: cpu, memory, ephemeral-storage. The latter also bounds the "
        "workspace, where the data set is unpacked, which may take 500Gi without it.",
    )


class ObjectReference(Contract):
    name: ObjectName = Field(description="Name of an object in the job's namespace.")


class EnvironmentSource(Contract):
    secret_key_ref: SecretKeyRef = Field(description="A key of a Secret.")


class EnvironmentVariable(Contract):
    """`value` or `valueFrom`, not both."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128, description="Name of the variable.")
    value: str | None = Field(default=None, max_length=4096, description="Value of the variable.")
    value_from: EnvironmentSource | None = Field(default=None, description="Where the value comes from.")


class TolerationOperator(StrEnum):
    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Contract):
    key: str | None = Field(default=None, max_length=317, description="Taint key; unset with Exists means all taints.")
    operator: TolerationOperator = Field(default=TolerationOperator.EQUAL, description="How the value is compared.")
    value: LabelValue | None = Field(default=None, description="Taint value for Equal.")
    effect: TaintEffect | None = Field(default=None, description="Taint effect; unset means all effects.")
    toleration_seconds: int | None = Field(
        default=None, ge=0, le=31_536_000, description="How long a NoExecute taint is tolerated; unset means forever."
    )


class VolumeClaim(Contract):
    """A PersistentVolumeClaim mounted into every pod; file:// URIs point below its mount path."""

    claim_name: ObjectName = Field(description="Name of a PersistentVolumeClaim in the job's namespace.")
    mount_path: str = Field(
        # No part begins with a dot: `..` would lead around the rule on folders of the pod's own.
        pattern=r"^(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)+$",
        max_length=256,
        description="Absolute folder in the pod, without a trailing slash.",
    )
    read_only: bool = Field(default=False, description="Mount without the right to write.")


class NodePoolRef(Contract):
    name: ObjectName = Field(description="Name of a GPUNodePool.")


NO_SYSTEM_CLASS: dict[str, JsonValue] = {
    "rule": "!self.startsWith('system-')",
    "message": "compute.priorityClassName must not be a system class: those are for what the cluster itself runs on.",
}
"""On the field itself, where the API server does not ask again about what a stored job has had all along."""


class ComputeSpec(Contract):
    # Single fields and no PodSpec: with a whole one in it the CRD would not fit the annotation of `kubectl apply`.
    nodes: int = Field(default=1, ge=1, le=64, description="Nodes that train together, one pod on each.")
    gpus_per_node: int = Field(default=1, ge=1, le=16, description="GPUs, and so ranks, on each node.")
    gpu_resource: str = Field(
        default="nvidia.com/gpu",
        pattern=r"^[a-z0-9]([a-z0-9.\-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9_.\-]*[A-Za-z0-9])?$",
        max_length=253,
        description="Extended resource that counts GPUs.",
    )
    node_pool_ref: NodePoolRef | None = Field(
        default=None,
        description="The GPUNodePool to train on; unset takes the cheapest one whose nodes have enough GPUs and the "
        "labels of nodeSelector, or any nodes if there is none.",
    )
    image: str | None = Field(
        default=None, min_length=1, max_length=512, description="Trainer image; unset takes the operator's. Mutable."
    )
    image_pull_secrets: list[ObjectReference] = Field(
        default=[], max_length=8, description="Secrets for the image's registry.", json_schema_extra=_keyed_by("name")
    )
    resources: Resources = Field(default=Resources(), description="CPU and memory of each pod. Mutable.")
    # Bounded, as every list that a CEL rule walks: the API server refuses rules that could cost too much.
    env: list[EnvironmentVariable] = Field(
        default=[],
        max_length=64,
        description="More environment variables of the trainer. Mutable.",
        json_schema_extra=_keyed_by("name"),
    )
    node_selector: dict[Annotated[str, Field(min_length=1, max_length=317)], LabelValue] = Field(
        default={}, max_length=32, description="Labels that a node must have. Mutable."
    )
    tolerations: list[Toleration] = Field(
        default=[], max_length=32, description="Taints to tolerate, besides those of GPU nodes. Mutable."
    )
    priority_class_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=253,
        description="PriorityClass of the pods; a GPUNodePool may allow only some, and system-* never.",
        json_schema_extra={"x-kubernetes-validations": [NO_SYSTEM_CLASS]},
    )
    service_account_name: str | None = Field(
        default=None, min_length=1, max_length=253, description="ServiceAccount of the pods; its token is not mounted."
    )
    shared_memory: Quantity = Field(default="2Gi", description="Size of /dev/shm, which counts as memory of the pod.")
    # Keyed by path and not by claim: one claim may be mounted in two places.
    persistent_volume_claims: list[VolumeClaim] = Field(
        default=[],
        max_length=8,
        description="Claims to mount into every pod.",
        json_schema_extra=_keyed_by("mountPath"),
    )
