"""YOLOv5 assembled from its graph. `build_yolo` is the entry; the state-dict keys are YOLOv5's (`model.<layer>…`).

The forward pass has no branches on data, so `torch.compile` and CUDA graphs can take it whole.
"""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from masktrain_trainer.config import Architecture

from . import graph
from .blocks import C3, SPPF, Concat, Conv, Detect, decode_level
from .graph import SIZES, Graph, Size


class Yolo(nn.Module):
    """A detector for `num_classes` classes; images' sides must be multiples of the largest stride."""

    def __init__(self, size: Size, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.graph = size.graph
        self._reused = _reused_layers(size.graph)
        self.model = nn.ModuleList(_layers(size, num_classes))

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level, finest first."""
        return self.graph.strides

    @property
    def anchors(self) -> Tensor:
        """(levels, 3, 2): widths and heights in units of the level's stride."""
        return self._detect.anchors

    @property
    def _detect(self) -> Detect:
        detect = self.model[-1]
        assert isinstance(detect, Detect)
        return detect

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """RGB images in 0..1 -> raw predictions (B, 3, H, W, 5 + classes) for each level, finest first."""
        x_BCHW = images_BCHW
        reused: dict[int, Tensor] = {}
        for index, layer in enumerate(self.graph.layers):
            others = (reused[layer.other],) if isinstance(layer, graph.Concat) else ()
            x_BCHW = self.model[index](x_BCHW, *others)
            if index in self._reused:
                reused[index] = x_BCHW
        raws: list[Tensor] = self._detect([reused[source] for source in self.graph.detect_sources])
        return raws

    def decode(self, raws: list[Tensor]) -> Tensor:
        """Raw predictions -> (B, N, 5 + classes): centre x, y, w, h in pixels, then probabilities.

        Rows go by level, then anchor, then row, then column.
        """
        levels = zip(raws, self.anchors, self.strides, strict=True)
        return torch.cat([decode_level(raw, anchors_A2, stride) for raw, anchors_A2, stride in levels], dim=1)

    def fuse(self) -> "Yolo":
        """A copy for inference: batch norms folded into the convolutions, evaluation mode, no gradients."""
        # Of a copy, because nothing can train through a batch norm that is folded.
        fused = copy.deepcopy(self).eval()
        for module in list(fused.modules()):
            if isinstance(module, Conv):
                module.fold_batch_norm()
        return fused.requires_grad_(False)

    def activate_in_place(self) -> None:
        """Faster by up to a fifth; for inference alone, and not for what a tracer is to record."""
        for module in self.modules():
            if isinstance(module, Conv):
                module.in_place = True


def build_yolo(architecture: Architecture, num_classes: int) -> Yolo:
    """A detector with freshly initialised weights (PyTorch's default generator)."""
    return Yolo(SIZES[architecture], num_classes)


def _reused_layers(layers: Graph) -> frozenset[int]:
    """Layers whose output is read again later; the others' can be freed at once."""
    concatenated = {layer.other for layer in layers.layers if isinstance(layer, graph.Concat)}
    return frozenset(concatenated | set(layers.detect_sources))


def _layers(size: Size, num_classes: int) -> Iterator[nn.Module]:
    channels: list[int] = []
    for layer in size.graph.layers:
        module, out_channels = _layer(layer, size, channels)
        channels.append(out_channels)
        yield module
    sources = [channels[source] for source in size.graph.detect_sources]
    yield Detect(sources, anchors_in_strides(size.graph), size.graph.strides, num_classes)


def _layer(layer: graph.Layer, size: Size, channels: list[int]) -> tuple[nn.Module, int]:
    """The module of a layer and its output channels, given the output channels of all layers before."""
    previous = channels[-1] if channels else 3
    match layer:
        case graph.Conv(base, kernel, stride, padding):
            out = size.channels(base)
            return Conv(previous, out, kernel, stride, padding), out
        case graph.C3(base, repeats, shortcut):
            out = size.channels(base)
            return C3(previous, out, size.repeats(repeats), shortcut), out
        case graph.Sppf(base, kernel):
            out = size.channels(base)
            return SPPF(previous, out, kernel), out
        case graph.Upsample(factor):
            return nn.Upsample(scale_factor=factor, mode="nearest"), previous
        case graph.Concat(other):
            return Concat(), previous + channels[other]


def anchors_in_strides(layers: Graph) -> Tensor:
    """(levels, 3, 2) widths and heights of the default anchors."""
    strides_L11 = torch.tensor(layers.strides, dtype=torch.float32).view(-1, 1, 1)
    return torch.tensor(layers.anchors_px, dtype=torch.float32) / strides_L11
