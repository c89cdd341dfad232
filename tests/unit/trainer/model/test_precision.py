"""The number format of a job on a device."""

from typing import Any

import pytest
import torch

from masktrain_trainer.config import Precision
from masktrain_trainer.model.precision import choose_format

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"neon": True}, torch.float32),
    ],
)
def test_auto_on_a_cpu_is_what_it_multiplies_in_hardware(
    capabilities: dict[str, bool], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert choose_format(Precision.AUTO, CPU) is expected


def test_auto_on_a_cpu_is_float32_where_torch_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_format(Precision.AUTO, CPU) is torch.float32


@pytest.mark.parametrize(("emulated", "expected"), [(False, torch.bfloat16), (True, torch.float16)])
def test_auto_on_a_gpu_avoids_emulation(emulated: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_supported(**options: Any) -> bool:
        return bool(options["including_emulation"]) or not emulated

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert choose_format(Precision.AUTO, torch.device("cuda", 0)) is expected


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        (Precision.FLOAT32, torch.float32),
        (Precision.FLOAT16, torch.float16),
        (Precision.BFLOAT16, torch.bfloat16),
    ],
)
def test_a_wish_is_a_command(precision: Precision, expected: torch.dtype) -> None:
    assert choose_format(precision, CPU) is expected
