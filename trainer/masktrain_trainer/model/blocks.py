"""The building blocks of YOLOv5. Attribute names are its state-dict keys, so its weights load unchanged.

Shapes: B images, C channels, H x W cells. Every block keeps the memory format of its input (`channels_last` included).
"""

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

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, padding: int | None = None
    ) -> None:
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        # Not in place: the backward pass needs the batch norm's output, so "saving" that memory costs a clone.
        return silu(self.bn(self.conv(x_BCHW)))

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
