"""The table of shapes: what a node of each costs by the hour in Oracle's list, and whether the trainer runs there."""

import re
from dataclasses import replace
from decimal import Decimal

import pytest

from devcluster.layout import REPOSITORY
from masktrain_operator.core.shapes import (
    GPUS,
    IMAGES,
    SHAPES,
    Fit,
    Gpu,
    Shape,
    check_shape,
    dotted,
    find_shape,
    gpu_name,
    hourly_price,
    image_for,
    minimum_billed_seconds,
    short_reason,
)

NODE_PRICES = {
    "VM.GPU2.1": "1.275",
    "BM.GPU2.2": "2.55",
    "VM.GPU3.1": "2.95",
    "VM.GPU3.2": "5.90",
    "VM.GPU3.4": "11.80",
    "BM.GPU3.8": "23.60",
    "VM.GPU.A10.1": "2.00",
    "VM.GPU.A10.2": "4.00",
    "BM.GPU.A10.4": "8.00",
    "BM.GPU4.8": "24.40",
    "BM.GPU.A100-v2.8": "32.00",
    "BM.GPU.L40S.4": "14.00",
    "BM.GPU.H100.8": "80.00",
    "BM.GPU.H200.8": "80.00",
    "BM.GPU.B200.8": "112.00",
    "BM.GPU.GB200.4": "64.00",
    "BM.GPU.B300.8": "120",
    "BM.GPU.GB300.4": "72",
    "BM.GPU.RTXPRO.8": "36.00",
    "BM.GPU.MI300X.8": "48",
    "BM.GPU.MI355X.8": "68.80",
}


@pytest.mark.parametrize(("shape", "price"), NODE_PRICES.items())
def test_a_node_costs_what_the_list_says(shape: str, price: str) -> None:
    assert hourly_price(shape, preemptible=False) == Decimal(price)


def test_every_shape_is_in_the_list_once() -> None:
    assert sorted(NODE_PRICES) == sorted(shape.name for shape in SHAPES)


@pytest.mark.parametrize("shape", [shape.name for shape in SHAPES])
def test_the_name_ends_with_the_number_of_gpus(shape: str) -> None:
    found = find_shape(shape)
    assert found is not None
    assert found.gpus == int(shape.rsplit(".", 1)[1])


def row(shape: Shape) -> str:
    """Of docs/gpus.md."""
    gpu, reason = shape.chip, short_reason(shape.chip)
    capability = "–" if gpu.capability is None else dotted(gpu.capability)
    driver = "" if reason else f" {gpu.driver or 'not known'}"
    runs = f"no: {reason}" if reason else "yes"
    return f"| `{shape.name}` | {shape.gpus} × {shape.gpu} | {capability} | {gpu.cpu} |{driver} | {runs} |"


def test_the_page_shows_the_table() -> None:
    page = (REPOSITORY / "docs" / "gpus.md").read_text(encoding="utf-8")
    table = page.partition("## Shapes")[2].partition("###")[0]
    assert [line for line in table.splitlines() if line.startswith("| `")] == [row(shape) for shape in SHAPES]


def test_preemptible_is_half() -> None:
    assert hourly_price("VM.GPU3.1", preemptible=True) == Decimal("1.475")


@pytest.mark.parametrize("preemptible", [False, True])
def test_an_override_is_what_is_paid(preemptible: bool) -> None:
    assert hourly_price("VM.GPU3.1", preemptible, Decimal("0.9")) == Decimal("0.9")
    assert hourly_price("VM.Unheard.1", preemptible, Decimal(0)) == 0


def test_an_unknown_shape_has_no_price() -> None:
    assert find_shape("VM.Unheard.1") is None
    assert hourly_price("VM.Unheard.1", preemptible=False) is None


def test_bare_metal_is_billed_for_an_hour_at_least_and_never_preemptible() -> None:
    for shape in SHAPES:
        assert minimum_billed_seconds(shape.name) == (3600 if shape.is_bare_metal else 60)
        assert not (shape.is_bare_metal and shape.allows_preemptible)


PASCAL = "has P100 GPUs of compute capability 6.0, and the trainer image holds code for 7.0, 7.5, 8.0, 8.6, 9.0"
ROCM = "of AMD, and the trainer image holds code for NVIDIA's only"
ARM = "beside arm64 CPUs, and the trainer image is built for x86_64 only"
NOT_SUPPORTED = {
    "VM.GPU2.1": PASCAL,
    "BM.GPU2.2": PASCAL,
    "BM.GPU.GB200.4": f"has GB200 GPUs {ARM}",
    "BM.GPU.GB300.4": f"has GB300 GPUs {ARM}",
    "BM.GPU.MI300X.8": f"has MI300X GPUs {ROCM}",
    "BM.GPU.MI355X.8": f"has MI355X GPUs {ROCM}",
}


@pytest.mark.parametrize("shape", NODE_PRICES)
def test_every_shape_runs_or_says_why_not(shape: str) -> None:
    check = check_shape(shape)
    why_not = NOT_SUPPORTED.get(shape)
    if why_not is None:
        assert check.fit is Fit.RUNS
        assert check.sentence.startswith("Image trainer runs on the ")
    else:
        assert check.fit is Fit.NOT_SUPPORTED
        assert check.sentence.startswith(f"Shape {shape} {why_not}")


@pytest.mark.parametrize("shape", ["BM.GPU.B4.8", "BM.GPU.GB200-v2.4", "BM.GPU.GB200-v3.4", "BM.GPU.MI355X-v1.8"])
def test_a_shape_that_is_not_in_the_table_is_not_guessed_about(shape: str) -> None:
    check = check_shape(shape)
    assert check.fit is Fit.NOT_CHECKED
    assert shape in check.sentence


CAPABILITIES = {
    (7, 0): True,
    (7, 5): True,
    (8, 0): True,
    (8, 6): True,
    (8, 7): True,
    (8, 9): True,
    (9, 0): True,
    (10, 0): True,
    (10, 3): True,
    (12, 0): True,
    (12, 1): True,
    (5, 2): False,
    (6, 0): False,
    (6, 1): False,
    (11, 0): False,
    (13, 0): False,
}


@pytest.mark.parametrize(("capability", "runs"), CAPABILITIES.items())
def test_code_runs_on_its_capability_and_newer_ones_of_the_same_major(capability: tuple[int, int], runs: bool) -> None:
    (image,) = IMAGES
    assert image.has_code_for(capability) == runs


def test_the_table_is_about_the_torch_that_the_image_gets() -> None:
    """Its flags can be read without a GPU; builds for CPUs have none."""
    import torch  # noqa: PLC0415 - the other tests of the table do without

    (image,) = IMAGES
    lock = (REPOSITORY / "requirements" / "trainer.txt").read_text(encoding="utf-8")
    assert re.findall(r"^torch==(\S+)", lock, re.MULTILINE) == [image.torch]
    flags = torch._C._cuda_getArchFlags()
    assert flags is not None
    assert tuple(int(number) for number in re.findall(r"\bsm_(\d+)\b", flags)) == image.architectures


def test_code_for_a_newer_minor_does_not_run_on_an_older_one() -> None:
    without_80 = replace(IMAGES[0], architectures=(86,))
    assert without_80.has_code_for((8, 9))
    assert not without_80.has_code_for((8, 0))


def test_the_shapes_have_exactly_the_gpus_that_are_described() -> None:
    assert {shape.gpu for shape in SHAPES} == set(GPUS)


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_nvidias_gpus_have_a_capability_and_what_does_not_run_a_reason(gpu: Gpu) -> None:
    assert (gpu.capability is None) == (gpu.maker != "NVIDIA")
    assert (image_for(gpu) is None) == (short_reason(gpu) is not None)


VARIANTS = {
    "BM.GPU.GB200-v2.4": "GB200",
    "BM.GPU.GB200-v3.4": "GB200",
    "BM.GPU.MI355X-v1.8": "MI355X",
    "VM.GPU.A10.2": "A10",
    "BM.GPU.B4.8": None,
    "BM.GPU.GB200": None,
    "VM.Standard3.Flex": None,
}


@pytest.mark.parametrize(("name", "gpu"), VARIANTS.items(), ids=VARIANTS)
def test_a_name_that_says_which_gpus_the_shape_has_is_read(name: str, gpu: str | None) -> None:
    """Oracle adds variants of known shapes; nobody here has seen their prices, so they have no row."""
    assert gpu_name(name) == gpu
