"""The number format of a job on a device."""

import logging
from pathlib import Path

import pytest
import torch

from masktrain_trainer.config import Precision
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.model.precision import (
    Capability,
    build_scaler,
    choose_format,
    cpu_flags,
    format_on_cpu,
    format_on_gpu,
    multiply_in_tf32,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx512f", "avx512_bf16"}, torch.bfloat16),
        ({"avx512f", "amx_bf16"}, torch.bfloat16),
        ({"avx512f", "avx512_vnni"}, torch.float32),
        (set(), torch.float32),
    ],
)
def test_auto_on_a_cpu_is_what_it_multiplies_in_hardware(flags: set[str], expected: torch.dtype) -> None:
    assert format_on_cpu(Precision.AUTO, flags).dtype is expected


def test_a_cpus_features_are_read_from_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "x86").write_text("processor\t: 0\nflags\t\t: fpu avx512_bf16\nbugs\t: none\nflags\t\t: other\n")
    (tmp_path / "arm").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert cpu_flags(tmp_path / "x86") == {"fpu", "avx512_bf16"}
    assert cpu_flags(tmp_path / "arm") == frozenset()
    assert cpu_flags(tmp_path / "absent") == frozenset()


GENERATIONS: list[tuple[str, Capability, torch.dtype]] = [
    ("V100", (7, 0), torch.float16),
    ("T4", (7, 5), torch.float16),
    ("A100", (8, 0), torch.bfloat16),
    ("A10", (8, 6), torch.bfloat16),
    ("L40S", (8, 9), torch.bfloat16),
    ("H100", (9, 0), torch.bfloat16),
    ("B200", (10, 0), torch.bfloat16),
    ("B300", (10, 3), torch.bfloat16),
    ("RTX PRO 6000", (12, 0), torch.bfloat16),
]


@pytest.mark.parametrize(("gpu", "capability", "expected"), GENERATIONS)
def test_auto_on_a_gpu_is_what_its_tensor_cores_have(gpu: str, capability: Capability, expected: torch.dtype) -> None:
    assert format_on_gpu(Precision.AUTO, capability).dtype is expected


@pytest.mark.parametrize(("gpu", "capability", "expected"), GENERATIONS)
def test_gradients_are_scaled_where_they_are_float16(gpu: str, capability: Capability, expected: torch.dtype) -> None:
    scaler = build_scaler(CPU, format_on_gpu(Precision.AUTO, capability).dtype)
    assert scaler.is_enabled() is (expected is torch.float16)


@pytest.mark.parametrize("capability", [(7, 0), (7, 5)])
def test_bfloat16_is_refused_where_it_is_emulated(capability: Capability) -> None:
    with pytest.raises(InvalidConfiguration, match="BFloat16 needs a GPU of compute capability"):
        format_on_gpu(Precision.BFLOAT16, capability)


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
    assert format_on_gpu(precision, (9, 0)).dtype is expected


def test_autos_choice_and_its_reason_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 0))
    with caplog.at_level(logging.INFO):
        assert choose_format(Precision.AUTO, torch.device("cuda", 0)) is torch.float16
        choose_format(Precision.FLOAT32, CPU)
    (line,) = caplog.messages
    assert line.startswith("training.precision Auto: float16, since tensor cores of compute capability 7.0 have no")


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 0), "highest"), ((7, 5), "highest"), ((8, 0), "high"), ((12, 0), "high")]
)
def test_float32_uses_tf32_from_ampere_on(capability: Capability, expected: str) -> None:
    before = torch.get_float32_matmul_precision()
    try:
        assert multiply_in_tf32(capability) is (expected == "high")
        assert torch.get_float32_matmul_precision() == expected
    finally:
        torch.set_float32_matmul_precision(before)
