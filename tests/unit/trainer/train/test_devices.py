"""Which GPUs the locked torch runs on, and what is said of those that it does not."""

import json
import re
from pathlib import Path

import pytest
import torch

from masktrain_operator.core.shapes import GPUS, IMAGES, image_for
from masktrain_trainer.config import CONFIG_VARIABLE, ExitCode, Precision, TrainingSpec
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.run_directory import StageResult, read_document
from masktrain_trainer.train import devices
from masktrain_trainer.train.devices import Gpu, Machine, compiled_capabilities, require_suitable, runs_on

FLAGS = "sm_70 sm_75 sm_80 sm_86 sm_90 sm_100 sm_120"
V100 = Gpu("Tesla V100-SXM2-16GB", (7, 0))
T4 = Gpu("Tesla T4", (7, 5))
P100 = Gpu("Tesla P100-SXM2-16GB", (6, 0))
A10 = Gpu("NVIDIA A10", (8, 6))
H100 = Gpu("NVIDIA H100 80GB HBM3", (9, 0))


def machine(
    *gpus: Gpu, flags: str = FLAGS, cuda: str | None = "12.8", driver: str | None = "570.86.15", trouble: str = ""
) -> Machine:
    return Machine("2.10.0+cu128", cuda, flags, driver, gpus, trouble)


def test_the_locked_torch_runs_where_the_table_of_shapes_says() -> None:
    """Which includes L40S (8.9) and B300 (10.3), whose own numbers no wheel has."""
    if not torch.version.cuda:
        pytest.skip("this torch is built for CPUs")
    flags = devices.architecture_flags()
    print(f"torch {torch.__version__} is compiled for {flags}")
    if torch.__version__ >= "2.11":
        pytest.skip("not the locked torch: from 2.11 on the wheels begin at sm_75")
    (image,) = IMAGES
    assert (torch.__version__.partition("+")[0], torch.version.cuda) == (image.torch, "{}.{}".format(*image.cuda))
    for name, gpu in GPUS.items():
        if gpu.capability is not None and gpu.cpu == "x86_64":
            assert runs_on(flags, gpu.capability) == (image_for(gpu) is not None), name
    assert {(8, 9), (10, 3)} < {gpu.capability for gpu in GPUS.values() if image_for(gpu)}


@pytest.mark.parametrize(
    ("flags", "capability", "runs"),
    [
        (FLAGS, (7, 0), True),
        (FLAGS, (7, 2), True),  # 7.0's code runs on later chips of its major version
        (FLAGS, (8, 9), True),
        (FLAGS, (10, 3), True),
        (FLAGS, (12, 1), True),
        (FLAGS, (6, 0), False),
        (FLAGS, (11, 0), False),  # between two major versions
        (FLAGS, (13, 0), False),
        ("sm_75 sm_80", (7, 0), False),  # code for 7.5 does not run on 7.0
        ("sm_86", (8, 0), False),
        ("sm_90a", (9, 0), False),
        ("sm_100f", (10, 3), False),
        ("sm_80 compute_80", (9, 0), True),  # the driver compiles PTX for what is newer
        ("sm_80 compute_90", (8, 6), True),
        ("sm_90 compute_90", (8, 6), False),
        ("", (8, 0), False),
    ],
)
def test_code_runs_within_its_major_version_and_ptx_on_all_that_is_newer(
    flags: str, capability: tuple[int, int], runs: bool
) -> None:
    assert runs_on(flags, capability) is runs


def test_architectures_of_three_digits_are_read() -> None:
    assert compiled_capabilities("sm_70 sm_90a sm_100 compute_120") == ((7, 0), (10, 0))


@pytest.mark.parametrize("gpu", [V100, T4, A10, H100], ids=lambda gpu: gpu.name)
@pytest.mark.parametrize("precision", [Precision.AUTO, Precision.FLOAT32, Precision.FLOAT16])
def test_a_supported_gpu_is_taken(gpu: Gpu, precision: Precision) -> None:
    require_suitable(machine(gpu, gpu), 2, TrainingSpec(precision=precision))


@pytest.mark.parametrize(
    ("found", "ranks", "training", "sentence"),
    [
        (
            machine(V100, P100),
            2,
            {},
            (
                r"cannot compute on Tesla P100-SXM2-16GB \(compute capability 6\.0\), driver 570\.86\.15: its torch "
                r"2\.10\.0\+cu128 has code for 7\.0, 7\.5, 8\.0, 8\.6, 9\.0, 10\.0, 12\.0 and .* docs/gpus\.md"
            ),
        ),
        (machine(A10, driver="470.82.01"), 1, {}, r"driver 470\.82\.01 of NVIDIA A10 .* CUDA 12\.8, which needs 525"),
        (
            machine(driver="470.82.01", trouble="The NVIDIA driver on your system is too old"),
            1,
            {},
            r"^The NVIDIA driver 470\.82\.01 is too old for this image's CUDA 12\.8",
        ),
        (machine(A10, cuda="13.2"), 1, {}, r"570\.86\.15 .* CUDA 13\.2, which needs 580 or newer"),
        (machine(driver=None), 2, {}, r"^The pod has 0 usable CUDA device\(s\) for 2 rank\(s\): set compute"),
        (machine(V100), 2, {}, r"has 1 usable CUDA device\(s\) for 2 rank\(s\)"),
        (
            machine(trouble="CUDA unknown error."),
            1,
            {},
            r"driver 570\.86\.15\) .* CUDA says: CUDA unknown error; check",
        ),
        (machine(cuda=None, flags=""), 1, {}, "is built for CPUs: set compute.image"),
        (machine(V100), 1, {"precision": "BFloat16"}, "BFloat16 needs a GPU of compute capability 8.0 .* has 7.0:"),
        (machine(T4), 1, {"precision": "BFloat16"}, "this one has 7.5:"),
        (machine(V100), 1, {"compile": True}, "training.compile needs a GPU of compute capability 8.0 .* has 7.0:"),
    ],
)
def test_what_cannot_work_is_one_sentence(
    found: Machine, ranks: int, training: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InvalidConfiguration, match=sentence) as caught:
        require_suitable(found, ranks, TrainingSpec.model_validate(training))
    assert len(re.findall(r"\.(?=\s|$)", str(caught.value))) == 1


def test_an_image_for_gpus_of_amd_is_left_to_its_maker() -> None:
    require_suitable(machine(Gpu("AMD Instinct MI300X", (9, 4)), cuda=None, flags="", driver=None), 1, TrainingSpec())


def test_what_ampere_can_do_is_not_refused() -> None:
    require_suitable(machine(A10), 1, TrainingSpec(precision=Precision.BFLOAT16, compile=True))
    # A GPU more than the job takes is none of its business.
    require_suitable(machine(A10, P100), 1, TrainingSpec())


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\nGCC version: x",
            "535.183.01",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build  (dvs-builder)",
            "570.124.06",
        ),
        ("something else", None),
    ],
)
def test_the_drivers_version_is_read_from_the_kernel(text: str, version: str | None, tmp_path: Path) -> None:
    (tmp_path / "version").write_text(text)
    assert devices.driver_version(tmp_path / "version") == version


def test_a_machine_without_a_driver_has_no_version(tmp_path: Path) -> None:
    assert devices.driver_version(tmp_path / "version") is None


def run_stage(monkeypatch: pytest.MonkeyPatch, found: Machine, result: Path) -> int:
    config = {
        "namespace": "team",
        "name": "masks",
        "uid": "u-1",
        "attempt": 0,
        "model": {},
        "dataset": {"uri": "s3://bucket/masks.zip"},
        "training": {},
        "checkpoint": {"uri": "s3://bucket/out"},
        "hangTimeoutSeconds": 60,
        "stopGraceSeconds": 30,
    }
    monkeypatch.setenv(CONFIG_VARIABLE, json.dumps(config))
    monkeypatch.setattr(devices, "look", lambda: found)
    return devices.main(["--ranks", "1", "--result", str(result)])


def test_the_stage_leaves_its_sentence_for_the_supervisor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run_stage(monkeypatch, machine(P100), tmp_path / "devices.json") == ExitCode.USER_ERROR
    result = read_document(tmp_path / "devices.json", StageResult)
    assert result is not None
    assert result.failure is not None
    assert result.failure.reason == "InvalidConfiguration"
    assert "Tesla P100" in result.failure.message


def test_the_stage_passes_on_a_good_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run_stage(monkeypatch, machine(V100), tmp_path / "devices.json") == ExitCode.DONE
