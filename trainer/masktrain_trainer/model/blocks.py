"""The building blocks of YOLOv5 and its detection head. Attribute names are its state-dict keys, so its weights load.

Shapes: B images, C channels, H x W cells. Every block keeps the memory format of its input (`channels_last` included).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from torch.nn.utils.fusion import fuse_conv_bn_eval

BATCH_NORM_EPS = 1e-3
BATCH_NORM_MOMENTUM = 0.03
"""Neither is stored in a state dict; weights trained with other values would compute something else."""


class Conv(nn.Module):
    """Convolution without bias, batch norm, SiLU. Padding keeps the size at stride 1 unless given."""

    conv: nn.Conv2d
    bn: nn.Module
    in_place = False
    """Where no backward pass can follow: that needs the batch norm's output, so that to "save" it costs a clone."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, padding: int | None = None
    ) -> None:
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return silu(self.bn(self.conv(x_BCHW)), inplace=self.in_place)

    def fold_batch_norm(self) -> None:
        """Replace convolution and batch norm by one convolution with bias; inference only."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv.eval(), self.bn.eval())
            self.bn = nn.Identity()


class Bottleneck(nn.Module):
    """1x1 then 3x3 convolution, with the input added if `shortcut`."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = Conv(channels, channels)
        self.cv2 = Conv(channels, channels, kernel=3)
        self.shortcut = shortcut

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW: Tensor = self.cv2(self.cv1(x_BCHW))
        return x_BCHW + y_BCHW if self.shortcut else y_BCHW


class C3(nn.Module):
    """Cross-stage partial block: half of the channels pass the bottlenecks, half go round them."""

    def __init__(self, in_channels: int, out_channels: int, repeats: int, shortcut: bool) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.cv1 = Conv(in_channels, hidden)
        self.cv2 = Conv(in_channels, hidden)
        self.cv3 = Conv(2 * hidden, out_channels)
        self.m = nn.Sequential(*(Bottleneck(hidden, shortcut) for _ in range(repeats)))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW: Tensor = self.cv3(torch.cat((self.m(self.cv1(x_BCHW)), self.cv2(x_BCHW)), dim=1))
        return y_BCHW


class SPPF(nn.Module):
    """Spatial pyramid pooling, fast: chained poolings see as far as parallel ones of growing kernels."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        hidden = in_channels // 2
        self.cv1 = Conv(in_channels, hidden)
        self.cv2 = Conv(4 * hidden, out_channels)
        self.m = nn.MaxPool2d(kernel, stride=1, padding=kernel // 2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        pools = [self.cv1(x_BCHW)]
        for _ in range(3):
            pools.append(self.m(pools[-1]))
        y_BCHW: Tensor = self.cv2(torch.cat(pools, dim=1))
        return y_BCHW


class Concat(nn.Module):
    def forward(self, *xs_BCHW: Tensor) -> Tensor:
        return torch.cat(xs_BCHW, dim=1)


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
        # A buffer, as in v7.0's files: anchors that were fitted have to travel with the weights.
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
            # Added to torch's own initialisation, not put in its place, as in v7.0.
            bias_AP[:, 4] += math.log(8 / (640 / stride) ** 2)
            # Just below 1, so that a single class gives a large bias and no division by zero.
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
