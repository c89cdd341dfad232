"""What a user may ask of a training run.

The `MaskTrainingJob` resource embeds these models, so every field, bound, default and description here is also the
cluster's API. Nothing in this module may import more than pydantic: the operator loads it without torch.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from .base import Contract

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in lower-case hex.")]
Uri = Annotated[
    str, Field(pattern=r"^(s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9](/.*)?|file:///.+)$", min_length=8, max_length=1024)
]
ObjectUri = Annotated[
    str, Field(pattern=r"^(s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]/.+|file:///.+)$", min_length=8, max_length=1024)
]
Fraction = Annotated[float, Field(ge=0, le=1)]


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


class Schedule(StrEnum):
    LINEAR = "Linear"
    COSINE = "Cosine"


class Optimizer(StrEnum):
    SGD = "SGD"
    ADAM = "Adam"
    ADAMW = "AdamW"


class Precision(StrEnum):
    """Auto takes what the device does well: bfloat16 from Ampere on, float16 on older GPUs, float32 on CPU."""

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


class StoreSpec(Contract):
    """How to reach the object store behind an s3:// URI."""

    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/]+(/[^\s]*)?$",
        max_length=512,
        description="URL of the S3 endpoint; unset means AWS.",
    )
    region: str = Field(
        default="us-east-1", min_length=1, max_length=64, description="Region that requests are signed for."
    )
    credentials_secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
        "(and AWS_SESSION_TOKEN if needed).",
    )


class ModelSpec(Contract):
    architecture: Architecture = Field(default=Architecture.YOLOV5S, description="Size of the YOLOv5 detector.")
    weights: str = Field(
        default="scratch",
        pattern=r"^(scratch|s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]/.+|file:///.+)$",
        max_length=1024,
        description="Where training starts: 'scratch', or the URI of a best.pt that MaskTrain wrote "
        "(read with checkpoint.store).",
    )
    sha256: Sha256 | None = Field(default=None, description="Expected SHA-256 of the weights file.")


class DatasetSpec(Contract):
    uri: ObjectUri = Field(description="A Roboflow export in YOLOv5 format: a .zip with data.yaml, images and labels.")
    sha256: Sha256 | None = Field(default=None, description="Expected SHA-256 of the zip.")
    store: StoreSpec | None = Field(default=None, description="How to reach the store of an s3:// URI.")


class Hyperparameters(Contract):
    """YOLOv5's hyperparameters under their full names; the defaults are its 'scratch-low' preset."""

    learning_rate: float = Field(default=0.01, gt=0, le=10, description="Initial learning rate (lr0).")
    final_learning_rate_fraction: Fraction = Field(
        default=0.01, description="Final learning rate as a fraction of the initial one (lrf)."
    )
    momentum: Fraction = Field(default=0.937, description="SGD momentum.")
    weight_decay: Fraction = Field(default=0.0005, description="Weight decay at the nominal batch size.")
    nominal_batch_size: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="Gradients are accumulated until about this many images make one optimizer step.",
    )
    warmup_epochs: float = Field(default=3.0, ge=0, le=100, description="Length of the warm-up in epochs.")
    warmup_min_iterations: int = Field(default=100, ge=0, le=100_000, description="Shortest warm-up in batches.")
    warmup_momentum: Fraction = Field(default=0.8, description="Momentum at the start of the warm-up.")
    warmup_bias_learning_rate: Fraction = Field(
        default=0.1, description="Learning rate of biases at the start of the warm-up."
    )
    ema_decay: float = Field(
        default=0.9999, ge=0, lt=1, description="Final decay of the exponential moving average of the weights."
    )
    ema_ramp_steps: int = Field(
        default=2000, ge=1, le=1_000_000, description="Optimizer steps over which the decay ramps up (time constant)."
    )
    box_gain: float = Field(default=0.05, ge=0, le=100, description="Weight of the box loss.")
    class_gain: float = Field(default=0.5, ge=0, le=100, description="Weight of the class loss.")
    class_positive_weight: float = Field(
        default=1.0, gt=0, le=100, description="Weight of positives in the class BCE (cls_pw)."
    )
    objectness_gain: float = Field(default=1.0, ge=0, le=100, description="Weight of the objectness loss.")
    objectness_positive_weight: float = Field(
        default=1.0, gt=0, le=100, description="Weight of positives in the objectness BCE (obj_pw)."
    )
    anchor_threshold: float = Field(
        default=4.0,
        gt=1,
        le=100,
        description="Largest ratio of a box side to an anchor side that still matches (anchor_t).",
    )
    focal_gamma: float = Field(
        default=0.0, ge=0, le=10, description="Gamma of the focal loss; 0 switches it off (fl_gamma)."
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Label smoothing of the class loss.")
    hsv_hue: Fraction = Field(default=0.015, description="Hue augmentation, fraction.")
    hsv_saturation: Fraction = Field(default=0.7, description="Saturation augmentation, fraction.")
    hsv_value: Fraction = Field(default=0.4, description="Value augmentation, fraction.")
    degrees: float = Field(default=0.0, ge=0, le=180, description="Rotation, plus or minus degrees.")
    translate: Fraction = Field(default=0.1, description="Translation, plus or minus a fraction of the image.")
    scale: Fraction = Field(default=0.5, description="Scaling gain, plus or minus.")
    shear: float = Field(default=0.0, ge=0, le=90, description="Shear, plus or minus degrees.")
    perspective: float = Field(default=0.0, ge=0, le=0.001, description="Perspective, plus or minus.")
    flip_vertical: Fraction = Field(default=0.0, description="Probability of an upside-down flip (flipud).")
    flip_horizontal: Fraction = Field(default=0.5, description="Probability of a left-right flip (fliplr).")
    mosaic: Fraction = Field(default=1.0, description="Probability that a sample is a mosaic of four images.")


class TrainingSpec(Contract):
    epochs: int = Field(default=100, ge=1, le=10_000, description="Passes over the training images.")
    batch_size: int = Field(default=16, ge=1, le=65_536, description="Images per iteration over all ranks together.")
    image_size: int = Field(
        default=640, ge=64, le=4096, multiple_of=32, description="Side of the square training images in pixels."
    )
    patience: int = Field(
        default=100, ge=0, le=10_000, description="Stop after this many epochs without a better fitness; 0 means never."
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
        description="Data loader processes per rank; unset takes the pod's CPU limit divided by its ranks, at most 8.",
    )
    hyperparameters: Hyperparameters = Field(
        default=Hyperparameters(), description="Overrides of YOLOv5's scratch-low preset."
    )


class CheckpointSpec(Contract):
    uri: Uri = Field(description="Prefix under which checkpoints, best.pt and results are written.")
    store: StoreSpec | None = Field(default=None, description="How to reach the store of an s3:// URI.")
    interval_seconds: int = Field(
        default=300, ge=5, le=86_400, description="Longest time between two checkpoints while training."
    )
    keep: Keep = Field(default=Keep.BEST, description="What stays in the store once the job is complete.")
