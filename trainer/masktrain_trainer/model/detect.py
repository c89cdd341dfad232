"""The head: one 1x1 convolution per level, its initial bias, and how its numbers become boxes."""

import math

import torch
from torch import Tensor, nn

ANCHORS_PER_LEVEL = 3
BOX_AND_OBJECTNESS = 5
"""Channels before the classes: x, y, w, h, objectness."""


class Detect(nn.Module):
    """Raw predictions (B, 3, H, W, 5 + classes) for each level; `anchors` is (levels, 3, 2) in units of the stride."""

    anchors: Tensor

    def __init__(self, in_channels: list[int], anchors_LA2: Tensor, strides: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        outputs = ANCHORS_PER_LEVEL * (BOX_AND_OBJECTNESS + num_classes)
        self.m = nn.ModuleList(nn.Conv2d(channels, outputs, 1) for channels in in_channels)
        self.register_buffer("anchors", anchors_LA2)
        self._expect_few_objects(strides, num_classes)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [self._per_anchor(conv(x_BCHW)) for conv, x_BCHW in zip(self.m, features, strict=True)]

    def _per_anchor(self, y_BCHW: Tensor) -> Tensor:
        """(B, 3 * outputs, H, W) -> (B, 3, H, W, outputs), a view in either memory format."""
        batch, _, rows, columns = y_BCHW.shape
        return y_BCHW.view(batch, ANCHORS_PER_LEVEL, -1, rows, columns).permute(0, 1, 3, 4, 2)

    @torch.no_grad()
    def _expect_few_objects(self, strides: tuple[int, ...], num_classes: int) -> None:
        """Start near the base rates, or the first steps go into unlearning "everything is an object".

        About 8 objects in a 640-pixel image, and classes equally likely. The idea: arXiv 1708.02002, section 3.3.
        """
        for conv, stride in zip(self.m, strides, strict=True):
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            bias_AP = conv.bias.view(ANCHORS_PER_LEVEL, -1)
            bias_AP[:, 4] += math.log(8 / (640 / stride) ** 2)
            bias_AP[:, BOX_AND_OBJECTNESS:] += math.log(0.6 / (num_classes - 0.99999))


def decode_level(raw_BAHWP: Tensor, anchors_A2: Tensor, stride: int) -> Tensor:
    """One level's raw predictions -> (B, 3*H*W, 5 + classes): centre x, y, w, h in pixels, then probabilities.

    Rows go by anchor, then row, then column. Half-precision input is decoded in float32: bfloat16 has 8 bits of
    mantissa, too few for a pixel position.
    """
    dtype = torch.promote_types(raw_BAHWP.dtype, torch.float32)
    p_BAHWP = raw_BAHWP.to(dtype).sigmoid()
    xy = (2 * p_BAHWP[..., :2] - 0.5 + _cells(raw_BAHWP)) * stride
    wh = (2 * p_BAHWP[..., 2:4]).square() * (anchors_A2.to(dtype) * stride)[:, None, None]
    return torch.cat((xy, wh, p_BAHWP[..., 4:]), dim=-1).flatten(1, 3)


def _cells(raw_BAHWP: Tensor) -> Tensor:
    """Column and row of every cell."""
    rows, columns = raw_BAHWP.shape[2:4]
    y_HW, x_HW = torch.meshgrid(
        torch.arange(rows, device=raw_BAHWP.device), torch.arange(columns, device=raw_BAHWP.device), indexing="ij"
    )
    return torch.stack((x_HW, y_HW), dim=-1)
