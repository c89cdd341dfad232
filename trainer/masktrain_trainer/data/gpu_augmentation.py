"""Render augmented batches on a device: what `augmentation.render` does, without the host ever waiting for the device.

Pixels agree with OpenCV's up to rounding: it rounds every image in between to whole numbers, and older versions of it
round positions to 1/32 pixel.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from .augmentation import HUES
from .dataset import PendingAugmentation
from .geometry import BORDER

IMAGES_AT_ONCE = 8
"""Enough to keep a GPU busy, few enough that their floats are small beside what a model needs."""
FAR_OUTSIDE = 3.0
"""Positions end here: `grid_sample` counts from -1 to 1 over the canvas, and what it does with infinity is open."""


def render_on_device(device: torch.device, pixels: Tensor, pending: PendingAugmentation, side: int) -> Tensor:
    """The images (B, 3, side, side) of a batch as bytes on `device`, channels last in memory.

    pixels: the canvases' bytes, in pinned memory if `device` is a GPU.
    """
    sizes, shares, images_V = pending.sizes_V2.tolist(), pending.shares_V.tolist(), pending.images_V
    canvases = torch.split(pixels.to(device, non_blocking=True), [3 * height * width for height, width in sizes])
    positions_V33 = _upload(position_matrices(pending), device)
    gains_B3 = _upload(pending.gains_B3, device) if pending.gains_B3 is not None else None
    count = int(images_V[-1]) + 1
    finished_BCHW = torch.empty((count, side, side, 3), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    for start in range(0, count, IMAGES_AT_ONCE):
        end = min(start + IMAGES_AT_ONCE, count)
        first, last = np.searchsorted(images_V, [start, end]).tolist()
        grids_VHW2 = sampling_grids(positions_V33[first:last], side)
        images_BCHW = torch.full((end - start, 3, side, side), BORDER, dtype=torch.float32, device=device)
        for canvas in range(first, last):
            seen_CHW = _sample_canvas(canvases[canvas].view(*sizes[canvas], 3), grids_VHW2[canvas - first])
            images_BCHW[images_V[canvas] - start].add_(seen_CHW, alpha=shares[canvas])
        images_BCHW.round_()
        finished_BCHW[start:end] = recolour(images_BCHW, gains_B3[start:end]) if gains_B3 is not None else images_BCHW
    return finished_BCHW


def position_matrices(pending: PendingAugmentation) -> npt.NDArray[np.float32]:
    """(V, 3, 3): from an image's pixels to homogeneous positions on a canvas, its outer edges at -1 and 1."""
    height_V, width_V = pending.sizes_V2.T
    to_unit_V33 = np.zeros_like(pending.matrices_V33)
    to_unit_V33[:, 0, 0], to_unit_V33[:, 0, 2] = 2 / width_V, 1 / width_V - 1
    to_unit_V33[:, 1, 1], to_unit_V33[:, 1, 2] = 2 / height_V, 1 / height_V - 1
    to_unit_V33[:, 2, 2] = 1
    return (to_unit_V33 @ np.linalg.inv(pending.matrices_V33)).astype(np.float32)


def sampling_grids(positions_V33: Tensor, side: int) -> Tensor:
    """Where on its canvas every pixel of the image is taken from: (V, side, side, 2), x and y."""
    steps = torch.arange(side, dtype=torch.float32, device=positions_V33.device)
    x, y = steps, steps[:, None]
    # Not a matrix product, which some settings of torch compute with ten bits only.
    a_V3311 = positions_V33[..., None, None]
    homogeneous_V3HW = a_V3311[:, :, 0] * x + a_V3311[:, :, 1] * y + a_V3311[:, :, 2]
    grids_V2HW = homogeneous_V3HW[:, :2] / homogeneous_V3HW[:, 2:]
    return grids_V2HW.nan_to_num_(FAR_OUTSIDE).clamp_(-FAR_OUTSIDE, FAR_OUTSIDE).permute(0, 2, 3, 1)


def _sample_canvas(canvas_HWC: Tensor, grid_HW2: Tensor) -> Tensor:
    """What the grid shows of the canvas, bilinearly, as the difference from grey, which is what lies outside."""
    canvas_1CHW = canvas_HWC.permute(2, 0, 1)[None].float().sub_(BORDER)
    return grid_sample(canvas_1CHW, grid_HW2[None], mode="bilinear", padding_mode="zeros", align_corners=False)[0]


def recolour(rgb_B3HW: Tensor, gains_B3: Tensor) -> Tensor:
    """`augmentation.apply_gains`: whole numbers in, whole numbers out.

    Hue, saturation and value as OpenCV's documentation defines them for 8-bit images ("Color conversions").
    """
    hue, saturation, value = _to_hsv(rgb_B3HW)
    of_hue, of_saturation, of_value = gains_B3[:, :, None, None].unbind(1)
    hue = (hue * of_hue).remainder_(HUES).trunc_()
    saturation = (saturation * of_saturation).clamp_(max=255).trunc_()
    value = (value * of_value).clamp_(max=255).trunc_()
    return _to_rgb(hue, saturation, value)


def _to_hsv(rgb_B3HW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in 0..179, half degrees, saturation and value in 0..255, each (B, H, W)."""
    red, green, blue = rgb_B3HW.unbind(1)
    value = rgb_B3HW.amax(1)
    spread = value - rgb_B3HW.amin(1)
    saturation = (255 * spread / value.clamp(min=1)).round_()
    sixth = HUES / 6 / spread.clamp(min=1)
    from_green, from_blue = HUES / 3 + (blue - red) * sixth, 2 * HUES / 3 + (red - green) * sixth
    hue = torch.where(value == red, (green - blue) * sixth, torch.where(value == green, from_green, from_blue)).round_()
    return torch.where(hue < 0, hue + HUES, hue), saturation, value


def _to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """(B, 3, H, W). A channel falls and rises along a hexagon of hues, each from another corner."""
    corner, chroma = hue / (HUES / 6), value * saturation / 255
    channels = []
    for start in (5, 3, 1):
        along = (corner + start).remainder_(6)
        channels.append(value - chroma * torch.minimum(along, 4 - along).clamp_(0, 1))
    return torch.stack(channels, dim=1).round_()


def _upload(array: npt.NDArray[np.floating], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array.astype(np.float32))
    # Pinned, because the host waits for any other copy, whatever `non_blocking` says.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
