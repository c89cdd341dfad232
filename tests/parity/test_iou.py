"""README section 5: the IoU family, its gradient, and boxes without area."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from masktrain_trainer.model import boxes

from .reference_data import arrays, tensor

ZERO_SIZE = slice(9, 11)
NO_AREA = slice(8, 11)


@pytest.mark.parametrize(("dtype", "suffix", "atol"), [(torch.float32, "", 2e-5), (torch.float64, "64", 1e-9)])
@pytest.mark.parametrize("measure", [boxes.iou, boxes.ciou])
def test_measures(measure: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype, suffix: str, atol: float) -> None:
    reference = arrays("iou")
    actual = measure(tensor(reference["box1"], dtype), tensor(reference["box2"], dtype)).numpy()
    expected = reference[f"{measure.__name__}{suffix}"].copy()
    assert np.isfinite(actual).all()
    if measure is boxes.ciou:
        expected[ZERO_SIZE] = actual[ZERO_SIZE]  # undefined in the reference
    np.testing.assert_allclose(actual, expected, atol=atol, rtol=0)


def test_ciou_gradient() -> None:
    reference = arrays("iou")
    box1 = tensor(reference["box1"], torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(boxes.ciou(box1, tensor(reference["box2"], torch.float64)).sum(), box1)
    assert gradient.isfinite().all()
    actual, expected = gradient.numpy().copy(), reference["ciou_grad_box1_64"].copy()
    actual[NO_AREA] = expected[NO_AREA] = 0
    np.testing.assert_allclose(actual, expected, atol=1e-9, rtol=1e-9)


def test_pairwise_iou() -> None:
    reference = arrays("iou")
    actual = boxes.pairwise_iou(tensor(reference["xyxy1"]), tensor(reference["xyxy2"]))
    np.testing.assert_allclose(actual.numpy(), reference["pairwise_iou"], atol=2e-5)
