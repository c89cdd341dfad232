"""Batches as bytes: what a loader process writes into memory, finished images or what a GPU makes them of.

No torch in here: loader processes start in a fraction of a second because they never import it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .arrays import Targets
from .dataset import TrainDataset
from .draft import Draft, finish

Request = tuple[int, npt.NDArray[np.int64]]
"""Epoch, and the indices of the images of one rank's batch."""
Pixels = npt.NDArray[np.uint8]
"""Bytes in a row."""


@dataclass(frozen=True)
class Unfinished:
    """What is left to do for the V canvases of the B images of a batch. The canvases' pixels lie one after another."""

    sizes_V2: npt.NDArray[np.int64]
    """Height, width."""
    matrices_V33: npt.NDArray[np.float64]
    """From the canvas to the image, mirrored where the image is."""
    shares_V: npt.NDArray[np.float64]
    """How much of its image a canvas is; those of an image add up to 1."""
    images_V: npt.NDArray[np.int64]
    """The image in the batch that a canvas belongs to, in order."""
    gains_B3: npt.NDArray[np.float64] | None
    """Factors for hue, saturation and value."""


@dataclass(frozen=True)
class Made:
    """A batch without its pixels."""

    targets_M6: Targets
    """Position of the image in this batch, class, normalised centre box."""
    indices_B: npt.NDArray[np.int64]
    used: int
    """Bytes of pixels."""
    unfinished: Unfinished | None
    """None if the pixels are those of finished images (B, H, W, 3)."""


@dataclass(frozen=True)
class BatchMaker:
    """Makes batches of samples, or with `finish` False of drafts."""

    dataset: TrainDataset
    finish: bool = True

    def bytes_for(self, images: int) -> int:
        """The most that the pixels of a batch can take: a canvas has up to twice the image's side."""
        of_image = 3 * self.dataset.image_size**2
        return images * of_image * (1 if self.finish else 4 * self.dataset.most_canvases)

    def make(self, request: Request, pixels: Pixels) -> Made:
        """Write a batch's pixels to the beginning of `pixels` and return the rest."""
        epoch, indices = request
        drafts = [self.dataset.draft(epoch, index) for index in indices.tolist()]
        used, unfinished = self._finish(drafts, pixels) if self.finish else _lay_down(drafts, self.dataset, pixels)
        return Made(stack_targets([draft.targets_N5 for draft in drafts]), indices, used, unfinished)

    def _finish(self, drafts: list[Draft], pixels: Pixels) -> tuple[int, None]:
        height, width = self.dataset.output
        used = len(drafts) * height * width * 3
        images_BHWC = pixels[:used].reshape(len(drafts), height, width, 3)
        for image_HWC, draft in zip(images_BHWC, drafts, strict=True):
            image_HWC[:] = finish(draft, (height, width))
        return used, None


def stack_targets(targets: list[Targets]) -> Targets:
    """(M, 6) from the (N, 5) targets of each image: every row begins with its image's position."""
    positions = np.repeat(np.arange(len(targets), dtype=np.float32), [len(rows) for rows in targets])
    return np.column_stack([positions, np.concatenate(targets)])


def _lay_down(drafts: list[Draft], dataset: TrainDataset, pixels: Pixels) -> tuple[int, Unfinished]:
    canvases = [(image, canvas) for image, draft in enumerate(drafts) for canvas in draft.canvases]
    used = 0
    for _, canvas in canvases:
        end = used + canvas.pixels_HWC.size
        pixels[used:end] = canvas.pixels_HWC.reshape(-1)
        used = end
    mirrors = [_mirror(draft, dataset) for draft in drafts]
    gains = [draft.gains_3 for draft in drafts if draft.gains_3 is not None]
    return used, Unfinished(
        sizes_V2=np.array([canvas.pixels_HWC.shape[:2] for _, canvas in canvases]),
        matrices_V33=np.stack([mirrors[image] @ canvas.matrix for image, canvas in canvases]),
        shares_V=np.concatenate([_shares(draft) for draft in drafts]),
        images_V=np.array([image for image, _ in canvases]),
        gains_B3=np.stack(gains) if gains else None,
    )


def _mirror(draft: Draft, dataset: TrainDataset) -> npt.NDArray[np.float64]:
    """The draft's flips as a matrix."""
    height, width = dataset.output
    matrix = np.eye(3)
    if draft.left_right:
        matrix[0, 0], matrix[0, 2] = -1, width - 1
    if draft.upside_down:
        matrix[1, 1], matrix[1, 2] = -1, height - 1
    return matrix


def _shares(draft: Draft) -> list[float]:
    return [1.0] if len(draft.canvases) == 1 else [draft.share, 1 - draft.share]
