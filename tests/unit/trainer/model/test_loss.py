"""Behaviour that holds whatever the numbers: scaling, precision, gradients, hostile input."""

import pytest
import torch
from torch import Tensor

from masktrain_trainer.config import Architecture, Hyperparameters
from masktrain_trainer.model import loss as loss_module
from masktrain_trainer.model.loss import DetectionLoss
from masktrain_trainer.model.yolo import build_yolo

ANCHORS = torch.tensor([[[1.0, 1.5], [2.0, 4.0], [4.0, 3.0]]] * 3)
TARGETS = torch.tensor(
    [[0, 1, 0.31, 0.42, 0.3, 0.4], [0, 2, 0.33, 0.41, 0.2, 0.3], [1, 0, 0.75, 0.5, 0.5, 0.25]], dtype=torch.float32
)


def loss_of(num_classes: int = 3, **hyperparameters: float) -> DetectionLoss:
    return DetectionLoss(ANCHORS, Hyperparameters(**hyperparameters), image_size=64, num_classes=num_classes)


def raws(batch: int = 2, dtype: torch.dtype = torch.float32, num_classes: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, 3, side, side, 5 + num_classes) for side in (8, 4, 2)]
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def test_total_grows_with_the_batch_and_items_do_not() -> None:
    one, items_one = loss_of()(raws(), TARGETS)
    doubled = [torch.cat((raw, raw)) for raw in raws()]
    again = TARGETS.clone()
    again[:, 0] += 2
    two, items_two = loss_of()(doubled, torch.cat((TARGETS, again)))
    torch.testing.assert_close(items_two, items_one)
    torch.testing.assert_close(two, 2 * one)
    torch.testing.assert_close(one, 2 * items_one.sum())
    assert not items_one.requires_grad


def test_the_order_of_boxes_matters_only_for_rivals() -> None:
    apart = TARGETS[[0, 2]]
    torch.testing.assert_close(loss_of()(raws(), apart)[0], loss_of()(raws(), apart.flip(0))[0])


@pytest.mark.parametrize("targets_M6", [TARGETS, TARGETS[:0]], ids=["boxes", "none"])
def test_candidates_that_do_not_match_change_nothing(targets_M6: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU keeps them, and pads the boxes; a CPU does neither."""
    without, with_them = raws(), raws()
    loss_of()(without, targets_M6)[0].backward()
    monkeypatch.setattr(loss_module, "without_misses", lambda found: found)
    loss_of()(with_them, torch.cat((targets_M6, torch.zeros(5, 6))))[0].backward()
    for one, other in zip(without, with_them, strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_predictions_are_judged_in_float32(dtype: torch.dtype) -> None:
    half = raws(dtype=dtype)
    total, _ = loss_of()(half, TARGETS)
    expected, _ = loss_of()([raw.detach().float() for raw in half], TARGETS)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, expected, rtol=1e-3, atol=0)
    total.backward()
    assert all(raw.grad is not None and raw.grad.dtype == dtype for raw in half)


def test_images_without_boxes_train_objectness_alone() -> None:
    predictions = raws()
    total, items_3 = loss_of()(predictions, torch.zeros(0, 6))
    total.backward()
    assert items_3[0] == items_3[2] == 0
    for raw in predictions:
        assert raw.grad is not None
        assert raw.grad[..., 4].count_nonzero() == raw.grad[..., 4].numel()
        assert raw.grad[..., :4].count_nonzero() == raw.grad[..., 5:].count_nonzero() == 0


@pytest.mark.parametrize("focal_gamma", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("extreme", [-1e4, -80.0, 80.0, 1e4])
def test_saturated_predictions_keep_finite_gradients(extreme: float, focal_gamma: float) -> None:
    predictions = [torch.full_like(raw, extreme).requires_grad_() for raw in raws()]
    total, _ = loss_of(focal_gamma=focal_gamma)(predictions, TARGETS)
    total.backward()
    assert total.isfinite()
    assert all(raw.grad is not None and raw.grad.isfinite().all() for raw in predictions)


def test_boxes_without_area_are_ignored() -> None:
    flat = torch.tensor([[0, 0, 0.5, 0.5, 0.0, 0.3], [1, 0, 0.5, 0.5, 0.0, 0.0]])
    total, _ = loss_of()(raws(), torch.cat((TARGETS, flat)))
    torch.testing.assert_close(total, loss_of()(raws(), TARGETS)[0])


def test_a_single_class_has_no_class_loss() -> None:
    targets = TARGETS.clone()
    targets[:, 1] = 0
    _, items_3 = loss_of(num_classes=1)(raws(num_classes=1), targets)
    assert items_3[2] == 0


def test_the_class_gradient_is_that_of_finite_differences() -> None:
    """Boxes are left out: CIoU's alpha and the objectness target are constants by definition, not by calculus."""
    loss = loss_of(box_gain=0.0, objectness_gain=0.0, label_smoothing=0.1).double()
    *finer, coarsest = (raw.detach().double() for raw in raws())

    def class_loss(level_2: Tensor) -> Tensor:
        total: Tensor = loss([*finer, level_2], TARGETS)[0]
        return total

    assert torch.autograd.gradcheck(class_loss, (coarsest.requires_grad_(),))


def test_a_few_steps_improve_boxes_and_classes() -> None:
    torch.manual_seed(0)
    model = build_yolo(Architecture.YOLOV5N, 3)
    loss = DetectionLoss(model.anchors, Hyperparameters(), image_size=64, num_classes=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    images_BCHW = torch.rand(2, 3, 64, 64)
    history = []
    for _ in range(6):
        total, items_3 = loss(model(images_BCHW), TARGETS)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(items_3)
    assert (history[-1] < history[0])[[0, 2]].all()


def test_the_host_never_waits_for_a_value() -> None:
    """Tensors on the meta device have shapes and no values: reading one raises."""
    predictions = [torch.empty_like(raw, device="meta").requires_grad_() for raw in raws()]
    loss = DetectionLoss(ANCHORS.to("meta"), Hyperparameters(focal_gamma=1.5), image_size=64, num_classes=3)
    total, _ = loss(predictions, TARGETS.to("meta"))
    total.backward()
