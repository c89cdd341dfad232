"""README section 4: loss, its parts and gradients in 17 cases, and the assignment under them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from masktrain_trainer.config import Hyperparameters
from masktrain_trainer.model.boxes import ciou
from masktrain_trainer.model.graph import P5, P6
from masktrain_trainer.model.loss import Candidates, DetectionLoss, candidates, last_match
from masktrain_trainer.model.yolo import anchors_in_strides

from .reference_data import arrays, tensor

SETTINGS: dict[str, dict[str, Any]] = {
    "base": {},
    "image1_without_targets": {"targets": "targets_b"},
    "label_smoothing": {"hyperparameters": {"label_smoothing": 0.1}},
    "focal": {"hyperparameters": {"focal_gamma": 1.5}},
    "focal_smoothing": {"hyperparameters": {"focal_gamma": 1.5, "label_smoothing": 0.1}},
    "pos_weight": {"hyperparameters": {"class_positive_weight": 0.5, "objectness_positive_weight": 0.67}},
    "anchor_t_2": {"hyperparameters": {"anchor_threshold": 2.0}},
    "nc1": {"targets": "targets_nc1", "num_classes": 1},
    "empty": {"targets": None},
    "autobalance_off_call1": {},
    "autobalance_off_call2": {"calls": 2},
    "p6": {"model": "n6", "targets": "targets_p6"},
    "p6_empty": {"model": "n6", "targets": None},
}
PRECISIONS = [(torch.float32, "", 2e-5, 1e-4), (torch.float64, "64", 1e-9, 1e-8)]


def raws_of(model: str, dtype: torch.dtype, num_classes: int = 3) -> list[Tensor]:
    levels = 4 if model == "n6" else 3
    raws = [tensor(arrays("forward")[f"{model}_raw{level}"], dtype) for level in range(levels)]
    return [raw[..., : 5 + num_classes].clone().requires_grad_() for raw in raws]


def targets_of(name: str | None) -> Tensor:
    return torch.zeros(0, 6) if name is None else tensor(arrays("loss")[name])


def anchors_of(model: str, dtype: torch.dtype) -> Tensor:
    return anchors_in_strides(P6 if model == "n6" else P5).to(dtype)


@pytest.mark.parametrize(("dtype", "suffix", "rtol", "gradient_rtol"), PRECISIONS)
@pytest.mark.parametrize("case", SETTINGS)
def test_loss(case: str, dtype: torch.dtype, suffix: str, rtol: float, gradient_rtol: float) -> None:
    reference, settings = arrays("loss"), SETTINGS[case]
    row = list(reference["case"]).index(case)
    model, num_classes = settings.get("model", "n"), settings.get("num_classes", 3)
    loss = DetectionLoss(
        anchors_of(model, dtype),
        Hyperparameters(**settings.get("hyperparameters", {})),
        image_size=128,
        num_classes=num_classes,
    )
    targets_M6 = targets_of(settings.get("targets", "targets_a"))
    for _ in range(settings.get("calls", 1)):
        raws = raws_of(model, dtype, num_classes)
        total, items_3 = loss(raws, targets_M6)
    total.backward()

    gains = [loss.box_gain, loss.class_gain, loss.objectness_gain]
    np.testing.assert_allclose(sorted(gains), sorted(reference["gains"][row]), rtol=1e-12)
    np.testing.assert_allclose(total.item(), reference[f"total{suffix}"][row].item(), rtol=rtol)
    np.testing.assert_allclose(items_3.numpy(), reference[f"items{suffix}"][row], rtol=rtol)
    norms = [float(torch.linalg.vector_norm(raw.grad)) for raw in raws if raw.grad is not None]
    np.testing.assert_allclose(norms, reference[f"grad_norm{suffix}"][row][: len(raws)], rtol=gradient_rtol)
    if f"balance_{case}" in reference:
        expected = reference[f"balance_{case}"][: len(raws)]
        np.testing.assert_allclose(loss.level_weights.numpy(), expected, rtol=1e-5 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize(("name", "model"), [("a", "n"), ("p6", "n6")])
def test_assignment(name: str, model: str) -> None:
    reference = arrays("loss")
    for level, raw in enumerate(raws_of(model, torch.float32)):
        rows, columns = raw.shape[2:4]
        anchors_A2 = anchors_of(model, torch.float32)[level]
        matches = candidates(targets_of(f"targets_{name}"), anchors_A2, (rows, columns), 4.0)
        prefix = f"assign_{name}_l{level}_"
        assert_matches(matches, raw, {key: reference[prefix + key] for key in ASSIGNED})
        assert_greatest_rank_wins(last_match(matches, raw.shape[:4]), matches, reference, prefix)


ASSIGNED = ("index", "tbox", "tcls", "anchor", "ciou", "rank")


def assert_matches(matches: Candidates, raw: Tensor, expected: dict[str, np.ndarray]) -> None:
    valid = matches.valid
    index = torch.stack(matches.slot, dim=1)[valid]
    boxes, classes, anchors = matches.boxes[valid], matches.classes[valid], matches.anchors[valid]
    keys = np.column_stack((index.numpy(), boxes.numpy(), classes.numpy()))
    order = np.lexsort(keys.T[::-1])
    assert index.shape == expected["index"].shape
    np.testing.assert_array_equal(index.numpy()[order], expected["index"])
    np.testing.assert_array_equal(order, expected["rank"])
    np.testing.assert_array_equal(classes.numpy()[order], expected["tcls"])
    np.testing.assert_allclose(boxes.numpy()[order], expected["tbox"], atol=1e-6)
    np.testing.assert_allclose(anchors.numpy()[order], expected["anchor"], atol=1e-6)
    p_K4 = raw.detach()[matches.slot][valid][:, :4].sigmoid()
    predicted = torch.cat((2 * p_K4[:, :2] - 0.5, (2 * p_K4[:, 2:]) ** 2 * anchors), dim=1)
    np.testing.assert_allclose(ciou(predicted, boxes).numpy()[order], expected["ciou"], atol=1e-5)


def assert_greatest_rank_wins(last_BAHW: Tensor, matches: Candidates, reference: Any, prefix: str) -> None:
    expected = np.full(last_BAHW.shape, -1)
    for slot, rank in zip(reference[prefix + "index"], reference[prefix + "rank"], strict=True):
        expected[tuple(slot)] = max(expected[tuple(slot)], rank)
    rank_of_candidate = np.append(matches.valid.cumsum(0).numpy() - 1, -1)  # index -1: none
    np.testing.assert_array_equal(rank_of_candidate[last_BAHW.numpy()], expected)
