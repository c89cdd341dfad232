"""Box arithmetic, colours and warps against the reference numbers (README of `reference/`, section 11)."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from masktrain_trainer.data.augmentation import (
    SMALLEST_OUTLINE_SHARE,
    Warp,
    apply_gains,
    warp_boxes,
    warp_image,
    warp_matrix,
    warp_outlines,
    worth_keeping,
)
from masktrain_trainer.data.geometry import (
    Placement,
    clip_boxes,
    scale_boxes,
    xywhn_to_xyxy,
    xyxy_to_xywh,
    xyxy_to_xywhn,
)
from masktrain_trainer.data.gpu_augmentation import recolour

REFERENCE = np.load(Path(__file__).parent / "reference" / "geometry.npz")
WARPS = [str(name) for name in REFERENCE["warp_names"]]
RTOL = 1e-9


@pytest.mark.parametrize("case", range(3))
def test_to_pixels_and_back(case: int) -> None:
    width, height, pad_x, pad_y = REFERENCE["to_px_w_h_padw_padh"][case]
    xyxy = xywhn_to_xyxy(REFERENCE["xywhn"], width=width, height=height, pad_x=pad_x, pad_y=pad_y)
    np.testing.assert_allclose(xyxy, REFERENCE[f"xyxy_{case}"], rtol=RTOL, atol=1e-9)
    back = xyxy_to_xywhn(xyxy, width=640, height=640)
    np.testing.assert_allclose(back, REFERENCE[f"back_{case}"], rtol=RTOL, atol=1e-12)
    clipped = xyxy_to_xywhn(xyxy, width=640, height=640, clip_epsilon=1e-3)
    np.testing.assert_allclose(clipped, REFERENCE[f"back_clip_{case}"], rtol=RTOL, atol=1e-12)


def test_corners_to_centre() -> None:
    np.testing.assert_allclose(xyxy_to_xywh(REFERENCE["xyxy_0"]), REFERENCE["xywh_from_xyxy_0"], rtol=RTOL, atol=1e-9)


@pytest.mark.parametrize("case", range(7))
def test_scale_boxes(case: int) -> None:
    h1, w1, h0, w0, ratio, _, pad_x, pad_y = REFERENCE[f"scale_boxes_{case}_params"].tolist()
    if math.isnan(ratio):  # v7.0's detect.py derives them from the two shapes
        ratio = min(h1 / h0, w1 / w0)
        pad_x, pad_y = (w1 - w0 * ratio) / 2, (h1 - h0 * ratio) / 2
    boxes = scale_boxes(REFERENCE["scale_boxes_in"], Placement((int(h0), int(w0)), ratio, pad_x, pad_y))
    np.testing.assert_allclose(boxes, REFERENCE[f"scale_boxes_{case}"], atol=1e-3)


def test_clip() -> None:
    clipped = clip_boxes(REFERENCE["scale_boxes_in"], 400, 500)
    np.testing.assert_allclose(clipped, REFERENCE["clip_400_500"], atol=1e-3)


@pytest.mark.parametrize("case", range(5))
def test_hsv(case: int) -> None:
    """The reference is blue first; ours is red first, which must not change a value."""
    image = np.ascontiguousarray(REFERENCE["hsv_in"][..., ::-1])
    gained = apply_gains(image, REFERENCE["hsv_gains"][case])[..., ::-1]
    assert np.abs(gained.astype(int) - REFERENCE[f"hsv_out_{case}"]).max() <= 1


@pytest.mark.parametrize("case", range(5))
def test_hsv_on_a_gpu(case: int) -> None:
    """A tie that is rounded the other way is a half degree of hue, some 256 / 30 levels."""
    image = torch.from_numpy(np.ascontiguousarray(REFERENCE["hsv_in"][..., ::-1])).permute(2, 0, 1)[None].float()
    gains = torch.from_numpy(REFERENCE["hsv_gains"][case][None]).float()
    gained = recolour(image, gains)[0].permute(1, 2, 0).numpy()[..., ::-1]
    found = np.abs(gained - REFERENCE[f"hsv_out_{case}"])
    assert np.mean(found > 1) < 0.02
    assert found.max() <= 9


@pytest.mark.parametrize("name", WARPS)
def test_warp(name: str) -> None:
    *parameters, border_y, border_x = REFERENCE[f"warp_{name}_params"]
    warp = Warp(*parameters)
    image, targets = REFERENCE["warp_image"], REFERENCE["warp_targets"]
    source = image.shape[:2]
    output = (source[0] + 2 * int(border_y), source[1] + 2 * int(border_x))
    matrix = warp_matrix(warp, source, output)
    np.testing.assert_allclose(matrix, REFERENCE[f"warp_{name}_M"], rtol=RTOL, atol=1e-12)
    boxes = warp_boxes(targets[:, 1:], matrix, output)
    np.testing.assert_allclose(boxes, REFERENCE[f"warp_{name}_boxes"], rtol=RTOL, atol=1e-9)
    kept = worth_keeping(targets[:, 1:], boxes, warp.scale)
    np.testing.assert_array_equal(kept, REFERENCE[f"warp_{name}_keep"])
    result = np.column_stack([targets[:, :1], boxes])[kept]
    np.testing.assert_allclose(result, REFERENCE[f"warp_{name}_targets"], rtol=RTOL, atol=1e-9)


def test_warp_of_polygons() -> None:
    *parameters, _, _ = REFERENCE["warp_all_affine_params"]
    warp, output, targets = Warp(*parameters), REFERENCE["warp_image"].shape[:2], REFERENCE["warp_polygon_targets_in"]
    outlines = [REFERENCE[f"warp_polygon_{index}"] for index in range(3)]
    boxes = warp_outlines(outlines, warp_matrix(warp, output, output), output)
    np.testing.assert_allclose(boxes, REFERENCE["warp_polygon_boxes"], rtol=RTOL, atol=1e-9)
    kept = worth_keeping(targets[:, 1:], boxes, warp.scale, SMALLEST_OUTLINE_SHARE)
    np.testing.assert_array_equal(kept, REFERENCE["warp_polygon_keep"])
    result = np.column_stack([targets[:, :1], boxes])[kept]
    np.testing.assert_allclose(result, REFERENCE["warp_polygon_targets"], rtol=RTOL, atol=1e-9)


@pytest.mark.parametrize("name", WARPS)
def test_warp_pixels(name: str) -> None:
    """OpenCV 4.11, which made the reference, rounds positions to 1/32 pixel; OpenCV 5 interpolates exactly.

    On this image of noise that is worth a few grey levels; a shift by one pixel is worth 86 on average.
    """
    reference = REFERENCE[f"warp_{name}_image"]
    warped = warp_image(REFERENCE["warp_image"], REFERENCE[f"warp_{name}_M"], reference.shape[:2])
    difference = np.abs(warped.astype(int) - reference)
    assert difference.max() <= 8
    assert difference.mean() < 1
