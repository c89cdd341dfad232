"""Training samples: the same (seed, epoch, index) gives the same pixels and boxes, wherever it is asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from masktrain_trainer.config import Hyperparameters

from .affine import Warp, warp_boxes, warp_matrix, worth_keeping
from .arrays import Boxes, Image, Size, Targets
from .cache import CachedImages
from .color import draw_gains
from .draft import Canvas, Draft, finish
from .flip import flip_targets
from .geometry import CLIP_EPSILON, xywhn_to_xyxy, xyxy_to_xywhn
from .letterbox import letterbox, plan_letterbox
from .mosaic import draw_centre, lay_tiles, mosaic_boxes, paint, seen_region
from .outlines import SMALLEST_AREA_SHARE, Outline, place, warp_outlines
from .prepared import PreparedDataset

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
        draft = self.draft(epoch, index)
        return finish(draft, self.output).transpose(2, 0, 1), draft.targets_N5

    @property
    def output(self) -> Size:
        return self.image_size, self.image_size

    @property
    def most_canvases(self) -> int:
        """How many a draft has at most."""
        return 2 if self._hyperparameters.mixup else 1

    def draft(self, epoch: int, index: int) -> Draft:
        """The same sample before the work on its pixels."""
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
        return Draft(canvases, share, gains_3, vertical, horizontal, targets)

    def _mixed(self, rng: np.random.Generator, index: int) -> tuple[tuple[Canvas, ...], float, Targets]:
        """A mosaic, now and then with a second one shining through."""
        canvas, targets = self._mosaic(rng, index)
        chance = self._hyperparameters.mixup
        if not chance or rng.random() >= chance:
            return (canvas,), 1.0, targets
        other, more_targets = self._mosaic(rng, int(rng.integers(len(self))))
        return (canvas, other), rng.beta(MIXUP_BETA, MIXUP_BETA), np.concatenate([targets, more_targets])

    def _mosaic(self, rng: np.random.Generator, index: int) -> tuple[Canvas, Targets]:
        """Four images, this one among them, on a canvas of twice the size, to be warped to the training size."""
        size = self.image_size
        centre = draw_centre(rng, size)
        chosen = rng.permutation([index, *rng.integers(len(self), size=3)]).tolist()
        sizes = [self._images.size(image) for image in chosen]
        tiles = lay_tiles(sizes, centre, size)
        boxes = mosaic_boxes([self._images.targets(image) for image in chosen], sizes, tiles, size)
        warp, whole = Warp.draw(rng, self._hyperparameters), (2 * size, 2 * size)
        matrix = warp_matrix(warp, whole, self.output)
        seen = seen_region(matrix, self.output, whole)
        part = paint([self._images.image(image) for image in chosen], tiles, seen)
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
        return place(self._images.outlines(index), width=width, height=height, pad_x=pad_x, pad_y=pad_y)


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
        kept[outlined] = worth_keeping(boxes_N5[outlined, 1:], warped[outlined], scale, SMALLEST_AREA_SHARE)
    normalised = xyxy_to_xywhn(warped[kept], width=output[1], height=output[0], clip_epsilon=CLIP_EPSILON)
    return np.column_stack([boxes_N5[kept, 0], normalised]).astype(np.float32)
