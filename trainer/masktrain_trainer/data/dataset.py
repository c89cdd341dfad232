"""Training samples and their collation: the same (seed, epoch, index) gives the same pixels and boxes wherever it is
asked, and a batch is bytes, finished images or the canvases that a GPU renders them from.

No torch in here: loader processes start in a fraction of a second because they never import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from masktrain_trainer.config import Hyperparameters

from .augmentation import (
    SMALLEST_OUTLINE_SHARE,
    Canvas,
    LazySample,
    Outline,
    Warp,
    draw_centre,
    draw_gains,
    flip_targets,
    lay_tiles,
    mosaic_boxes,
    paint_mosaic,
    place_outlines,
    render,
    seen_region,
    warp_boxes,
    warp_matrix,
    warp_outlines,
    worth_keeping,
)
from .geometry import CLIP_EPSILON, Boxes, Image, Size, Targets, letterbox, plan_letterbox, xywhn_to_xyxy, xyxy_to_xywhn
from .prepared import CachedImages, PreparedDataset

MIXUP_BETA = 32.0
"""Of YOLOv5's Beta(32, 32): both images show, at about half strength."""


class TrainDataset:
    """Augmented samples of the training split."""

    def __init__(self, prepared: PreparedDataset, image_size: int, hyperparameters: Hyperparameters, seed: int) -> None:
        if prepared.image_size != image_size:
            raise ValueError(f"the data set is prepared for {prepared.image_size} px, not for {image_size} px")
        self.image_size = image_size
        self.seed = seed
        self._hyperparameters = hyperparameters
        self._images = CachedImages(prepared.train.labels, prepared.train.cache)

    def __len__(self) -> int:
        return len(self._images)

    def sample(self, epoch: int, index: int) -> tuple[Image, Targets]:
        """Augmented image (3, H, W) uint8 RGB, channels last in memory, and its targets (N, 5): class, normalised
        centre box.
        """
        sample = self.lazy_sample(epoch, index)
        return render(sample, self.output).transpose(2, 0, 1), sample.targets_N5

    @property
    def output(self) -> Size:
        return self.image_size, self.image_size

    @property
    def most_canvases(self) -> int:
        """How many a lazy sample has at most."""
        return 2 if self._hyperparameters.mixup else 1

    def lazy_sample(self, epoch: int, index: int) -> LazySample:
        """The same sample before the work on its pixels."""
        # A generator for each sample: neither the workers nor the world size nor a resumption changes a number.
        rng = np.random.default_rng([self.seed, epoch, index])
        h = self._hyperparameters
        if rng.random() < h.mosaic:
            canvases, share, targets = self._mixed(rng, index)
        else:
            (canvas, targets), share = self._single(rng, index), 1.0
            canvases = (canvas,)
        gains_3 = draw_gains(rng, h) if h.hsv_hue or h.hsv_saturation or h.hsv_value else None
        vertical, horizontal = (rng.random(2) < (h.flip_vertical, h.flip_horizontal)).tolist()
        targets = flip_targets(targets, vertical=vertical, horizontal=horizontal)
        return LazySample(canvases, share, gains_3, vertical, horizontal, targets)

    def _mixed(self, rng: np.random.Generator, index: int) -> tuple[tuple[Canvas, ...], float, Targets]:
        """A mosaic, now and then with a second one shining through."""
        canvas, targets = self._mosaic(rng, index)
        # With no chance of mixup nothing is drawn, so that its default leaves the stream of numbers as it was.
        chance = self._hyperparameters.mixup
        if not chance or rng.random() >= chance:
            return (canvas,), 1.0, targets
        other, more_targets = self._mosaic(rng, int(rng.integers(len(self))))
        return (canvas, other), rng.beta(MIXUP_BETA, MIXUP_BETA), np.concatenate([targets, more_targets])

    def _mosaic(self, rng: np.random.Generator, index: int) -> tuple[Canvas, Targets]:
        """Four images, this one among them, on a canvas of twice the size, to be warped to the training size."""
        size = self.image_size
        centre = draw_centre(rng, size)
        # Shuffled, or the image that the sample is made for would always lie top left.
        chosen = rng.permutation([index, *rng.integers(len(self), size=3)]).tolist()
        sizes = [self._images.size(image) for image in chosen]
        tiles = lay_tiles(sizes, centre, size)
        boxes = mosaic_boxes([self._images.targets(image) for image in chosen], sizes, tiles, size)
        warp, whole = Warp.draw(rng, self._hyperparameters), (2 * size, 2 * size)
        matrix = warp_matrix(warp, whole, self.output)
        seen = seen_region(matrix, self.output, whole)
        part = paint_mosaic([self._images.image(image) for image in chosen], tiles, seen)
        to_whole = np.array([[1, 0, seen.left], [0, 1, seen.top], [0, 0, 1]], np.float64)
        outlines = [
            outline
            for image, (height, width), tile in zip(chosen, sizes, tiles, strict=True)
            for outline in self._outlines(image, width=width, height=height, pad_x=tile.x, pad_y=tile.y)
        ]
        return Canvas(part, matrix @ to_whole), warped_targets(boxes, matrix, warp.scale, self.output, outlines)

    def _single(self, rng: np.random.Generator, index: int) -> tuple[Canvas, Targets]:
        """One image, letterboxed and to be warped."""
        plan = plan_letterbox(self._images.size(index), self.output)
        rows = self._images.targets(index)
        pixels = xywhn_to_xyxy(rows[:, 1:], width=plan.width, height=plan.height, pad_x=plan.pad_x, pad_y=plan.pad_y)
        warp = Warp.draw(rng, self._hyperparameters)
        matrix = warp_matrix(warp, self.output, self.output)
        canvas = Canvas(letterbox(self._images.image(index), plan), matrix)
        boxes = np.column_stack([rows[:, 0], pixels])
        outlines = self._outlines(index, width=plan.width, height=plan.height, pad_x=plan.pad_x, pad_y=plan.pad_y)
        return canvas, warped_targets(boxes, matrix, warp.scale, self.output, outlines)

    def _outlines(self, index: int, *, width: float, height: float, pad_x: float, pad_y: float) -> list[Outline]:
        """In pixels of where the image lies; nothing if the whole split is labelled with boxes."""
        if not self._images.has_outlines:
            return []
        return place_outlines(self._images.outlines(index), width=width, height=height, pad_x=pad_x, pad_y=pad_y)


def warped_targets(
    boxes_N5: Boxes, matrix: np.ndarray, scale: float, output: Size, outlines: Sequence[Outline] = ()
) -> Targets:
    """Targets of boxes (class, pixel corners) after a warp, without those it leaves too little of.

    outlines: of each box in pixels, empty for one that has none; or nothing at all if none has.
    """
    warped = warp_boxes(boxes_N5[:, 1:], matrix, output)
    kept = worth_keeping(boxes_N5[:, 1:], warped, scale)
    outlined = np.array([index for index, outline in enumerate(outlines) if len(outline)], np.int64)
    if len(outlined):
        warped[outlined] = warp_outlines([outlines[index] for index in outlined], matrix, output)
        kept[outlined] = worth_keeping(boxes_N5[outlined, 1:], warped[outlined], scale, SMALLEST_OUTLINE_SHARE)
    normalised = xyxy_to_xywhn(warped[kept], width=output[1], height=output[0], clip_epsilon=CLIP_EPSILON)
    return np.column_stack([boxes_N5[kept, 0], normalised]).astype(np.float32)


BatchRequest = tuple[int, npt.NDArray[np.int64]]
"""Epoch, and the indices of the images of one rank's batch."""
Pixels = npt.NDArray[np.uint8]
"""Bytes in a row."""


@dataclass(frozen=True)
class PendingAugmentation:
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
class CollatedBatch:
    """A batch without its pixels."""

    targets_M6: Targets
    """Position of the image in this batch, class, normalised centre box."""
    indices_B: npt.NDArray[np.int64]
    used: int
    """Bytes of pixels."""
    pending: PendingAugmentation | None
    """None if the pixels are those of finished images (B, H, W, 3)."""


@dataclass(frozen=True)
class Collator:
    """Collates batches of rendered images, or, unless `render_here`, of canvases that a GPU renders."""

    dataset: TrainDataset
    render_here: bool = True

    def bytes_for(self, images: int) -> int:
        """The most that the pixels of a batch can take: a canvas has up to twice the image's side."""
        of_image = 3 * self.dataset.image_size**2
        return images * of_image * (1 if self.render_here else 4 * self.dataset.most_canvases)

    def collate(self, request: BatchRequest, pixels: Pixels) -> CollatedBatch:
        """Write a batch's pixels to the beginning of `pixels` and return the rest."""
        epoch, indices = request
        samples = [self.dataset.lazy_sample(epoch, index) for index in indices.tolist()]
        used, pending = (
            self._render(samples, pixels) if self.render_here else _collate_canvases(samples, self.dataset, pixels)
        )
        return CollatedBatch(collate_targets([sample.targets_N5 for sample in samples]), indices, used, pending)

    def _render(self, samples: list[LazySample], pixels: Pixels) -> tuple[int, None]:
        height, width = self.dataset.output
        used = len(samples) * height * width * 3
        images_BHWC = pixels[:used].reshape(len(samples), height, width, 3)
        for image_HWC, sample in zip(images_BHWC, samples, strict=True):
            image_HWC[:] = render(sample, (height, width))
        return used, None


def collate_targets(targets: list[Targets]) -> Targets:
    """(M, 6) from the (N, 5) targets of each image: every row begins with its image's position."""
    positions = np.repeat(np.arange(len(targets), dtype=np.float32), [len(rows) for rows in targets])
    return np.column_stack([positions, np.concatenate(targets)])


def _collate_canvases(
    samples: list[LazySample], dataset: TrainDataset, pixels: Pixels
) -> tuple[int, PendingAugmentation]:
    canvases = [(image, canvas) for image, sample in enumerate(samples) for canvas in sample.canvases]
    used = 0
    for _, canvas in canvases:
        end = used + canvas.pixels_HWC.size
        pixels[used:end] = canvas.pixels_HWC.reshape(-1)
        used = end
    mirrors = [_mirror(sample, dataset) for sample in samples]
    gains = [sample.gains_3 for sample in samples if sample.gains_3 is not None]
    return used, PendingAugmentation(
        sizes_V2=np.array([canvas.pixels_HWC.shape[:2] for _, canvas in canvases]),
        matrices_V33=np.stack([mirrors[image] @ canvas.matrix for image, canvas in canvases]),
        shares_V=np.concatenate([_shares(sample) for sample in samples]),
        images_V=np.array([image for image, _ in canvases]),
        gains_B3=np.stack(gains) if gains else None,
    )


def _mirror(sample: LazySample, dataset: TrainDataset) -> npt.NDArray[np.float64]:
    """The sample's flips as a matrix."""
    height, width = dataset.output
    matrix = np.eye(3)
    if sample.left_right:
        matrix[0, 0], matrix[0, 2] = -1, width - 1
    if sample.upside_down:
        matrix[1, 1], matrix[1, 2] = -1, height - 1
    return matrix


def _shares(sample: LazySample) -> list[float]:
    return [1.0] if len(sample.canvases) == 1 else [sample.share, 1 - sample.share]
