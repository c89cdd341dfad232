"""Letterbox and rectangular validation batches against the reference numbers (README of `reference/`, section 10)."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from masktrain_trainer.data.geometry import (
    Letterbox,
    Size,
    fit_long_side,
    letterbox,
    letterboxed_targets,
    plan_letterbox,
    plan_rectangular,
)

REFERENCE = np.load(Path(__file__).parent / "reference" / "letterbox.npz")
RECT_CASES = sorted(key.removesuffix("_items") for key in REFERENCE.files if key.endswith("_items"))


def _assert_plan(plan: Letterbox, ratio: float, floats: tuple[float, float], integers: tuple[float, ...]) -> None:
    assert [*plan.output, plan.top, plan.bottom, plan.left, plan.right] == [int(value) for value in integers]
    np.testing.assert_allclose([plan.ratio, plan.pad_x, plan.pad_y], [ratio, *floats], rtol=1e-9)


def test_square_letterbox() -> None:
    for h, w, target, auto, enlarge, out_h, out_w, ratio, dw, dh, *sides in REFERENCE["square"]:
        stride = 32 if auto else None
        plan = plan_letterbox((int(h), int(w)), (int(target), int(target)), stride=stride, enlarge=bool(enlarge))
        _assert_plan(plan, ratio, (dw, dh), (out_h, out_w, *sides))


def test_rectangular_letterbox() -> None:
    for h, w, target_h, target_w, enlarge, out_h, out_w, ratio, dw, dh, *sides in REFERENCE["rect"]:
        plan = plan_letterbox((int(h), int(w)), (int(target_h), int(target_w)), enlarge=bool(enlarge))
        _assert_plan(plan, ratio, (dw, dh), (out_h, out_w, *sides))


@pytest.mark.parametrize(("name", "stride"), [("pixel_out_auto", 32), ("pixel_out_full", None)])
def test_letterbox_pixels(name: str, stride: int | None) -> None:
    image = REFERENCE["pixel_in"]
    fitted = letterbox(image, plan_letterbox(image.shape[:2], (64, 64), stride=stride))
    assert np.abs(fitted.astype(int) - REFERENCE[name]).max() <= 1


@pytest.mark.parametrize("case", RECT_CASES)
def test_rectangular_validation(case: str) -> None:
    image_size, batch, pad, stride = (float(part.lstrip("bpads")) for part in case.removeprefix("rect_").split("_"))
    originals = REFERENCE["rect_source_hw"]
    plan = plan_rectangular(
        originals, image_size=int(image_size), batch_size=int(batch), pad=pad / 10, stride=int(stride)
    )
    expected_order = REFERENCE[f"{case}_order"]
    aspect = originals[:, 0] / originals[:, 1]
    np.testing.assert_array_equal(aspect[plan.order], aspect[expected_order])
    np.testing.assert_array_equal(plan.batch_shapes, REFERENCE[f"{case}_batch_shapes"])
    np.testing.assert_array_equal(np.arange(len(originals)) // int(batch), REFERENCE[f"{case}_batch_of"])
    for item, position in zip(REFERENCE[f"{case}_items"], range(len(originals)), strict=True):
        height, width = plan.batch_shapes[position // int(batch)]
        _assert_item(item, (int(height), int(width)), int(image_size))


def _assert_item(item: npt.NDArray[np.float64], shape: Size, image_size: int) -> None:
    _, h0, w0, h, w, out_h, out_w, ratio_h, ratio_w, pad_x, pad_y, *label = item
    resized = fit_long_side(np.zeros((int(h0), int(w0), 3), np.uint8), image_size, area_when_shrinking=True)
    assert resized.shape[:2] == (h, w)
    plan = plan_letterbox((int(h), int(w)), shape, enlarge=False)
    assert plan.output == (out_h, out_w)
    np.testing.assert_allclose((h / h0, w / w0, plan.pad_x, plan.pad_y), (ratio_h, ratio_w, pad_x, pad_y), rtol=1e-9)
    targets = np.array([[0, 0.5, 0.5, 0.4, 0.3]], np.float32)
    np.testing.assert_allclose(letterboxed_targets(targets, plan)[0, 1:], label, atol=1e-6)
