"""What a user may ask of a training run.

The `MaskTrainingJob` resource embeds these models, so every field, bound, default and description here is also the
cluster's API. Nothing in this module may import more than pydantic: the operator loads it without torch.
"""

import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from .addresses import (
    BUCKET,
    DATASET_WITH_QUERY,
    ENDPOINT_SIGNS,
    ENDPOINT_WITH_LOGIN,
    LINK,
    LINK_SIGNS,
    WEIGHTS_WITH_QUERY,
    shown_url,
)
from .base import Contract, not_filled_in
from .hyperparameters import HyperparameterOverrides, Hyperparameters, Preset

_SHA256 = re.compile("(?:sha256:)?([0-9a-fA-F]{64})")


def _bare_digits(value: object) -> object:
    """In lower case and without the prefix of registries: one checksum has one spelling, whoever printed it."""
    if not isinstance(value, str):
        return value
    found = _SHA256.fullmatch(value.strip())
    if found is None:
        raise ValueError("must be the 64 hex digits that sha256sum prints")
    return found[1].lower()


Sha256 = Annotated[
    str,
    Field(pattern=r"^(sha256:)?[0-9a-fA-F]{64}$", description="SHA-256 in hex, in capitals or not."),
    BeforeValidator(_bare_digits),
]
Uri = Annotated[str, Field(pattern=rf"^({BUCKET}(/.*)?|file:///.+)$", min_length=8, max_length=1024)]
DatasetUri = Annotated[str, Field(pattern=rf"^({BUCKET}/.+|file:///.+|{LINK})$", min_length=8, max_length=1024)]


class Architecture(StrEnum):
    """YOLOv5 detector sizes; the ones ending in 6 have a fourth head at stride 64."""

    YOLOV5N = "yolov5n"
    YOLOV5S = "yolov5s"
    YOLOV5M = "yolov5m"
    YOLOV5L = "yolov5l"
    YOLOV5X = "yolov5x"
    YOLOV5N6 = "yolov5n6"
    YOLOV5S6 = "yolov5s6"
    YOLOV5M6 = "yolov5m6"
    YOLOV5L6 = "yolov5l6"
    YOLOV5X6 = "yolov5x6"

    @property
    def max_stride(self) -> int:
        """Largest stride of the head, in pixels: image sizes must be a multiple of it."""
        return 64 if self.value.endswith("6") else 32

    @property
    def native_image_size(self) -> int:
        """Side in pixels that it is made for: YOLOv5's table of models."""
        return 1280 if self.value.endswith("6") else 640


class Schedule(StrEnum):
    LINEAR = "Linear"
    COSINE = "Cosine"


class Optimizer(StrEnum):
    SGD = "SGD"
    ADAM = "Adam"
    ADAMW = "AdamW"


class Precision(StrEnum):
    """Auto takes what the device does well: bfloat16 on newer GPUs and CPUs, float16 on older GPUs, else float32."""

    AUTO = "Auto"
    FLOAT32 = "Float32"
    FLOAT16 = "Float16"
    BFLOAT16 = "BFloat16"


class Keep(StrEnum):
    BEST = "Best"
    BEST_AND_LAST = "BestAndLast"
    ALL = "All"


class SecretRef(Contract):
    name: str = Field(min_length=1, max_length=253, description="Name of a Secret in the job's namespace.")


class SecretKeyRef(Contract):
    name: str = Field(min_length=1, max_length=253, description="Name of a Secret in the job's namespace.")
    key: str = Field(min_length=1, max_length=253, description="Key within the Secret.")


def _refused(rule: str, message: str) -> dict[str, Any]:
    """A rule of the API server for one field, in CEL.

    It stands on the field itself, so that an object that was stored before there was the rule can still be changed
    everywhere else; for the same reason pydantic, which reads stored objects, knows nothing of it.
    """
    return {"x-kubernetes-validations": [{"rule": rule, "message": message}]}


class StoreAuth(StrEnum):
    """Who signs the requests to a store."""

    WORKLOAD_IDENTITY = "WorkloadIdentity"
    INSTANCE_PRINCIPAL = "InstancePrincipal"
    SECRET = "Secret"  # noqa: S105 - the name of a kind


class StoreSpec(Contract):
    """How to reach the object store behind an s3:// or oci:// URI."""

    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/]+(/[^\s]*)?$",
        max_length=512,
        description="URL of the store, without a login or a query; unset means AWS for s3:// and the region's Object "
        "Storage for oci://.",
        json_schema_extra=_refused(f"!self.matches('{ENDPOINT_SIGNS}')", ENDPOINT_WITH_LOGIN),
    )
    region: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="Region of the bucket; unset means us-east-1 for s3://. oci:// needs it, unless the node signs.",
    )
    auth: StoreAuth | None = Field(
        default=None,
        description="Who signs: WorkloadIdentity, the pods' ServiceAccount in an enhanced OKE cluster; "
        "InstancePrincipal, the node they run on, which every pod on it can do; Secret, the keys of "
        "credentialsSecretRef. Unset means Secret where there is one, else WorkloadIdentity for oci://; jobs that were "
        "there before this field go on as their node.",
    )
    credentials_secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN if "
        "needed) for s3://, or tenancy, user, fingerprint and key (and passphrase if needed) of an API key for "
        "oci://.",
    )


SCRATCH = "scratch"
OFFICIAL = "official"


def _weights(default: str) -> Any:
    return Field(
        default=default,
        pattern=rf"^({SCRATCH}|{OFFICIAL}|{BUCKET}/.+|{LINK}|file:///.+)$",
        max_length=1024,
        description="Where training starts: 'official', the file of YOLOv5's v7.0 release for the architecture, from "
        "GitHub or the cluster's mirror, for which YOLOv5's authors claim the licence AGPL-3.0; 'scratch', random "
        "weights; or the https://, s3:// or oci:// (read with checkpoint.store) or file:// URI of a .pt that YOLOv5 or "
        "MaskTrain wrote.",
        json_schema_extra=_refused(
            f"!(self.startsWith('https://') && self.matches('{LINK_SIGNS}'))", WEIGHTS_WITH_QUERY
        ),
    )


class ModelSpec(Contract):
    """As pods are told it: a configuration without `weights` means what it meant to the first version."""

    architecture: Architecture = Field(default=Architecture.YOLOV5S, description="Size of the YOLOv5 detector.")
    weights: str = _weights(SCRATCH)
    weights_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description="Key of a Secret with an https:// URL of such a .pt, for signed URLs; instead of weights, which is "
        "left out then.",
    )
    sha256: Sha256 | None = Field(default=None, description="Expected SHA-256 of the weights file.")

    @property
    def from_scratch(self) -> bool:
        """Whether the training starts from random weights."""
        return self.weights == SCRATCH and self.weights_secret_ref is None

    @property
    def from_official(self) -> bool:
        """Whether it starts from the file of YOLOv5's release."""
        return self.weights == OFFICIAL and self.weights_secret_ref is None

    @property
    def weights_shown(self) -> str:
        """Where the weights come from, in words that anybody may read."""
        if self.from_official:
            return "YOLOv5's official weights"
        secret = self.weights_secret_ref
        return shown_url(self.weights) if secret is None else f"the URL in key {secret.key} of Secret {secret.name}"


class JobModelSpec(ModelSpec):
    """As a person writes it: a job that is created without `weights` starts from the official ones.

    Jobs that are stored have what was the default when they were created (docs/adr/0014).
    """

    weights: str = _weights(OFFICIAL)

    def for_pods(self) -> ModelSpec:
        return ModelSpec(**dict(self))


class DatasetSpec(Contract):
    """One of `uri` and `uri_secret_ref`, which a rule of the API server holds: an object that is stored has one."""

    uri: DatasetUri | None = Field(
        default=None,
        description="A Roboflow export in YOLOv5 format, a .zip with data.yaml, images and labels: an s3://, oci:// or "
        "file:// URI, or an https:// download link without a key in it.",
        json_schema_extra=_refused(
            f"!(self.startsWith('https://') && self.matches('{LINK_SIGNS}'))", DATASET_WITH_QUERY
        ),
    )
    uri_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description="Key of a Secret with an https:// download link of such a zip, for links that carry a key, as "
        "Roboflow's do; instead of uri, which is left out then.",
    )
    sha256: Sha256 | None = Field(default=None, description="Expected SHA-256 of the zip.")
    store: StoreSpec | None = Field(default=None, description="How to reach the store of an s3:// or oci:// URI.")
    allow_unlabelled_validation: bool = Field(
        default=False,
        description="Train although no validation image has a box: no epoch can be measured then. Unset is false.",
        json_schema_extra=not_filled_in,
    )

    @property
    def shown(self) -> str:
        """Where the data comes from, in words that anybody may read."""
        secret = self.uri_secret_ref
        return shown_url(self.uri or "") if secret is None else f"the link in key {secret.key} of Secret {secret.name}"


class TrainingSpec(Contract):
    epochs: int = Field(default=100, ge=1, le=10_000, description="Passes over the training images.")
    batch_size: int = Field(default=16, ge=1, le=65_536, description="Images per iteration over all ranks together.")
    image_size: int = Field(
        default=640, ge=64, le=4096, multiple_of=32, description="Side of the square training images in pixels."
    )
    patience: int = Field(
        default=100,
        ge=0,
        le=10_000,
        description="Stop after this many epochs without a better fitness, counted from the first fitness above 0 and "
        "not before the end of the warm-up; 0 means never.",
    )
    require_fitness: bool = Field(
        default=False,
        description="Let the job fail if no epoch has a fitness above 0, instead of completing with the newest weights "
        "as best.pt. Unset is false.",
        json_schema_extra=not_filled_in,
    )
    optimizer: Optimizer = Field(
        default=Optimizer.SGD,
        description="SGD has Nesterov momentum; Adam and AdamW take hyperparameters.momentum as their first beta and "
        "want a learningRate about ten times smaller.",
    )
    schedule: Schedule = Field(
        default=Schedule.LINEAR, description="Shape of the learning rate's decay over all epochs."
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of initialisation, sampling and augmentation.")
    precision: Precision = Field(default=Precision.AUTO, description="Number format of forward and backward passes.")
    workers: int | None = Field(
        default=None,
        ge=0,
        le=64,
        description="Data loader processes per rank; unset takes the pod's CPU limit divided by its ranks, at most 8 "
        "for a CPU and 32 for a GPU.",
    )
    decoded_cache_gib: int = Field(
        default=20,
        ge=0,
        le=1_000_000,
        description="GiB of the pod's workspace that decoded pictures may take, as images times imageSize squared "
        "times 3 bytes; training pictures beyond it are kept as JPEGs, which the loader processes decode in each "
        "epoch. Unset is 20.",
        json_schema_extra=not_filled_in,
    )
    freeze: int = Field(
        default=0,
        ge=0,
        # So many layers come before the head in the architectures that end in 6.
        le=33,
        description="Layers that keep their weights, counted from the input: 10 is the backbone (12 in architectures "
        "that end in 6).",
    )
    multi_scale: bool = Field(
        default=False,
        description="Train every batch at a size of its own, from half to one and a half times imageSize.",
    )
    sync_batch_norm: bool = Field(
        default=False,
        description="Normalise over the batches of all ranks together; for few images per rank, on GPUs only.",
    )
    single_class: bool = Field(default=False, description="Take all classes for one: find objects, do not tell them.")
    image_weights: bool = Field(
        default=False,
        description="Show images of rare and badly found classes more often, by class counts and the last mAP50-95.",
    )
    auto_anchor: bool = Field(
        default=True,
        description="Before a new training fit the anchors to the boxes if the default ones recall 98 % or less.",
    )
    auto_batch: bool = Field(
        default=False,
        description="Take the largest batch that fits into 80 % of the GPUs' memory instead of batchSize; on CPUs "
        "batchSize stays.",
    )
    save_period: int = Field(
        default=0, ge=0, le=10_000, description="Keep the checkpoint of every so many epochs for good; 0 means none."
    )
    gpu_augmentation: bool = Field(
        default=False,
        description="Warp, blend and recolour training images on the GPU instead of in the loader processes, where few "
        "CPU cores feed a fast GPU; on CPUs it has no effect.",
    )
    compile: bool = Field(
        default=False, description="Compile the model with torch.compile: minutes at the start, faster steps after."
    )
    preset: Preset = Field(
        default=Preset.LOW,
        description="Hyperparameters to start from: YOLOv5's scratch-low, scratch-med or scratch-high, which augment "
        "more and more, or VOC for fine-tuning on little data.",
    )
    overrides: HyperparameterOverrides = Field(
        default=HyperparameterOverrides(),
        # The name in the API; here the attribute of that name is what is in force.
        alias="hyperparameters",
        description="Single hyperparameters that replace the preset's.",
    )

    @property
    def hyperparameters(self) -> Hyperparameters:
        """What is in force: the preset, and on top of it what was set."""
        return self.overrides.over(self.preset)

    def resolved(self) -> dict[str, Any]:
        """The document of this spec with every hyperparameter in force, for the record."""
        document = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return document | {"hyperparameters": self.hyperparameters.model_dump(mode="json", by_alias=True)}


class CheckpointSpec(Contract):
    uri: Uri = Field(description="Prefix under which checkpoints, best.pt and results are written.")
    store: StoreSpec | None = Field(default=None, description="How to reach the store of an s3:// or oci:// URI.")
    interval_seconds: int = Field(
        default=300, ge=5, le=86_400, description="Longest time between two checkpoints while training."
    )
    keep: Keep = Field(default=Keep.BEST, description="What stays in the store once the job is complete.")


class ExportFormat(StrEnum):
    OPENVINO = "OpenVINO"
    ONNX = "ONNX"


class ExportSpec(Contract):
    """Twins of best.pt for other runtimes, made while the pod that trained is still there."""

    formats: list[ExportFormat] = Field(
        min_length=1,
        max_length=len(ExportFormat),
        description="Formats that best.pt is also written in: OpenVINO, the fastest on CPUs, and ONNX.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    int8: bool = Field(
        default=False,
        description="Also an OpenVINO model in eight bits, calibrated on training images. Unset is false.",
        json_schema_extra=not_filled_in,
    )
    max_accuracy_loss: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="A twin whose mAP50 on the validation split is lower than best.pt's by more than this is refused. "
        "Unset is 0.01.",
        json_schema_extra=not_filled_in,
    )


class EvaluationSpec(Contract):
    """Sample media that best.pt is run on after the training."""

    sources: list[Annotated[str, Field(pattern=rf"^({BUCKET}/.+|file:///.+|{LINK})$", max_length=1024)]] = Field(
        min_length=1,
        max_length=20,
        description="Pictures and videos to detect on, as s3://, oci://, file:// URIs or https:// links without a key; "
        "the results lie in evaluation/ beside best.pt.",
    )
    store: StoreSpec | None = Field(default=None, description="How to reach the store of s3:// and oci:// URIs.")
    time_limit_seconds: int = Field(
        default=600,
        ge=10,
        le=7200,
        description="For all sources together; what is done by then is kept. Unset is 600.",
        json_schema_extra=not_filled_in,
    )
