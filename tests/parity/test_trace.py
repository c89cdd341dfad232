"""README section 9: five whole steps of `TrainStep`, from images to weights, batch-norm statistics and averages."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from masktrain_trainer.config import Hyperparameters
from masktrain_trainer.data.loader import Batch
from masktrain_trainer.model.loss import DetectionLoss
from masktrain_trainer.model.precision import build_scaler, with_layout
from masktrain_trainer.model.yolo import Yolo
from masktrain_trainer.train import step as train_step
from masktrain_trainer.train.distributed import Ranks
from masktrain_trainer.train.optimizer import ModelEma, build_optimizer
from masktrain_trainer.train.state import EarlyStopping, TrainingState
from masktrain_trainer.train.step import TrainStep

from .reference_data import arrays, image, reference_yolo, tensor

STEPS = 5
IMAGES = 4


@dataclass
class Trace:
    model: Yolo
    initial: dict[str, Tensor]
    ema: ModelEma
    ema2000: ModelEma
    steps: list[list[float]]
    """Total, box, objectness, class, gradient norm."""


def train(
    dtype: torch.dtype, clip: float = 10.0, memory_format: torch.memory_format = torch.contiguous_format
) -> Trace:
    model = with_layout(reference_yolo("n", 3, 1).train().to(dtype), memory_format)
    initial = {key: value.clone() for key, value in model.state_dict().items()}
    ema, ema2000 = ModelEma(model, 0.9999, 2000), ModelEma(model, 0.9999, 2000)
    ema2000.updates = 2000
    h, ranks = Hyperparameters(), Ranks(0, 0, 1, 1, torch.device("cpu"))
    loss = DetectionLoss(model.anchors, h, image_size=128, num_classes=3)
    optimizer = build_optimizer(model, h, batch_size=64)
    scaler = build_scaler(ranks.device, torch.float32)
    state = TrainingState(model, ema, optimizer, scaler, EarlyStopping(0), torch.zeros(3))
    step = TrainStep(ranks, torch.float32, state, loss)  # float32 stands for "no autocast", in float64 too
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_step, "MAX_GRADIENT_NORM", clip)
        for _ in range(STEPS):
            items_3 = step.backward(batch(dtype), synchronise=True)
            norm = gradient_norm(model)
            step.step()
            ema2000.update(model)
            total = IMAGES * items_3.sum()
            steps.append([total.item(), *items_3.tolist(), norm])
    return Trace(model, initial, ema, ema2000, steps)


def batch(dtype: torch.dtype) -> Batch:
    """The reference has pixels between 0 and 1, `TrainStep` takes them up to 255."""
    images_BCHW = image(201, (IMAGES, 3, 128, 128)).to(dtype) * 255
    return Batch(images_BCHW, tensor(arrays("trace")["targets"]), torch.arange(IMAGES))


def gradient_norm(model: Yolo) -> float:
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients])))


@pytest.fixture(scope="module")
def trace64() -> Trace:
    return train(torch.float64)


def sampled(state: dict[str, Tensor], kind: str) -> np.ndarray:
    reference = arrays("trace")
    entries = zip(reference[f"{kind}_key"], reference[f"{kind}_flat_index"], strict=True)
    return np.array([state[str(key)].flatten()[int(index)].item() for key, index in entries])


def test_losses_and_gradients(trace64: Trace) -> None:
    np.testing.assert_allclose(trace64.steps, arrays("trace")["step_float64"], rtol=1e-6)


@pytest.mark.parametrize("kind", ["param", "running"])
def test_weights_and_statistics(trace64: Trace, kind: str) -> None:
    reference = arrays("trace")
    np.testing.assert_allclose(sampled(trace64.initial, kind), reference[f"{kind}_initial"], atol=1e-8)
    np.testing.assert_allclose(
        sampled(trace64.model.state_dict(), kind), reference[f"{kind}_after_float64"], atol=1e-8, rtol=0
    )
    for name, ema in (("ema", trace64.ema), ("ema2000", trace64.ema2000)):
        actual = sampled(ema.module.state_dict(), kind)
        np.testing.assert_allclose(actual, reference[f"{kind}_{name}_float64"], atol=1e-8, rtol=0)


def test_size_of_every_update(trace64: Trace) -> None:
    reference, after = arrays("trace"), trace64.model.state_dict()
    keys = [str(key) for key in reference["param_update_l2_key"]]
    assert set(keys) == set(dict(trace64.model.named_parameters()))
    norms = [torch.linalg.vector_norm(after[key] - trace64.initial[key]).item() for key in keys]
    np.testing.assert_allclose(norms, reference["param_update_l2_float64"], rtol=1e-6)


def test_batches_are_counted(trace64: Trace) -> None:
    state = trace64.model.state_dict()
    counts = {int(value) for key, value in state.items() if key.endswith("num_batches_tracked")}
    assert counts == {arrays("trace")["num_batches_tracked"].item()}


def test_clipping() -> None:
    reference = arrays("trace")
    clipped = train(torch.float64, clip=2.0)
    np.testing.assert_allclose(clipped.steps, reference["step_clip2_float64"], rtol=1e-6)
    actual = sampled(clipped.model.state_dict(), "param")
    np.testing.assert_allclose(actual, reference["param_after_clip2_float64"], atol=1e-8, rtol=0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_float32(memory_format: torch.memory_format) -> None:
    reference = arrays("trace")
    trace = train(torch.float32, memory_format=memory_format)
    for actual, expected, rtol in zip(trace.steps, reference["step"], (1e-4, 1e-4, 1e-3, 1e-2, 5e-2), strict=True):
        np.testing.assert_allclose(actual[:4], expected[:4], rtol=rtol)
    for name, model in (("after", trace.model), ("ema", trace.ema.module), ("ema2000", trace.ema2000.module)):
        for kind in ("param", "running"):
            values = sampled(model.state_dict(), kind)
            np.testing.assert_allclose(values, reference[f"{kind}_{name}"], atol=2e-3, rtol=0)
