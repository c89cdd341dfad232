"""README section 2: head outputs and decoded predictions of seven models."""

import numpy as np
import pytest
import torch
from torch import Tensor

from masktrain_trainer.model.yolo import Yolo

from .reference_data import arrays, image, reference_yolo

SMALL = {"n": (101, (2, 3, 128, 128)), "n6": (102, (1, 3, 128, 128))}
LARGE = {"s": (103, 40.0), "m": (103, 40.0), "l": (103, 30.0), "x": (103, 5.0), "s6": (104, 40.0)}


def test_weights_follow_the_recipe() -> None:
    first = reference_yolo("n", 3, 40).state_dict()["model.0.conv.weight"].flatten()[:3]
    np.testing.assert_allclose(first.numpy(), [0.01026945, 0.33257306, 0.06587726], atol=1e-8)


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_small_models_match_in_full(name: str) -> None:
    reference = arrays("forward")
    model = reference_yolo(name, 3, 40).eval()
    images_BCHW = image(*SMALL[name])
    raws = model(images_BCHW)
    for level, raw in enumerate(raws):
        np.testing.assert_allclose(raw.numpy(), reference[f"{name}_raw{level}"], atol=1e-4, rtol=0)
    decoded = model.decode(raws)
    assert_decoded_close(decoded, reference[f"{name}_decoded"], atol_px=2e-2, atol=1e-4)
    decoded64 = decode64(model, images_BCHW)
    assert_sampled(decoded64, name)


@pytest.mark.parametrize("name", LARGE)
@torch.no_grad()
def test_large_models_match_at_samples(name: str) -> None:
    reference = arrays("forward")
    seed, head_scale = LARGE[name]
    model = reference_yolo(name, 80, head_scale).eval()
    images_BCHW = image(seed, (1, 3, 64, 64))
    decoded = model.decode(model(images_BCHW))
    assert decoded.shape == tuple(reference[f"{name}_shape"])

    index, is_px = reference[f"{name}_idx"], reference[f"{name}_idx"] % 85 < 4
    difference = np.abs(decoded.flatten()[index].numpy() - reference[f"{name}_val"])
    tolerance = np.where(is_px, 5e-2, 5e-4) if name == "x" else np.where(is_px, 2e-2, 1e-4)
    assert (difference <= tolerance).all()

    decoded64 = decode64(model, images_BCHW)
    assert_sampled(decoded64, name)
    np.testing.assert_allclose(decoded64[0].mean(0).numpy(), reference[f"{name}_channel_mean64"], rtol=1e-9, atol=1e-8)


def decode64(model: Yolo, images_BCHW: Tensor) -> Tensor:
    model.double()
    return model.decode(model(images_BCHW.double()))


def assert_sampled(decoded64: Tensor, name: str) -> None:
    reference = arrays("forward")
    samples = decoded64.flatten()[reference[f"{name}_idx"]].numpy()
    np.testing.assert_allclose(samples, reference[f"{name}_val64"], rtol=1e-9, atol=1e-8)
    mean_std = [decoded64.mean().item(), decoded64.std(correction=0).item()]
    np.testing.assert_allclose(mean_std, reference[f"{name}_mean_std64"], rtol=1e-9)


def assert_decoded_close(decoded: Tensor, expected: np.ndarray, *, atol_px: float, atol: float) -> None:
    np.testing.assert_allclose(decoded[..., :4].numpy(), expected[..., :4], atol=atol_px, rtol=0)
    np.testing.assert_allclose(decoded[..., 4:].numpy(), expected[..., 4:], atol=atol, rtol=0)
