"""Box formats and overlaps. Everything broadcasts, differentiates, and stays finite for boxes without area.

xywh: centre x, y, width, height. xyxy: left, top, right, bottom. Units are the caller's.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

EPS = 1e-7


def xywh_to_xyxy(xywh_N4: Tensor) -> Tensor:
    centre, half = xywh_N4[..., :2], xywh_N4[..., 2:] / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def xyxy_to_xywh(xyxy_N4: Tensor) -> Tensor:
    top_left, bottom_right = xyxy_N4[..., :2], xyxy_N4[..., 2:]
    return torch.cat(((top_left + bottom_right) / 2, bottom_right - top_left), dim=-1)


def pairwise_iou(xyxy_N4: Tensor, xyxy_M4: Tensor) -> Tensor:
    """IoU (N, M) of every box with every other; zero for boxes without area."""
    boxes_N14, boxes_1M4 = xyxy_N4[:, None], xyxy_M4[None]
    intersection_NM = _intersection(boxes_N14, boxes_1M4)
    return intersection_NM / (_area(boxes_N14) + _area(boxes_1M4) - intersection_NM + EPS)


def iou(xywh1_N4: Tensor, xywh2_N4: Tensor) -> Tensor:
    """IoU (N,) of row i with row i."""
    return _overlap(xywh1_N4, xywh2_N4).iou


def ciou(xywh1_N4: Tensor, xywh2_N4: Tensor) -> Tensor:
    """Complete IoU (N,), in -1.5..1: overlap, distance and aspect ratio. arXiv 1911.08287, equations 10 and 11.

    Gradients reach both arguments, but not the trade-off factor alpha.
    """
    overlap = _overlap(xywh1_N4, xywh2_N4)
    distance_N = _normalised_distance(xywh1_N4, xywh2_N4, overlap.hull_wh)
    aspect_N = (4 / math.pi**2) * (_aspect_angle(xywh2_N4) - _aspect_angle(xywh1_N4)).square()
    with torch.no_grad():
        alpha_N = aspect_N / (aspect_N - overlap.iou + (1 + EPS))
    return overlap.iou - (distance_N + alpha_N * aspect_N)


class _Overlap(NamedTuple):
    iou: Tensor
    hull_wh: Tensor
    """(N, 2) width and height of the smallest box around both."""


def _overlap(xywh1_N4: Tensor, xywh2_N4: Tensor) -> _Overlap:
    xyxy1_N4, xyxy2_N4 = xywh_to_xyxy(xywh1_N4), xywh_to_xyxy(xywh2_N4)
    intersection_N = _intersection(xyxy1_N4, xyxy2_N4)
    # Areas from the given sizes: differences of corners would lose the digits of a small box far from the origin.
    union_N = _product(xywh1_N4[..., 2:]) + _product(xywh2_N4[..., 2:]) - intersection_N + EPS
    top_left = torch.minimum(xyxy1_N4[..., :2], xyxy2_N4[..., :2])
    bottom_right = torch.maximum(xyxy1_N4[..., 2:], xyxy2_N4[..., 2:])
    return _Overlap(intersection_N / union_N, bottom_right - top_left)


def _intersection(xyxy1_N4: Tensor, xyxy2_N4: Tensor) -> Tensor:
    top_left = torch.maximum(xyxy1_N4[..., :2], xyxy2_N4[..., :2])
    wh_N2 = torch.minimum(xyxy1_N4[..., 2:], xyxy2_N4[..., 2:]) - top_left
    return _product(wh_N2 * (wh_N2 >= 0))  # unlike clamp, this keeps the gradient of boxes that just touch


def _area(xyxy_N4: Tensor) -> Tensor:
    return _product(xyxy_N4[..., 2:] - xyxy_N4[..., :2])


def _product(wh_N2: Tensor) -> Tensor:
    # Not prod(): its gradient takes a slow path that is safe for zeros in longer products.
    return wh_N2[..., 0] * wh_N2[..., 1]


def _normalised_distance(xywh1_N4: Tensor, xywh2_N4: Tensor, hull_wh_N2: Tensor) -> Tensor:
    """Squared distance of the centres over the squared diagonal of the hull."""
    distance_N = (xywh2_N4[..., :2] - xywh1_N4[..., :2]).square().sum(dim=-1)
    return distance_N / (hull_wh_N2.square().sum(dim=-1) + EPS)


def _aspect_angle(xywh_N4: Tensor) -> Tensor:
    """arctan(w / h), with a bounded gradient where the box is a point and the ratio means nothing."""
    width_N, height_N = xywh_N4[..., 2], xywh_N4[..., 3]
    is_point_N = width_N.square() + height_N.square() < 1e-24
    return torch.atan2(width_N, height_N.masked_fill(is_point_N, 1))
