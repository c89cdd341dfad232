"""Which number format the forward pass runs in, chosen once from the job's wish and the device."""

from contextlib import AbstractContextManager, nullcontext

import torch

from masktrain_trainer.config import Precision

_FORMATS = {
    Precision.FLOAT32: torch.float32,
    Precision.FLOAT16: torch.float16,
    Precision.BFLOAT16: torch.bfloat16,
}


def choose_format(precision: Precision, device: torch.device) -> torch.dtype:
    """Auto: bfloat16 where the GPU has tensor cores for it (Ampere on), float16 on older GPUs, float32 on CPUs."""
    if precision is not Precision.AUTO:
        return _FORMATS[precision]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    if dtype is torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def build_scaler(device: torch.device, dtype: torch.dtype) -> torch.amp.GradScaler:
    """Gradients of float16 underflow without scaling; the other formats have float32's range and get a no-op."""
    return torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
