"""What the operator hands to the pods of one attempt, and the names both sides must spell alike."""

from pydantic import Field

from .base import Contract
from .spec import CheckpointSpec, DatasetSpec, EvaluationSpec, ExportSpec, ModelSpec, TrainingSpec

CONFIG_VARIABLE = "MASKTRAIN_CONFIG"
"""Environment variable that holds a `RunConfig` as JSON."""
DEVICE_VARIABLE = "MASKTRAIN_DEVICE"
"""`auto` (default: a GPU per rank, and an error if the pod has none) or `cpu` (gloo, for tests and CPU clusters)."""
POD_UID_VARIABLE = "MASKTRAIN_POD_UID"
"""The pod's uid (downward API): the tie-break of two writers that claim the same run number."""
WEIGHTS_MIRROR_VARIABLE = "MASKTRAIN_WEIGHTS_MIRROR"
"""Prefix under which the files of YOLOv5's release lie, in place of GitHub: s3://, oci:// or https://. A variable and
not a key of the configuration, which an earlier image would refuse to read; a user's own replaces the cluster's."""

PROGRESS_PORT = 8080
"""Port of the supervisor's `GET /progress`, `/metrics` and `/healthz`."""
# torchrun's own default.
RENDEZVOUS_PORT = 29500
WORKSPACE = "/workspace"
"""Scratch volume of a pod: the unpacked data set, the image cache, files between the pod's processes."""
DATASET_CREDENTIALS = "/var/run/masktrain/dataset-credentials"
CHECKPOINT_CREDENTIALS = "/var/run/masktrain/checkpoint-credentials"
EVALUATION_CREDENTIALS = "/var/run/masktrain/evaluation-credentials"
"""Folders of the mounted Secrets: one file per key. They are mounted as optional, so that a missing one is a sentence
of the trainer instead of a pod that never starts."""
WORKLOAD_IDENTITY = "/var/run/masktrain/workload-identity"
"""Folder with `token` and `ca.crt` of the pods' ServiceAccount, where a store signs as it."""
WEIGHTS_URL = "/var/run/masktrain/weights-url/url"
"""File with the URL that `model.weightsSecretRef` names, mounted in the same way."""
DATASET_URL = "/var/run/masktrain/dataset-url/url"
"""File with the link that `dataset.uriSecretRef` names, mounted in the same way."""
DATASET_URL_VARIABLE = "MASKTRAIN_DATASET_URL"
"""Where a person without a cluster puts such a link: arguments are in every list of processes and in histories."""

RESERVED_VARIABLES = (
    "PET_NNODES",
    "PET_NPROC_PER_NODE",
    "PET_NODE_RANK",
    "PET_MASTER_ADDR",
    "PET_MASTER_PORT",
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    CONFIG_VARIABLE,
    POD_UID_VARIABLE,
)
"""Environment variables that belong to the launch; the API refuses them in `compute.env`."""


class RunConfig(Contract):
    """One attempt of one job."""

    namespace: str
    name: str
    uid: str
    attempt: int = Field(ge=0)
    model: ModelSpec
    dataset: DatasetSpec
    training: TrainingSpec
    checkpoint: CheckpointSpec
    hang_timeout_seconds: int = Field(ge=10)
    stop_grace_seconds: int = Field(ge=10)
    export: ExportSpec | None = None
    evaluation: EvaluationSpec | None = None
