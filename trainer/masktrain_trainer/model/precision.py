"""In which number format the model computes, and how bytes of pixels become its input."""

import logging
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from masktrain_trainer.config import Precision
from masktrain_trainer.errors import InvalidConfiguration

Network = TypeVar("Network", bound=nn.Module)

log = logging.getLogger(__name__)

Capability = tuple[int, int]
"""CUDA's compute capability, major and minor: (7, 0) is a V100, (8, 9) an L40S."""

AMPERE: Capability = (8, 0)
"""From here on tensor cores multiply bfloat16 and TF32. Volta and Turing have float16 alone."""

_FORMATS = {
    Precision.FLOAT32: torch.float32,
    Precision.FLOAT16: torch.float16,
    Precision.BFLOAT16: torch.bfloat16,
}
_BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")


@dataclass(frozen=True)
class NumberFormat:
    """`reason` is the end of a sentence that begins with the format."""

    dtype: torch.dtype
    reason: str

    @property
    def name(self) -> str:
        return str(self.dtype).removeprefix("torch.")


def format_on_gpu(precision: Precision, capability: Capability) -> NumberFormat:
    """Auto is bfloat16 from Ampere on, else float16. Raises InvalidConfiguration for bfloat16 that is only emulated."""
    major, minor = capability
    if precision is Precision.BFLOAT16 and capability < AMPERE:
        raise InvalidConfiguration(
            f"training.precision BFloat16 needs a GPU of compute capability 8.0 or higher (A10, A100 and newer), and "
            f"this one has {major}.{minor}: leave training.precision out, which is Float16 there, or choose Float32."
        )
    if precision is not Precision.AUTO:
        return NumberFormat(_FORMATS[precision], "as training.precision says")
    if capability >= AMPERE:
        return NumberFormat(torch.bfloat16, f"which tensor cores of compute capability {major}.{minor} multiply")
    return NumberFormat(
        torch.float16, f"since tensor cores of compute capability {major}.{minor} have no bfloat16; its loss is scaled"
    )


def format_on_cpu(precision: Precision, flags: Collection[str]) -> NumberFormat:
    """Auto is bfloat16 where the CPU's `flags` name instructions for it, else float32."""
    if precision is not Precision.AUTO:
        return NumberFormat(_FORMATS[precision], "as training.precision says")
    found = [name for name in _BFLOAT16_INSTRUCTIONS if name in flags]
    if found:
        return NumberFormat(torch.bfloat16, f"which this CPU multiplies in hardware ({', '.join(found)})")
    return NumberFormat(torch.float32, f"since this CPU has none of {', '.join(_BFLOAT16_INSTRUCTIONS)}")


def choose_format(precision: Precision, device: torch.device) -> torch.dtype:
    """What the device does well, or what is asked for; Auto's choice and its reason go to the log.

    Raises InvalidConfiguration for a format that the device does not have.
    """
    if device.type == "cuda":
        # Not by torch.cuda.is_bf16_supported, which counts emulation as support.
        chosen = format_on_gpu(precision, torch.cuda.get_device_capability(device))
    else:
        chosen = format_on_cpu(precision, cpu_flags())
    if precision is Precision.AUTO:
        log.info("training.precision Auto: %s, %s", chosen.name, chosen.reason)
    return chosen.dtype


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Names of the first CPU's features on x86; empty where the system does not say. See proc(5).

    Later versions of torch tell them, the locked one does not.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))


def multiply_in_tf32(capability: Capability) -> bool:
    """Let what stays in float32 use the tensor cores where they have TF32: its range, with 10 bits of mantissa.

    torch does so for convolutions by itself and for matrix products on request only. Returns whether it is so now.
    """
    if capability < AMPERE:
        return False
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    return True


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Compute in `dtype` where that is safe, for as long as the context lasts."""
    if dtype is torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def with_layout(module: Network, layout: torch.memory_format) -> Network:
    """In place; images of the same layout are then computed on without copies."""
    # The stubs of torch 2.10 do not know this argument of Module.to, and those of later versions do.
    return cast("Network", cast("Any", module).to(memory_format=layout))


def to_input(images_BCHW: Tensor, weights: Tensor) -> Tensor:
    """Bytes to 0..1 in the weights' format, on their device: the bus carries a quarter of what floats would take.

    Channels last, like the weights: convolutions are a quarter faster so, on CPUs and on GPUs with tensor cores.
    """
    on_device = images_BCHW.to(weights.device, non_blocking=True)
    return on_device.to(dtype=weights.dtype, memory_format=torch.channels_last).div_(255)


def build_scaler(device: torch.device, dtype: torch.dtype) -> GradScaler:
    """Gradients of float16 underflow without scaling; the other formats have float32's range and get a no-op."""
    return GradScaler(device.type, enabled=dtype is torch.float16)
