"""Oracle's GPU shapes: what a node of each costs, which GPUs it has, and which trainer image runs on them.

Prices are list prices, USD per GPU and hour, pay as you go. The host's CPUs, memory and local disks are included, not
the boot volume. Parts are those of
https://apexapps.oracle.com/pls/apex/cetools/api/v1/products/?partNumber=...&currencyCode=USD

What an image runs on is what its torch was compiled for: a shape that none runs on is refused before a node is paid
for. docs/gpus.md shows the table to people.
"""

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Literal

PRICE_LIST_DATE = date(2026, 11, 22)
"""When this table was last compared with public catalogues of Oracle's list prices."""
PREEMPTIBLE_FACTOR = Decimal("0.5")
"""https://docs.oracle.com/en-us/iaas/Content/Compute/Concepts/preemptible.htm"""
SECONDS_PER_MINUTE = 60
SECONDS_PER_HOUR = 3600


CpuArchitecture = Literal["x86_64", "arm64"]
Capability = tuple[int, int]
"""NVIDIA's compute capability: 8.9 is (8, 9)."""


@dataclass(frozen=True)
class TrainerImage:
    """`architectures`: the sm_ numbers that its torch holds code for. `cuda`: the toolkit that torch was built with."""

    name: str
    cpu: CpuArchitecture
    torch: str
    cuda: tuple[int, int]
    architectures: tuple[int, ...]

    def has_code_for(self, capability: Capability) -> bool:
        """Code for sm_XY runs on every capability X.Z with Z >= Y, and on no other X.

        https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#binary-compatibility
        """
        major, minor = capability
        return any(number // 10 == major and number % 10 <= minor for number in self.architectures)


@dataclass(frozen=True)
class Gpu:
    """`capability`: None of a GPU that is not NVIDIA's. `cpu`: what Oracle rents it with.

    `driver`: the oldest one of Linux that it and the image can do with, None where no document says it.
    """

    maker: Literal["NVIDIA", "AMD"]
    capability: Capability | None
    cpu: CpuArchitecture = "x86_64"
    driver: str | None = None


@dataclass(frozen=True)
class Shape:
    """One Compute shape. Memory is GiB per GPU, RAM GiB per node; `part` is its number in Oracle's price list."""

    name: str
    gpu: str
    gpus: int
    gpu_memory_gib: int
    vcpus: int
    ram_gib: int
    usd_per_gpu_hour: Decimal
    # The number, because names change: the H100's has been H100 and H100T.
    part: str | None = None
    allows_preemptible: bool = False

    @property
    def chip(self) -> "Gpu":
        return GPUS[self.gpu]

    @property
    def is_bare_metal(self) -> bool:
        return self.name.startswith("BM.")

    @property
    def usd_per_hour(self) -> Decimal:
        """Of a node."""
        return self.gpus * self.usd_per_gpu_hour


def find_shape(name: str) -> Shape | None:
    """A shape by its exact name, like VM.GPU.A10.2."""
    return _BY_NAME.get(name)


VARIANT = re.compile(r"(?:BM|VM)\.GPU\.([A-Z0-9]+)(?:-v[0-9]+)?\.[0-9]+")
"""Oracle adds shapes of known GPUs, like BM.GPU.GB200-v2.4, whose price and size nobody here has seen."""


def gpu_name(shape: str) -> str | None:
    """Of the GPUs of a shape, also of one that is not in the table but names them."""
    found, variant = find_shape(shape), VARIANT.fullmatch(shape)
    if found is not None:
        return found.gpu
    return variant[1] if variant is not None and variant[1] in GPUS else None


class Fit(StrEnum):
    """Whether an image of MaskTrain runs on a shape."""

    RUNS = "Runs"
    NOT_SUPPORTED = "NotSupported"
    NOT_CHECKED = "NotChecked"


@dataclass(frozen=True)
class ShapeCheck:
    fit: Fit
    sentence: str
    """What is known, without what to do about it."""


def check_shape(name: str) -> ShapeCheck:
    """Whether the trainer image runs on the shape. One that is not in the table is not guessed about."""
    shape = find_shape(name)
    if shape is None:
        sentence = f"Shape {name} is not in the table of shapes, so whether the trainer image runs there is not known"
        return ShapeCheck(Fit.NOT_CHECKED, sentence)
    image = image_for(shape.chip)
    if image is None:
        return ShapeCheck(Fit.NOT_SUPPORTED, f"Shape {name} has {shape.gpu} GPUs {_why_not(shape.chip)}")
    return ShapeCheck(Fit.RUNS, f"Image {image.name} runs on the {shape.gpu} GPUs of shape {name}")


def image_for(gpu: Gpu) -> TrainerImage | None:
    """The first image that runs on the GPU."""
    capability = gpu.capability
    if capability is None:
        return None
    found = (image for image in IMAGES if image.cpu == gpu.cpu and image.has_code_for(capability))
    return next(found, None)


def short_reason(gpu: Gpu) -> str | None:
    """Why no image runs on the GPU, in a word or two for a column of a table; None if one does."""
    if image_for(gpu) is not None:
        return None
    if gpu.capability is None:
        return gpu.maker
    return "Arm" if gpu.cpu == "arm64" else f"sm_{gpu.capability[0]}{gpu.capability[1]}"


def _why_not(gpu: Gpu) -> str:
    if gpu.capability is None:
        return f"of {gpu.maker}, and the trainer image holds code for NVIDIA's only"
    if all(image.cpu != gpu.cpu for image in IMAGES):
        return f"beside {gpu.cpu} CPUs, and the trainer image is built for {IMAGES[0].cpu} only"
    held = ", ".join(f"{number // 10}.{number % 10}" for image in IMAGES for number in image.architectures)
    return f"of compute capability {dotted(gpu.capability)}, and the trainer image holds code for {held} only"


def dotted(capability: Capability) -> str:
    return ".".join(map(str, capability))


def hourly_price(shape: str, preemptible: bool, override: Decimal | None = None) -> Decimal | None:
    """USD per node and hour; None if the shape is unknown. An `override` is what is really paid, discounts included."""
    if override is not None:
        return override
    found = find_shape(shape)
    if found is None:
        return None
    return found.usd_per_hour * (PREEMPTIBLE_FACTOR if preemptible else 1)


def minimum_billed_seconds(shape: str) -> int:
    """The least time that a node is billed for: a minute of a virtual machine, an hour of bare metal."""
    return SECONDS_PER_HOUR if shape.startswith("BM.") else SECONDS_PER_MINUTE


def _usd(amount: str) -> Decimal:
    # From text, because no float is exactly 1.275.
    return Decimal(amount)


IMAGES = (TrainerImage("trainer", "x86_64", "2.10.0", (12, 8), (70, 75, 80, 86, 90, 100, 120)),)
"""Of this version. CUDA and architectures are those that torch's wheel of PyPI answers from `torch.version.cuda` and
`torch._C._cuda_getArchFlags()`; a test compares them with the locked torch."""

_CUDA_12 = "525.60.13"
"""What programs of any CUDA 12 need at least on GPUs that are older than it:
https://docs.nvidia.com/cuda/archive/12.8.0/cuda-toolkit-release-notes/ (minor version compatibility)"""
# Capabilities: https://developer.nvidia.com/cuda-gpus. Newer drivers for Blackwell:
# https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/platform-support.html names those of B200 and
# RTX PRO 6000; of B300 it says nothing.
GPUS = {
    "P100": Gpu("NVIDIA", (6, 0)),
    "V100": Gpu("NVIDIA", (7, 0), driver=_CUDA_12),
    "A10": Gpu("NVIDIA", (8, 6), driver=_CUDA_12),
    "A100": Gpu("NVIDIA", (8, 0), driver=_CUDA_12),
    "L40S": Gpu("NVIDIA", (8, 9), driver=_CUDA_12),
    "H100": Gpu("NVIDIA", (9, 0), driver=_CUDA_12),
    "H200": Gpu("NVIDIA", (9, 0), driver=_CUDA_12),
    "B200": Gpu("NVIDIA", (10, 0), driver="570.133.20"),
    "GB200": Gpu("NVIDIA", (10, 0), cpu="arm64"),
    "B300": Gpu("NVIDIA", (10, 3)),
    "GB300": Gpu("NVIDIA", (10, 3), cpu="arm64"),
    "RTX PRO 6000": Gpu("NVIDIA", (12, 0), driver="575.57.08"),
    "MI300X": Gpu("AMD", None),
    "MI355X": Gpu("AMD", None),
}
"""By the name that the shapes have them under."""

SHAPES = (
    Shape("VM.GPU2.1", "P100", 1, 16, 24, 72, _usd("1.275"), "B88518", allows_preemptible=True),
    Shape("BM.GPU2.2", "P100", 2, 16, 56, 192, _usd("1.275"), "B88517"),
    Shape("VM.GPU3.1", "V100", 1, 16, 12, 90, _usd("2.95"), "B89734", allows_preemptible=True),
    Shape("VM.GPU3.2", "V100", 2, 16, 24, 180, _usd("2.95"), "B89734", allows_preemptible=True),
    Shape("VM.GPU3.4", "V100", 4, 16, 48, 360, _usd("2.95"), "B89734", allows_preemptible=True),
    Shape("BM.GPU3.8", "V100", 8, 16, 104, 768, _usd("2.95"), "B89734"),
    Shape("VM.GPU.A10.1", "A10", 1, 24, 30, 240, _usd("2.00"), "B95909"),
    Shape("VM.GPU.A10.2", "A10", 2, 24, 60, 480, _usd("2.00"), "B95909"),
    Shape("BM.GPU.A10.4", "A10", 4, 24, 128, 1024, _usd("2.00"), "B95909"),
    Shape("BM.GPU4.8", "A100", 8, 40, 128, 2048, _usd("3.05"), "B92740"),
    Shape("BM.GPU.A100-v2.8", "A100", 8, 80, 256, 2048, _usd("4.00"), "B95907"),
    Shape("BM.GPU.L40S.4", "L40S", 4, 48, 224, 1024, _usd("3.50"), "B109479"),
    Shape("BM.GPU.H100.8", "H100", 8, 80, 224, 2048, _usd("10.00"), "B98415"),
    Shape("BM.GPU.H200.8", "H200", 8, 141, 224, 3072, _usd("10.00"), "B110519"),
    Shape("BM.GPU.B200.8", "B200", 8, 180, 256, 4096, _usd("14.00"), "B110978"),
    Shape("BM.GPU.GB200.4", "GB200", 4, 192, 144, 960, _usd("16.00"), "B110979"),
    Shape("BM.GPU.B300.8", "B300", 8, 262, 256, 4096, _usd("15.00")),
    Shape("BM.GPU.GB300.4", "GB300", 4, 278, 144, 960, _usd("18.00")),
    Shape("BM.GPU.RTXPRO.8", "RTX PRO 6000", 8, 96, 288, 3072, _usd("4.50")),
    Shape("BM.GPU.MI300X.8", "MI300X", 8, 192, 224, 2048, _usd("6.00"), "B109485"),
    Shape("BM.GPU.MI355X.8", "MI355X", 8, 288, 256, 3072, _usd("8.60")),
)
"""Preemptible: as Oracle's Karpenter provider lists them; bare metal never is, and A10 is listed nowhere."""
_BY_NAME = {shape.name: shape for shape in SHAPES}
