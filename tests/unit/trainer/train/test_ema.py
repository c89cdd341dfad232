"""What is averaged, what is not, and that a resumed average goes on unchanged."""

import pytest
import torch
from torch import nn

from masktrain_trainer.train.optimizer import ModelEma


def small_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def disturb(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
        model(torch.randn(4, 3, 8, 8))


def test_weights_and_statistics_are_averaged_with_the_ramped_decay() -> None:
    model = small_model()
    ema = ModelEma(model, decay=0.9, ramp_steps=10)
    start = {key: value.clone() for key, value in model.state_dict().items()}
    disturb(model)
    ema.update(model)
    decay = ema.decay_at(1)
    assert 0 < decay < 0.9
    for key, value in ema.module.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, decay * start[key] + (1 - decay) * model.state_dict()[key])


def test_the_average_never_trains_and_never_aliases_the_model() -> None:
    model = small_model()
    ema = ModelEma(model, decay=0.9, ramp_steps=10)
    assert not ema.module.training
    assert not any(parameter.requires_grad for parameter in ema.module.parameters())
    before = ema.module.state_dict()["0.weight"].clone()
    disturb(model)
    assert torch.equal(ema.module.state_dict()["0.weight"], before)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_resumed_average_continues_with_the_same_numbers(memory_format: torch.memory_format) -> None:
    model = small_model()
    ema = ModelEma(model, decay=0.99, ramp_steps=5)
    for _ in range(3):
        disturb(model)
        ema.update(model)
    resumed = ModelEma(small_model().to(memory_format=memory_format), decay=0.99, ramp_steps=5)
    resumed.load_state_dict(ema.state_dict())
    disturb(model)
    ema.update(model)
    resumed.update(model)
    assert resumed.updates == 4
    for key, value in ema.module.state_dict().items():
        assert torch.equal(resumed.module.state_dict()[key], value)


def test_the_decay_approaches_its_final_value() -> None:
    ema = ModelEma(nn.Linear(1, 1), decay=0.9999, ramp_steps=2000)
    assert ema.decay_at(0) == 0
    assert ema.decay_at(10**9) == 0.9999
