"""The spec of a MaskTrainingJob, and the cross-field rules of both resources in CEL.

What is trained is the trainer's contract; where and how long is added here. The API server checks the rules before
anything is stored. Transition rules stand on `spec` as a whole and look at both sides with has(): a rule on an optional
field itself is not evaluated when the field is removed, so that removing and adding it again would change what must not
change.
"""

from dataclasses import dataclass

from pydantic import Field

from masktrain_trainer.config import (
    CHECKPOINT_CREDENTIALS,
    RESERVED_VARIABLES,
    WORKSPACE,
    CheckpointSpec,
    Contract,
    DatasetSpec,
    EvaluationSpec,
    ExportSpec,
    JobModelSpec,
    TrainingSpec,
)
from masktrain_trainer.config.addresses import LINK_SIGNS

from .compute import ComputeSpec
from .pool_spec import Price

YEAR_SECONDS = 31_536_000


class LimitsSpec(Contract):
    """When to give up; every field may be changed while the job runs and then counts for the next attempt's pods."""

    max_restarts_without_progress: int = Field(
        default=3,
        ge=0,
        le=100,
        description="Restarts after a crash or a hang that follow each other without a newer checkpoint; "
        "preemptions are never counted.",
    )
    start_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=YEAR_SECONDS,
        description="Longest wait for all workers of an attempt to start; after it the job fails as CapacityNotFound. "
        "Nodes of a GPUNodePool are kept no longer than its startTimeoutSeconds, whatever is set here.",
    )
    max_cost: Price | None = Field(
        default=None,
        description="USD that the job may cost on the nodes of a GPUNodePool; at the limit it stops with a checkpoint "
        "and fails as CostLimitReached.",
    )
    active_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=YEAR_SECONDS,
        description="Longest life of the job over all attempts, from its start time.",
    )
    hang_timeout_seconds: int = Field(
        default=300, ge=10, le=86_400, description="A rank without a step for this long is hung."
    )
    stop_grace_seconds: int = Field(
        default=120, ge=10, le=3600, description="Time that a pod has to store a checkpoint when it is asked to stop."
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=YEAR_SECONDS,
        description="Delete pods, Jobs and the Service this long after the end; the resource and its status stay.",
    )


class MaskTrainingJobSpec(Contract):
    model: JobModelSpec = Field(default=JobModelSpec(), description="The detector and where its weights start.")
    dataset: DatasetSpec = Field(description="What to train on.")
    training: TrainingSpec = Field(default=TrainingSpec(), description="How to train.")
    checkpoint: CheckpointSpec = Field(description="Where checkpoints and results go.")
    compute: ComputeSpec = Field(default=ComputeSpec(), description="What to train with.")
    export: ExportSpec | None = Field(
        default=None, description="Twins of best.pt for other runtimes, stored beside it; without it none is made."
    )
    evaluation: EvaluationSpec | None = Field(
        default=None, description="Sample pictures and videos that best.pt is run on after the training."
    )
    limits: LimitsSpec = Field(default=LimitsSpec(), description="When to give up.")


MAX_NAME = 50
"""Names of Jobs, pods and host names add `-<attempt>-<rank>` and must stay within 63 characters."""

IMMUTABLE_SECTIONS = ("model", "dataset", "training", "checkpoint", "export", "evaluation")
IMMUTABLE_COMPUTE = (
    "nodes",
    "gpusPerNode",
    "gpuResource",
    "nodePoolRef",
    "imagePullSecrets",
    "priorityClassName",
    "serviceAccountName",
    "sharedMemory",
    "persistentVolumeClaims",
)


RESERVED_FOLDERS = (WORKSPACE, "/tmp", "/dev", "/proc", "/sys", CHECKPOINT_CREDENTIALS.rpartition("/")[0])  # noqa: S108
"""Folders that a pod uses itself."""


@dataclass(frozen=True)
class Rule:
    rule: str
    message: str
    field_path: str | None = None
    """The field to name in the error, relative to where the rule stands."""

    def to_manifest(self) -> dict[str, str]:
        path = {"fieldPath": f".{self.field_path}"} if self.field_path else {}
        return {"rule": self.rule, "message": self.message, **path}


def object_rules() -> list[dict[str, str]]:
    """Rules on the whole object: the only place that sees metadata.name."""
    return [
        Rule(
            f"self.metadata.name.size() <= {MAX_NAME} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            f"metadata.name must be at most {MAX_NAME} characters: lower-case letters, digits and '-', starting with a "
            "letter and not ending with '-', because Jobs, pods and host names are made from it.",
        ).to_manifest()
    ]


def spec_rules() -> list[dict[str, str]]:
    rules = [
        *_sizes(),
        *_weights(),
        *_dataset(),
        *_store_auth(),
        *_after_training(),
        *_environment(),
        *_file_uris(),
        *_mount_paths(),
        *_gpu_resource(),
        *_immutability(),
    ]
    return [rule.to_manifest() for rule in rules]


def _sizes() -> list[Rule]:
    return [
        Rule(
            "self.training.autoBatch || self.training.batchSize % (self.compute.nodes * self.compute.gpusPerNode) == 0",
            "training.batchSize counts the images of all ranks together and must be a multiple of "
            "compute.nodes x compute.gpusPerNode (or leave the batch to training.autoBatch).",
            "training.batchSize",
        ),
        Rule(
            "!self.model.architecture.endsWith('6') || self.training.imageSize % 64 == 0",
            "training.imageSize must be a multiple of 64 for the architectures that end in 6: "
            "their largest stride is 64 pixels.",
            "training.imageSize",
        ),
        Rule(
            "self.training.freeze <= 24 || self.model.architecture.endsWith('6')",
            "training.freeze must be at most 24: this architecture has 24 layers before its head "
            "(those that end in 6 have 33).",
            "training.freeze",
        ),
        Rule(
            "!(self.training.compile && self.training.multiScale)",
            "training.compile and training.multiScale exclude each other: a compiled model trains at one size.",
            "training.compile",
        ),
    ]


def _weights() -> list[Rule]:
    return [
        Rule(
            # What the API server puts in where weights are left out: today, and when a stored job was created.
            "!has(self.model.weightsSecretRef) || self.model.weights in ['official', 'scratch']",
            "model.weights and model.weightsSecretRef exclude each other: leave out the one that is not meant.",
            "model.weightsSecretRef",
        )
    ]


def _dataset() -> list[Rule]:
    return [
        Rule(
            "has(self.dataset.uri) != has(self.dataset.uriSecretRef)",
            "dataset needs either uri or, for a link that carries its key, uriSecretRef, and not both.",
            "dataset",
        )
    ]


def _after_training() -> list[Rule]:
    return [
        Rule(
            "!has(self.export) || !has(self.export.int8) || !self.export.int8 || 'OpenVINO' in self.export.formats",
            "export.int8 is for OpenVINO: add it to export.formats.",
            "export.int8",
        ),
        Rule(
            f"!has(self.evaluation) || !self.evaluation.sources.exists(source, source.startsWith('https://') && "
            f"source.matches('{LINK_SIGNS}'))",
            "evaluation.sources must not carry a query or a key: everybody who may read the job would read it.",
            "evaluation.sources",
        ),
        Rule(
            "!has(self.evaluation) || self.evaluation.sources.all(source, !source.startsWith('file://') || "
            "(has(self.compute.persistentVolumeClaims) && self.compute.persistentVolumeClaims.exists(claim, "
            "source.startsWith('file://' + claim.mountPath + '/'))))",
            "A file:// URI in evaluation.sources must lie below the mountPath of one of "
            "compute.persistentVolumeClaims.",
            "evaluation.sources",
        ),
    ]


def _store_auth() -> list[Rule]:
    return [
        *_auth_of("dataset", "(has(self.dataset.uri) && self.dataset.uri.startsWith('oci://'))"),
        *_auth_of(
            "checkpoint", "(self.checkpoint.uri.startsWith('oci://') || self.model.weights.startsWith('oci://'))"
        ),
        *_auth_of("evaluation", "self.evaluation.sources.exists(source, source.startsWith('oci://'))", optional=True),
    ]


def _auth_of(section: str, is_oracles: str, *, optional: bool = False) -> list[Rule]:
    store, auth = f"self.{section}.store", f"{section}.store.auth"
    unsaid = f"!has({store}) || !has({store}.auth)"
    if optional:
        unsaid = f"!has(self.{section}) || {unsaid}"
    return [
        Rule(
            f"{unsaid} || ({store}.auth == 'Secret') == has({store}.credentialsSecretRef)",
            f"{section}.store.credentialsSecretRef belongs to {auth} Secret, and only to it.",
            f"{section}.store",
        ),
        Rule(
            f"{unsaid} || {store}.auth == 'Secret' || {is_oracles}",
            f"{auth} WorkloadIdentity and InstancePrincipal are for oci:// URIs only.",
            f"{section}.store",
        ),
        Rule(
            f"{unsaid} || {store}.auth != 'WorkloadIdentity' || has({store}.region) || has({store}.endpoint)",
            f"{auth} WorkloadIdentity needs {section}.store.region, the region of the bucket.",
            f"{section}.store",
        ),
    ]


def _environment() -> list[Rule]:
    reserved = ", ".join(f"'{name}'" for name in RESERVED_VARIABLES)
    return [
        Rule(
            f"!has(self.compute.env) || self.compute.env.all(variable, !(variable.name in [{reserved}]))",
            "compute.env must not name a variable that the launch itself sets: " + ", ".join(RESERVED_VARIABLES) + ".",
            "compute.env",
        ),
        Rule(
            "!has(self.compute.env) || "
            "self.compute.env.all(variable, !(has(variable.value) && has(variable.valueFrom)))",
            "A variable in compute.env has either a value or a valueFrom, not both.",
            "compute.env",
        ),
    ]


def _file_uris() -> list[Rule]:
    return [
        _mounted("dataset.uri", "self.dataset.uri", optional=True),
        _mounted("model.weights", "self.model.weights"),
        _mounted("checkpoint.uri", "self.checkpoint.uri", writable=True),
    ]


def _mounted(field: str, uri: str, *, writable: bool = False, optional: bool = False) -> Rule:
    """A file:// URI has to lie on a claim, or every pod would see a folder of its own that ends with it."""
    may_write = " && !claim.readOnly" if writable else ""
    # With the slashes: else /data2 would pass as a folder of a claim at /data.
    covered = f"(({uri} + '/').startsWith('file://' + claim.mountPath + '/')){may_write}"
    message = (
        f"{field} is a file:// URI: it must lie below the mountPath of one of compute.persistentVolumeClaims"
        f"{' that is not readOnly' if writable else ''}."
    )
    claims = "self.compute.persistentVolumeClaims"
    other = f"!{uri}.startsWith('file://')"
    other = f"!has({uri}) || {other}" if optional else other
    return Rule(f"{other} || (has({claims}) && {claims}.exists(claim, {covered}))", message, field)


def _mount_paths() -> list[Rule]:
    folders = ", ".join(f"'{folder}'" for folder in RESERVED_FOLDERS)
    inside = f"[{folders}].exists(folder, (claim.mountPath + '/').startsWith(folder + '/'))"
    claims = "self.compute.persistentVolumeClaims"
    return [
        Rule(
            f"!has({claims}) || {claims}.all(claim, !{inside})",
            "A claim must not be mounted in a folder that the pods use themselves: "
            + ", ".join(RESERVED_FOLDERS)
            + ".",
            "compute.persistentVolumeClaims",
        )
    ]


def _gpu_resource() -> list[Rule]:
    gpus = "name == self.compute.gpuResource || name in ['nvidia.com/gpu', 'amd.com/gpu']"
    absent = (
        f"(!has(self.compute.resources.{section}) || "
        f"!self.compute.resources.{section}.exists(name, {gpus} || name.startsWith('nvidia.com/mig-')))"
        for section in ("requests", "limits")
    )
    return [
        Rule(
            "!has(self.compute.resources) || (" + " && ".join(absent) + ")",
            "compute.resources must not name a GPU resource (nvidia.com/gpu, nvidia.com/mig-*, amd.com/gpu, or that of "
            "compute.gpuResource): compute.gpusPerNode says how many.",
            "compute.resources",
        )
    ]


def _immutability() -> list[Rule]:
    sections = [_immutable("self", "oldSelf", section, section) for section in IMMUTABLE_SECTIONS]
    compute = [_immutable("self.compute", "oldSelf.compute", f, f"compute.{f}") for f in IMMUTABLE_COMPUTE]
    return sections + compute


def _immutable(new: str, old: str, field: str, path: str) -> Rule:
    same = f"has({new}.{field}) == has({old}.{field}) && (!has({new}.{field}) || {new}.{field} == {old}.{field})"
    return Rule(
        same,
        f"{path} cannot change once the job exists: create a new job. "
        "Only limits and compute.image, env, resources, tolerations and nodeSelector can.",
        path,
    )


MAX_POOL_NAME = 63
"""The name is the value of a label on nodes and pods."""


def pool_object_rules() -> list[dict[str, str]]:
    """Rules on the whole object: the only place that sees metadata.name."""
    return [
        Rule(
            f"self.metadata.name.size() <= {MAX_POOL_NAME}",
            f"metadata.name must be at most {MAX_POOL_NAME} characters, because nodes carry it as a label.",
        ).to_manifest()
    ]


def pool_spec_rules() -> list[dict[str, str]]:
    return [rule.to_manifest() for rule in (*_pool_sizes(), *_pool_auth(), *_pool_immutability())]


def _pool_sizes() -> list[Rule]:
    return [Rule("self.minNodes <= self.maxNodes", "minNodes must not be larger than maxNodes.", "minNodes")]


def _pool_auth() -> list[Rule]:
    return [
        Rule(
            "(self.auth.type == 'ConfigSecret') == has(self.auth.configSecretRef)",
            "auth.configSecretRef belongs to auth.type ConfigSecret, and only to it.",
            "auth",
        )
    ]


def _pool_immutability() -> list[Rule]:
    """Another pool would make the nodes and costs in the status those of the wrong one."""
    return [
        Rule(
            f"self.{field} == oldSelf.{field}",
            f"{field} cannot change: create another GPUNodePool for another node pool.",
            field,
        )
        for field in ("nodePoolId", "region")
    ]
