"""Which predictions answer for which ground-truth boxes: YOLOv5's rule, by shape and position, without any IoU.

A box goes to every anchor whose sides differ from its own by less than a factor, in the cell of its centre and in the
nearest neighbours left/right and up/down. Shapes depend only on the number of boxes: candidates that do not match stay
in as rows with `valid` false, so a GPU never waits for the host to learn how many matched.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Candidates(NamedTuple):
    """All K = 5 cells x 3 anchors x M boxes of one level; own cell, left, up, right, down are the slowest dimension."""

    valid: Tensor
    """(K,) whether it is a match."""
    slot: tuple[Tensor, Tensor, Tensor, Tensor]
    """Image, anchor, row, column, each (K,): the index of the prediction in the level's (B, 3, H, W, …) tensor."""
    classes: Tensor
    """(K,)"""
    boxes: Tensor
    """(K, 4) centre relative to the cell (-0.5..1.5 in matches), width and height; in cells."""
    anchors: Tensor
    """(K, 2) width and height of the anchor, in cells."""


def candidates(targets_M6: Tensor, anchors_A2: Tensor, grid_hw: tuple[int, int], anchor_threshold: float) -> Candidates:
    """Every way the boxes could match at one level.

    targets_M6: image, class, centre x, y, w, h normalised to 0..1. anchors_A2: in cells, of the dtype to compute in.
    anchor_threshold: largest ratio (exclusive) of a box's side to an anchor's, either way round.
    """
    rows, columns = grid_hw
    x_M, y_M, w_M, h_M = targets_M6[:, 2:].to(anchors_A2.dtype).unbind(dim=1)
    x_M, y_M, w_M, h_M = x_M * columns, y_M * rows, w_M * columns, h_M * rows

    similar_AM = _is_similar(torch.stack((w_M, h_M), dim=1), anchors_A2, anchor_threshold)
    valid_OAM = _is_near(x_M, y_M, rows, columns)[:, None] & similar_AM

    column_OM = torch.stack((x_M, x_M - 0.5, x_M, x_M + 0.5, x_M)).trunc().clamp(0, columns - 1)
    row_OM = torch.stack((y_M, y_M, y_M - 0.5, y_M, y_M + 0.5)).trunc().clamp(0, rows - 1)
    box_OM4 = torch.stack((x_M - column_OM, y_M - row_OM, w_M.expand_as(row_OM), h_M.expand_as(row_OM)), dim=-1)
    anchor_A = torch.arange(len(anchors_A2), device=anchors_A2.device)

    def flat(x_OAM: Tensor) -> Tensor:
        return x_OAM.expand(valid_OAM.shape).flatten()

    return Candidates(
        valid=valid_OAM.flatten(),
        slot=(
            flat(targets_M6[:, 0].long()),
            flat(anchor_A[:, None]),
            flat(row_OM[:, None].long()),
            flat(column_OM[:, None].long()),
        ),
        classes=flat(targets_M6[:, 1].long()),
        boxes=box_OM4[:, None].expand(*valid_OAM.shape, 4).flatten(0, 2),
        anchors=anchors_A2[:, None].expand(*valid_OAM.shape, 2).flatten(0, 2),
    )


def last_match(matches: Candidates, slots_BAHW: torch.Size) -> Tensor:
    """For every prediction the last valid candidate's row in `matches`, or -1: (B, 3, H, W).

    Several boxes may want one prediction; writing their values by index would let a GPU choose any of them.
    """
    _, anchors, rows, columns = slots_BAHW
    image_K, anchor_K, row_K, column_K = matches.slot
    slot_K = ((image_K * anchors + anchor_K) * rows + row_K) * columns + column_K
    rank_K = torch.arange(len(slot_K), device=slot_K.device).masked_fill(~matches.valid, -1)
    last_S = torch.full((slots_BAHW.numel(),), -1, dtype=rank_K.dtype, device=slot_K.device)
    return last_S.scatter_reduce_(0, slot_K, rank_K, "amax").view(slots_BAHW)


def _is_similar(wh_M2: Tensor, anchors_A2: Tensor, threshold: float) -> Tensor:
    """(A, M): neither side differs from the anchor's by the factor or more. A box without area is never similar."""
    ratio_AM2 = wh_M2 / anchors_A2[:, None]
    return torch.maximum(ratio_AM2, 1 / ratio_AM2).amax(dim=-1) < threshold


def _is_near(x_M: Tensor, y_M: Tensor, rows: int, columns: int) -> Tensor:
    """(5, M): own cell always; left, up, right, down if nearer than the opposite side and inside the grid.

    A centre on a border is near to both sides; the copy then falls into the own cell and the match counts twice.
    """

    def near(distance_M: Tensor) -> Tensor:
        return (distance_M % 1 < 0.5) & (distance_M > 1)

    return torch.stack(
        (torch.ones_like(x_M, dtype=torch.bool), near(x_M), near(y_M), near(columns - x_M), near(rows - y_M))
    )
