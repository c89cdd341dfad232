"""Random hue, saturation and brightness by three 256-entry tables."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from masktrain_trainer.config import Hyperparameters

from .arrays import Image

HUES = 180
"""OpenCV's 8-bit hue counts half degrees."""


def draw_gains(rng: np.random.Generator, hyperparameters: Hyperparameters) -> npt.NDArray[np.float64]:
    """Factors (3,) for hue, saturation and value."""
    spread = np.array([hyperparameters.hsv_hue, hyperparameters.hsv_saturation, hyperparameters.hsv_value])
    return np.asarray(1 + rng.uniform(-1, 1, 3) * spread, np.float64)


def apply_gains(image_HWC: Image, gains_3: npt.NDArray[np.float64]) -> Image:
    """A new image with hue, saturation and value multiplied; results are truncated, the hue wraps."""
    hsv = cv2.cvtColor(image_HWC, cv2.COLOR_RGB2HSV)
    cv2.LUT(hsv, _tables(gains_3), dst=hsv)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=hsv), np.uint8)


def _tables(gains_3: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """(1, 256, 3): one look-up for all three channels."""
    tables = np.arange(256)[:, None] * gains_3
    tables[:, 0] %= HUES
    return np.clip(tables, 0, 255).astype(np.uint8)[None]
