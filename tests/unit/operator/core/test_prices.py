"""The price table against what a node of each shape costs by the hour in Oracle's list."""

from decimal import Decimal

import pytest

from masktrain_operator.core.prices import SHAPES, find_shape, hourly_price, minimum_billed_seconds

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
    assert sorted(NODE_PRICES) == sorted(shape.shape for shape in SHAPES)


@pytest.mark.parametrize("shape", [shape.shape for shape in SHAPES])
def test_the_name_ends_with_the_number_of_gpus(shape: str) -> None:
    found = find_shape(shape)
    assert found is not None
    assert found.gpus == int(shape.rsplit(".", 1)[1])


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
        assert minimum_billed_seconds(shape.shape) == (3600 if shape.is_bare_metal else 60)
        assert not (shape.is_bare_metal and shape.allows_preemptible)
