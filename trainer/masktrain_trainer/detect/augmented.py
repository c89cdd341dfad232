"""YOLOv5's augmentation at test time: the picture at three sizes, once mirrored, and what is seen in any of them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from masktrain_trainer.data.geometry import BORDER
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.predict.predictor import Inference, Network, Pending


@dataclass(frozen=True)
class View:
    """How a picture is looked at: scaled by `scale`, and from left to right if `mirrored`."""

    scale: float
    mirrored: bool


VIEWS = (View(1.0, False), View(0.83, True), View(0.67, False))
"""YOLOv5's."""


class AugmentedNetwork:
    """A network that sees each batch in all `VIEWS`, and whose candidates are those of all, in the first one's pixels.

    As in YOLOv5 the largest view leaves large objects to the others, and the smallest one small objects: of the one the
    rows of the coarsest level are left out, of the other those of the finest.
    """

    in_flight = 1

    def __init__(self, network: Network, stride: int) -> None:
        self._network = network
        self._stride = stride

    @property
    def device(self) -> torch.device:
        return self._network.device

    def start(self, images_BCHW: Tensor) -> Pending:
        """Computes at once. Raises InvalidConfiguration if the network is not torch's: others take one size alone."""
        seen = [self._look(images_BCHW, view) for view in VIEWS]
        inference = Inference([], torch.cat(seen, dim=1))
        return lambda: inference

    @torch.inference_mode()
    def _look(self, images_BCHW: Tensor, view: View) -> Tensor:
        raws, decoded_BNP = self._network.start(_viewed(images_BCHW, view, self._stride))()
        if not raws:
            raise InvalidConfiguration("--augment needs a model of torch (.pt): others cannot be run at several sizes.")
        rows = [raw.shape[1] * raw.shape[2] * raw.shape[3] for raw in raws]
        if view is VIEWS[0]:
            decoded_BNP = decoded_BNP[:, : -rows[-1]]
        elif view is VIEWS[-1]:
            decoded_BNP = decoded_BNP[:, rows[0] :]
        return _undone(decoded_BNP, view, images_BCHW.shape[3])


def _viewed(images_BCHW: Tensor, view: View, stride: int) -> Tensor:
    images_BCHW = images_BCHW.flip(3) if view.mirrored else images_BCHW
    if view.scale == 1:
        return images_BCHW
    height, width = (int(side * view.scale) for side in images_BCHW.shape[2:])
    scaled = functional.interpolate(images_BCHW.float(), (height, width), mode="bilinear", align_corners=False)
    full = (math.ceil(side * view.scale / stride) * stride for side in images_BCHW.shape[2:])
    below, right = (side - there for side, there in zip(full, (height, width), strict=True))
    return functional.pad(scaled.round(), (0, right, 0, below), value=BORDER).to(torch.uint8)


def _undone(decoded_BNP: Tensor, view: View, width: int) -> Tensor:
    """Boxes in the pixels of the picture as it was given."""
    x, y, w, h = (decoded_BNP[..., column] / view.scale for column in range(4))
    x = width - x if view.mirrored else x
    return torch.cat((torch.stack((x, y, w, h), dim=-1), decoded_BNP[..., 4:]), dim=-1)
