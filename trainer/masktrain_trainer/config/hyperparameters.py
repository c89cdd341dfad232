"""YOLOv5's hyperparameters, its four presets of them, and what a user sets on top.

What a user left unset stays unset in every document, so that it is the preset that speaks there.
"""

from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field, create_model
from pydantic.fields import FieldInfo

from .base import Contract

Fraction = Annotated[float, Field(ge=0, le=1)]


class Preset(StrEnum):
    """YOLOv5's files hyp.scratch-low, -med, -high and hyp.VOC, the last one for fine-tuning."""

    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"
    VOC = "VOC"


class Hyperparameters(Contract):
    """YOLOv5's hyperparameters under their full names, all of them set; the defaults are the preset Low."""

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
    mixup: Fraction = Field(default=0.0, description="Probability that a mosaic is blended with another mosaic.")


_MEDIUM = {
    "final_learning_rate_fraction": 0.1,
    "class_gain": 0.3,
    "objectness_gain": 0.7,
    "scale": 0.9,
    "mixup": 0.1,
}
PRESETS = MappingProxyType(
    {
        Preset.LOW: Hyperparameters(),
        Preset.MEDIUM: Hyperparameters(**_MEDIUM),
        # v7.0's high differs from its medium in copy_paste alone, which is not offered: it needs polygons.
        Preset.HIGH: Hyperparameters(**_MEDIUM),
        Preset.VOC: Hyperparameters(
            learning_rate=0.00334,
            final_learning_rate_fraction=0.15135,
            momentum=0.74832,
            weight_decay=0.00025,
            warmup_epochs=3.38,
            warmup_momentum=0.595,
            warmup_bias_learning_rate=0.187,
            box_gain=0.02,
            class_gain=0.216,
            class_positive_weight=0.5,
            objectness_gain=0.517,
            objectness_positive_weight=0.672,
            anchor_threshold=3.374,
            hsv_hue=0.0104,
            hsv_saturation=0.547,
            hsv_value=0.277,
            translate=0.0459,
            scale=0.755,
            mosaic=0.858,
            mixup=0.0427,
        ),
    }
)


def _presets_words(name: str) -> str:
    """What the presets say about a hyperparameter, for its description."""
    values = {preset: getattr(values, name) for preset, values in PRESETS.items()}
    if len(set(values.values())) == 1:
        return f"{values[Preset.LOW]:g} in every preset."
    return ", ".join(f"{value:g} in {preset.value}" for preset, value in values.items()) + "."


def _optional(name: str, field: FieldInfo) -> tuple[Any, Any]:
    bounded = Annotated[(field.annotation, *field.metadata)]  # type: ignore[name-defined]
    return bounded | None, Field(default=None, description=f"{field.description} {_presets_words(name)}")


# Made from the model above, so that no bound and no description is written twice.
_OPTIONAL_FIELDS: Any = {name: _optional(name, field) for name, field in Hyperparameters.model_fields.items()}
_Optional: Any = create_model("_Optional", __base__=Contract, **_OPTIONAL_FIELDS)


class HyperparameterOverrides(_Optional):
    """Every field of `Hyperparameters`, each of them optional."""

    def over(self, preset: Preset) -> Hyperparameters:
        return PRESETS[preset].model_copy(update=self.model_dump(exclude_none=True))
