"""Suppression against a plain greedy loop, and the inputs that break careless implementations."""

import subprocess
import sys

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from masktrain_trainer.model.boxes import pairwise_iou, xywh_to_xyxy
from masktrain_trainer.predict import suppression
from masktrain_trainer.predict.suppression import non_max_suppression


def predictions(seed: int, count: int, num_classes: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    boxes_N4 = torch.rand(count, 4, generator=generator) * 30 + 5
    return torch.cat((boxes_N4, torch.rand(count, 1 + num_classes, generator=generator)), dim=1)


def greedy(prediction_NP: Tensor, confidence: float, iou: float, limit: int) -> list[tuple[int, float]]:
    """The textbook loop: class and confidence of what is kept, multi-label."""
    boxes_N4 = xywh_to_xyxy(prediction_NP[:, :4])
    scores_NC = prediction_NP[:, 5:] * prediction_NP[:, 4:5]
    rows = [
        (scores_NC[i, c].item(), i, c)
        for i in range(len(prediction_NP))
        for c in range(scores_NC.shape[1])
        if prediction_NP[i, 4] > confidence and scores_NC[i, c] > confidence
    ]
    iou_NN = pairwise_iou(boxes_N4, boxes_N4)
    kept: list[tuple[float, int, int]] = []
    for row in sorted(rows, reverse=True):
        if all(row[2] != other[2] or iou_NN[row[1], other[1]] <= iou for other in kept):
            kept.append(row)
    return [(c, score) for score, _, c in kept[:limit]]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(0, 60), st.integers(1, 40), st.sampled_from([2, 16, 2048]))
def test_equals_the_textbook_whatever_the_prefix(seed: int, count: int, limit: int, first_prefix: int) -> None:
    prediction_NP = predictions(seed, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suppression, "FIRST_PREFIX", first_prefix)
        (detections_K6,) = non_max_suppression(prediction_NP[None], 0.1, 0.5, multi_label=True, max_detections=limit)
    expected = greedy(prediction_NP, 0.1, 0.5, limit)
    assert [int(c) for c in detections_K6[:, 5]] == [c for c, _ in expected]
    torch.testing.assert_close(detections_K6[:, 4], torch.tensor([score for _, score in expected]))


def test_images_do_not_suppress_each_other() -> None:
    both = torch.stack((predictions(1, 50), predictions(2, 50)))
    together = non_max_suppression(both, 0.2)
    for image_NP, detections_K6 in zip(both, together, strict=True):
        torch.testing.assert_close(detections_K6, non_max_suppression(image_NP[None], 0.2)[0])


@pytest.mark.parametrize("shape", [(2, 0, 8), (0, 10, 8)])
def test_nothing_in_nothing_out(shape: tuple[int, int, int]) -> None:
    detections = non_max_suppression(torch.zeros(shape))
    assert [d.shape for d in detections] == [(0, 6)] * shape[0]


def test_not_a_number_is_not_a_detection() -> None:
    prediction_NP = predictions(0, 10)
    prediction_NP[:5, 4] = torch.nan
    (detections_K6,) = non_max_suppression(prediction_NP[None], 0.01)
    assert detections_K6.isfinite().all()


def test_neighbours_far_from_the_origin_keep_their_classes_apart() -> None:
    """A class offset added to the coordinates must not bring boxes of other classes together."""
    box = [7680.0, 10.0, 20.0, 20.0, 1.0]
    other = [0.0, 10.0, 20.0, 20.0, 1.0]
    prediction_BNP = torch.tensor([[[*box, 0.9, 0.0], [*other, 0.0, 0.8]]])
    assert len(non_max_suppression(prediction_BNP)[0]) == 2


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 4000])
def test_classes_suppress_themselves_as_torchvisions_own_function_has_it(count: int) -> None:
    boxes_K4 = xywh_to_xyxy(torch.rand(count, 4, generator=torch.Generator().manual_seed(count)) * 100)
    confidence_K = torch.linspace(1, 0, count)
    class_K = (torch.arange(count) * 7 % 5).float()
    expected_K = torchvision.ops.batched_nms(boxes_K4, confidence_K, class_K, 0.3)
    candidates_K6 = torch.cat((boxes_K4, confidence_K[:, None], class_K[:, None]), 1)
    found = suppression._suppress(candidates_K6, 0.3, agnostic=False, limit=count)
    torch.testing.assert_close(found, candidates_K6[expected_K])


def test_it_starts_without_torchvisions_package_and_beside_it() -> None:
    script = (
        "import sys, torch; from masktrain_trainer.predict.suppression import non_max_suppression as suppress\n"
        "box = torch.tensor([[[9.0, 9, 4, 4, 0.9, 0.8]]]); (found,) = suppress(box)\n"
        "assert len(found) == 1 and not {'torchvision', 'torch._dynamo'} & sys.modules.keys()\n"
        "import torchvision; (again,) = suppress(box); assert found.equal(again)\n"
        "assert len(torchvision.ops.nms(found[:, :4], found[:, 4], 0.5)) == 1\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
