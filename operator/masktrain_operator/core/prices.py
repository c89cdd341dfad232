"""What Oracle's GPU shapes cost: list prices, to choose a node pool by and to estimate bills with.

Prices are USD per GPU and hour, pay as you go. The host's CPUs, memory and local disks are included, not the boot
volume.
Parts are those of https://apexapps.oracle.com/pls/apex/cetools/api/v1/products/?partNumber=...&currencyCode=USD
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

PRICE_LIST_DATE = date(2026, 11, 22)
"""When this table was last compared with public catalogues of Oracle's list prices."""
PREEMPTIBLE_FACTOR = Decimal("0.5")
"""https://docs.oracle.com/en-us/iaas/Content/Compute/Concepts/preemptible.htm"""
SECONDS_PER_MINUTE = 60
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class ShapePrice:
    """One Compute shape. Memory is GiB per GPU, RAM GiB per node; `part` is its number in Oracle's price list."""

    shape: str
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
    def is_bare_metal(self) -> bool:
        return self.shape.startswith("BM.")

    @property
    def usd_per_hour(self) -> Decimal:
        """Of a node."""
        return self.gpus * self.usd_per_gpu_hour


def find_shape(name: str) -> ShapePrice | None:
    """The price of a shape by its exact name, like VM.GPU.A10.2."""
    return _BY_NAME.get(name)


def hourly_price(shape: str, preemptible: bool, override: Decimal | None = None) -> Decimal | None:
    """USD per node and hour; None if the shape is unknown. An `override` is what is really paid, discounts included."""
    if override is not None:
        return override
    price = find_shape(shape)
    if price is None:
        return None
    return price.usd_per_hour * (PREEMPTIBLE_FACTOR if preemptible else 1)


def minimum_billed_seconds(shape: str) -> int:
    """The least time that a node is billed for: a minute of a virtual machine, an hour of bare metal."""
    return SECONDS_PER_HOUR if shape.startswith("BM.") else SECONDS_PER_MINUTE


def _usd(amount: str) -> Decimal:
    # From text, because no float is exactly 1.275.
    return Decimal(amount)


SHAPES = (
    ShapePrice("VM.GPU2.1", "P100", 1, 16, 24, 72, _usd("1.275"), "B88518", allows_preemptible=True),
    ShapePrice("BM.GPU2.2", "P100", 2, 16, 56, 192, _usd("1.275"), "B88517"),
    ShapePrice("VM.GPU3.1", "V100", 1, 16, 12, 90, _usd("2.95"), "B89734", allows_preemptible=True),
    ShapePrice("VM.GPU3.2", "V100", 2, 16, 24, 180, _usd("2.95"), "B89734", allows_preemptible=True),
    ShapePrice("VM.GPU3.4", "V100", 4, 16, 48, 360, _usd("2.95"), "B89734", allows_preemptible=True),
    ShapePrice("BM.GPU3.8", "V100", 8, 16, 104, 768, _usd("2.95"), "B89734"),
    ShapePrice("VM.GPU.A10.1", "A10", 1, 24, 30, 240, _usd("2.00"), "B95909"),
    ShapePrice("VM.GPU.A10.2", "A10", 2, 24, 60, 480, _usd("2.00"), "B95909"),
    ShapePrice("BM.GPU.A10.4", "A10", 4, 24, 128, 1024, _usd("2.00"), "B95909"),
    ShapePrice("BM.GPU4.8", "A100", 8, 40, 128, 2048, _usd("3.05"), "B92740"),
    ShapePrice("BM.GPU.A100-v2.8", "A100", 8, 80, 256, 2048, _usd("4.00"), "B95907"),
    ShapePrice("BM.GPU.L40S.4", "L40S", 4, 48, 224, 1024, _usd("3.50"), "B109479"),
    ShapePrice("BM.GPU.H100.8", "H100", 8, 80, 224, 2048, _usd("10.00"), "B98415"),
    ShapePrice("BM.GPU.H200.8", "H200", 8, 141, 224, 3072, _usd("10.00"), "B110519"),
    ShapePrice("BM.GPU.B200.8", "B200", 8, 180, 256, 4096, _usd("14.00"), "B110978"),
    ShapePrice("BM.GPU.GB200.4", "GB200", 4, 192, 144, 960, _usd("16.00"), "B110979"),
    ShapePrice("BM.GPU.B300.8", "B300", 8, 262, 256, 4096, _usd("15.00")),
    ShapePrice("BM.GPU.GB300.4", "GB300", 4, 278, 144, 960, _usd("18.00")),
    ShapePrice("BM.GPU.RTXPRO.8", "RTX PRO 6000", 8, 96, 288, 3072, _usd("4.50")),
    ShapePrice("BM.GPU.MI300X.8", "MI300X", 8, 192, 224, 2048, _usd("6.00"), "B109485"),
    ShapePrice("BM.GPU.MI355X.8", "MI355X", 8, 288, 256, 3072, _usd("8.60")),
)
"""Preemptible: as Oracle's Karpenter provider lists them; bare metal never is, and A10 is listed nowhere."""
_BY_NAME = {price.shape: price for price in SHAPES}
