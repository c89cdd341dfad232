"""Properties of box conversions and overlaps, by random boxes and by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from masktrain_trainer.model.boxes import ciou, iou, pairwise_iou, xywh_to_xyxy, xyxy_to_xywh

sizes = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))
centres = st.floats(-1e3, 1e3)
boxes = st.tuples(centres, centres, sizes, sizes).map(lambda box: torch.tensor([box], dtype=torch.float64))


@settings(deadline=None)
@given(boxes)
def test_conversions_are_inverse(xywh: Tensor) -> None:
    torch.testing.assert_close(xyxy_to_xywh(xywh_to_xyxy(xywh)), xywh, rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(boxes, boxes)
def test_measures_are_symmetric_finite_and_ordered(box1: Tensor, box2: Tensor) -> None:
    for measure in (iou, ciou):
        torch.testing.assert_close(measure(box1, box2), measure(box2, box1), rtol=1e-9, atol=1e-9)
    slack = 1e-6
    overlap = iou(box1, box2).item()
    assert 0 <= overlap <= 1 + slack
    assert -1.5 - slack <= ciou(box1, box2).item() <= overlap + slack
    pairwise = pairwise_iou(xywh_to_xyxy(box1), xywh_to_xyxy(box2))
    torch.testing.assert_close(pairwise[0], iou(box1, box2), rtol=1e-6, atol=1e-6)


@settings(deadline=None)
@given(boxes, boxes)
def test_ciou_has_a_finite_gradient_everywhere(box1: Tensor, box2: Tensor) -> None:
    box1 = box1.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ciou(box1, box2).sum(), box1)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-22, 1e-15, 1e-7])
def test_a_box_shrunk_to_a_point_keeps_a_finite_float32_gradient(size: float) -> None:
    box1 = torch.tensor([[1.0, 1.0, size, size]], requires_grad=True)
    (gradient,) = torch.autograd.grad(ciou(box1, torch.tensor([[1.0, 1.0, 2.0, 3.0]])).sum(), box1)
    assert gradient.isfinite().all()


def test_pairwise_iou_by_hand() -> None:
    one = torch.tensor([[0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 5.0, 9.0]])
    other = torch.tensor([[1.0, 0.0, 3.0, 2.0], [0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 5.0, 9.0]])
    expected = torch.tensor([[1 / 3, 1.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(pairwise_iou(one, other), expected)


def test_ciou_punishes_another_aspect_ratio_at_equal_overlap() -> None:
    target = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    same_shape, slim = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[0.0, 0.0, 1.0, 4.0]])
    torch.testing.assert_close(iou(target, same_shape), iou(target, slim))
    angle = (math.atan(0.25) - math.pi / 4) ** 2 * 4 / math.pi**2
    torch.testing.assert_close(ciou(target, slim), torch.tensor([0.25 - angle * angle / (angle + 0.75)]))
    torch.testing.assert_close(ciou(target, same_shape), torch.tensor([0.25]))
