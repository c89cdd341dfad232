"""README section 3: what is added to the head's default initial bias."""

import numpy as np
import pytest
import torch
from torch import nn

from masktrain_trainer.config import Architecture
from masktrain_trainer.model.blocks import Detect
from masktrain_trainer.model.graph import SIZES

from .reference_data import arrays


@pytest.mark.parametrize("num_classes", [1, 3, 80])
@pytest.mark.parametrize("name", ["n", "n6"])
def test_bias_is_added_to_the_default(name: str, num_classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Conv2d, "reset_parameters", lambda conv: nn.init.zeros_(conv.bias))
    strides = SIZES[Architecture(f"yolov5{name}")].graph.strides
    detect = Detect([8] * len(strides), torch.ones(len(strides), 3, 2), strides, num_classes)
    bias_LAP = np.stack(
        [detect.m[level].get_parameter("bias").detach().view(3, -1).numpy() for level in range(len(strides))]
    )
    np.testing.assert_allclose(bias_LAP, arrays("bias_init")[f"{name}_nc{num_classes}"], atol=1e-6)
