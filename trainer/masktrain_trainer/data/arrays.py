"""The array types of the data side."""

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""Pixels (height, width, 3), red, green, blue, unless said otherwise."""
Boxes = npt.NDArray[np.float64]
"""(N, 4) boxes, or (N, 5) with the class first."""
Targets = npt.NDArray[np.float32]
"""(N, 5): class, centre x, centre y, width, height; the last four as fractions of the image."""
Matrix = npt.NDArray[np.float64]
"""(3, 3) homogeneous transform of pixel coordinates."""
Size = tuple[int, int]
"""Height and width in pixels."""

BORDER = 114
"""Grey of everything outside an image."""
