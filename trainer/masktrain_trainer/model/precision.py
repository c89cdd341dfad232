"""In which number format the model computes, and how bytes of pixels become its input."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from masktrain_trainer.config import Precision

_FORMATS = {
    Precision.FLOAT32: torch.float32,
    Precision.FLOAT16: torch.float16,
    Precision.BFLOAT16: torch.bfloat16,
}
_BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")


def choose_format(precision: Precision, device: torch.device) -> torch.dtype:
    """Auto: bfloat16 where the device multiplies it in hardware, else float16 on GPUs and float32 on CPUs.

    GPUs do from Ampere on, CPUs with AVX-512 BF16 or AMX.
    """
    if precision is not Precision.AUTO:
        return _FORMATS[precision]
    if device.type == "cuda":
        # torch counts emulation as support; a V100 has float16 in its tensor cores, and bfloat16 not at all.
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if _cpu_multiplies_bfloat16() else torch.float32


def _cpu_multiplies_bfloat16() -> bool:
    if not hasattr(torch.cpu, "get_capabilities"):  # older versions of torch do not tell
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in _BFLOAT16_INSTRUCTIONS)


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Compute in `dtype` where that is safe, for as long as the context lasts."""
    if dtype is torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def to_input(images_BCHW: Tensor, weights: Tensor) -> Tensor:
    """Bytes to 0..1 in the weights' format, on their device: the bus carries a quarter of what floats would take.

    Channels last, like the weights: convolutions are a quarter faster so, on CPUs and on GPUs with tensor cores.
    """
    on_device = images_BCHW.to(weights.device, non_blocking=True)
    return on_device.to(dtype=weights.dtype, memory_format=torch.channels_last).div_(255)


def build_scaler(device: torch.device, dtype: torch.dtype) -> torch.amp.GradScaler:
    """Gradients of float16 underflow without scaling; the other formats have float32's range and get a no-op."""
    return torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
