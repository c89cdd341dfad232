"""The training objective of YOLOv5: which predictions answer for which boxes, and what their errors cost.

Boxes count by CIoU, objectness and classes by binary cross-entropy: sums over levels, means within a level, computed in
float32 whatever the model's precision (float64 stays), without a single value read back from a GPU.

A box goes to every anchor whose sides differ from its own by less than a factor, in the cell of its centre and in the
nearest neighbours left/right and up/down. On a GPU shapes depend only on the number of boxes: candidates that do not
match stay in as rows with `valid` false, so that the host never waits to learn how many matched. On a CPU they go.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from masktrain_trainer.config import Hyperparameters

from .boxes import ciou


class Matches(NamedTuple):
    """Columns of candidates that are asked for without their level."""

    valid: Tensor
    classes: Tensor
    boxes: Tensor
    anchors: Tensor


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

    @property
    def by_row(self) -> Matches:
        return Matches(self.valid, self.classes, self.boxes, self.anchors)


def without_misses(found: Candidates) -> Candidates:
    """The matches among the candidates, in their order; most of them are none."""
    kept_K = found.valid.nonzero().squeeze(1)
    image_K, anchor_K, row_K, column_K = (index_K[kept_K] for index_K in found.slot)
    return Candidates(
        valid=found.valid[kept_K],
        slot=(image_K, anchor_K, row_K, column_K),
        classes=found.classes[kept_K],
        boxes=found.boxes[kept_K],
        anchors=found.anchors[kept_K],
    )


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

    # Clamped, since a centre at the image's very edge lies behind the last cell.
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


OBJECTNESS_LEVEL_WEIGHTS = {3: (4.0, 1.0, 0.4), 4: (4.0, 1.0, 0.25, 0.06)}
"""By number of levels, finest first: coarse levels have few cells, so their mean is dominated by positives."""
FOCAL_ALPHA = 0.25
"""arXiv 1708.02002, section 5.1."""


class DetectionLoss(nn.Module):
    """Called with raw predictions and targets; holds the anchors, so move it to the model's device.

    anchors_LA2: (levels, 3, 2) in units of the stride, `Yolo.anchors`. image_size: side of the training images in
    pixels; larger images have more background cells and get a larger objectness gain.
    """

    anchors: Tensor
    level_weights: Tensor

    def __init__(
        self,
        anchors_LA2: Tensor,
        hyperparameters: Hyperparameters,
        *,
        image_size: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        levels = len(anchors_LA2)
        self.num_classes = num_classes
        self.hyperparameters = hyperparameters
        # The gains were found for three levels, 80 classes and 640 px: scaled like this they weigh the same elsewhere.
        self.box_gain = hyperparameters.box_gain * 3 / levels
        self.objectness_gain = hyperparameters.objectness_gain * (image_size / 640) ** 2 * 3 / levels
        self.class_gain = hyperparameters.class_gain * num_classes / 80 * 3 / levels
        self.register_buffer("anchors", anchors_LA2.detach().clone())
        weights_L = torch.tensor(OBJECTNESS_LEVEL_WEIGHTS[levels], dtype=anchors_LA2.dtype, device=anchors_LA2.device)
        self.register_buffer("level_weights", weights_L)

    def forward(self, raws: list[Tensor], targets_M6: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of one batch.

        raws: (B, 3, H, W, 5 + classes) for each level. targets_M6: image, class, centre x, y, w, h normalised to 0..1.
        Returns the scalar to differentiate, which grows with B, and (box, objectness, class) as logged: with gains, per
        image, detached.
        """
        dtype = torch.promote_types(raws[0].dtype, torch.float32)
        matches = [self._matches(raw, targets_M6, level) for level, raw in enumerate(raws)]
        # All levels at once: the work is little, and every operation costs its start.
        every = Matches(*(torch.cat(columns) for columns in zip(*(match.by_row for match in matches), strict=True)))
        matched_KP = torch.cat([raw[match.slot] for raw, match in zip(raws, matches, strict=True)]).to(dtype)
        ciou_K = ciou(_predicted_boxes(matched_KP[:, :4], every.anchors), every.boxes)
        rows = [len(match.valid) for match in matches]
        valid = torch.split(every.valid, rows)
        items_3 = torch.stack(
            (
                _sum_of_means(torch.split(1 - ciou_K, rows), valid) * self.box_gain,
                # Detached: the overlap is what objectness shall say, not a second way to move the boxes.
                self._objectness_loss(raws, matches, torch.split(ciou_K.detach(), rows)) * self.objectness_gain,
                _sum_of_means(torch.split(self._class_losses(matched_KP[:, 5:], every.classes), rows), valid)
                * self.class_gain,
            )
        )
        return items_3.sum() * raws[0].shape[0], items_3.detach()

    def _matches(self, raw_BAHWP: Tensor, targets_M6: Tensor, level: int) -> Candidates:
        dtype = torch.promote_types(raw_BAHWP.dtype, torch.float32)
        rows, columns = raw_BAHWP.shape[2:4]
        threshold = self.hyperparameters.anchor_threshold
        found = candidates(targets_M6, self.anchors[level].to(dtype), (rows, columns), threshold)
        # A GPU would have to be waited for to learn how many are left.
        return without_misses(found) if raw_BAHWP.device.type == "cpu" else found

    def _objectness_loss(self, raws: list[Tensor], matches: list[Candidates], overlaps: Sequence[Tensor]) -> Tensor:
        losses = []
        for raw_BAHWP, match, overlap_K in zip(raws, matches, overlaps, strict=True):
            targets_BAHW = _overlap_targets(overlap_K, match, raw_BAHWP.shape[:4])
            logits_BAHW = raw_BAHWP[..., 4].to(targets_BAHW.dtype)
            weight = self.hyperparameters.objectness_positive_weight
            losses.append(self._cross_entropy(logits_BAHW, targets_BAHW, weight).mean())
        losses_L = torch.stack(losses)
        return (losses_L * self.level_weights.to(losses_L.dtype)).sum()

    def _class_losses(self, logits_KC: Tensor, classes_K: Tensor) -> Tensor:
        """Of each candidate; zero with a single class: objectness says it already."""
        if self.num_classes == 1:
            return logits_KC.new_zeros(len(logits_KC))
        smoothing = self.hyperparameters.label_smoothing
        targets_KC = torch.full_like(logits_KC, smoothing / 2)
        targets_KC.scatter_(1, classes_K[:, None], 1 - smoothing / 2)
        losses_KC = self._cross_entropy(logits_KC, targets_KC, self.hyperparameters.class_positive_weight)
        return losses_KC.mean(dim=1)

    def _cross_entropy(self, logits: Tensor, targets: Tensor, positive_weight: float) -> Tensor:
        """Elementwise; focal if the hyperparameters ask for it."""
        weight = None if positive_weight == 1 else logits.new_full((), positive_weight)
        losses = binary_cross_entropy_with_logits(logits, targets, pos_weight=weight, reduction="none")
        gamma = self.hyperparameters.focal_gamma
        return losses * _focal_modulation(logits, targets, gamma) if gamma > 0 else losses


def _predicted_boxes(raw_K4: Tensor, anchor_K2: Tensor) -> Tensor:
    """Raw x, y, w, h -> centre relative to the cell, width, height; in cells."""
    p_K4 = raw_K4.sigmoid()
    return torch.cat((2 * p_K4[:, :2] - 0.5, (2 * p_K4[:, 2:]).square() * anchor_K2), dim=1)


def _overlap_targets(ciou_K: Tensor, matches: Candidates, slots_BAHW: torch.Size) -> Tensor:
    """Objectness targets (B, 3, H, W): the CIoU of the last match of each prediction, zero where there is none."""
    none_K1 = torch.cat((ciou_K.clamp(min=0), ciou_K.new_zeros(1)))  # index -1, "no candidate", finds the zero
    return none_K1[last_match(matches, slots_BAHW)]


def _sum_of_means(values: Sequence[Tensor], valid: Sequence[Tensor]) -> Tensor:
    """Over levels."""
    return torch.stack([_mean_of_valid(*level) for level in zip(values, valid, strict=True)]).sum()


def _mean_of_valid(values_K: Tensor, valid_K: Tensor) -> Tensor:
    """Mean over the matches; zero if there are none."""
    return (values_K * valid_K).sum() / valid_K.sum().clamp(min=1)


def _focal_modulation(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """Factor that fades out easy examples; soft targets interpolate. arXiv 1708.02002, equation 5."""
    p = logits.sigmoid()
    miss = targets * (1 - p) + (1 - targets) * p
    alpha = targets * FOCAL_ALPHA + (1 - targets) * (1 - FOCAL_ALPHA)
    # A power below 1 has an infinite slope at zero.
    return alpha * miss.clamp(min=1e-12).pow(gamma)
