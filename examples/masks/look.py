"""What a person looks like, drawn by lot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .pen import Colour

CLASSES = ("incorrect", "mask", "no mask")
INCORRECT, MASK, NO_MASK = range(3)

SKINS: tuple[Colour, ...] = (
    (196, 218, 244),
    (170, 198, 232),
    (140, 172, 214),
    (110, 146, 196),
    (84, 118, 170),
    (62, 92, 140),
    (46, 68, 108),
    (36, 50, 80),
)
HAIRS: tuple[Colour, ...] = (
    (26, 24, 28),
    (30, 40, 58),
    (38, 62, 98),
    (70, 128, 180),
    (120, 180, 214),
    (40, 60, 140),
    (150, 150, 152),
    (206, 208, 210),
)
MASKS: tuple[Colour, ...] = (
    (232, 206, 160),
    (214, 182, 128),
    (240, 240, 238),
    (238, 236, 230),
    (44, 42, 42),
    (110, 70, 40),
    (180, 150, 220),
    (120, 160, 110),
    (70, 60, 150),
    (150, 190, 210),
)
HAIRSTYLES = ("short", "long", "bald", "afro", "bun", "cap", "beanie", "scarf")
"""`scarf` is a head scarf."""


@dataclass(frozen=True)
class Look:
    """What a person looks like."""

    skin: Colour
    hair: Colour
    hairstyle: str
    clothes: Colour
    glasses: bool
    beard: bool
    smile: float
    eyes_closed: bool
    mask: Colour
    mask_style: str
    """`surgical`, `cloth`, `dots`, `stripes` or `respirator`."""
    mask_wear: str
    """`worn`, `none`, or one of the wrong ways: `nose out`, `under chin`, `one ear`, `mouth only`."""
    light: tuple[float, float]
    """Direction in face coordinates from which the light is stronger."""


def random_look(rng: np.random.Generator, label: int) -> Look:
    wear = {
        NO_MASK: ("none",),
        MASK: ("worn",),
        INCORRECT: ("nose out", "nose out", "under chin", "mouth only", "one ear"),
    }
    hairstyle = str(rng.choice(HAIRSTYLES, p=[0.28, 0.24, 0.08, 0.08, 0.1, 0.08, 0.06, 0.08]))
    return Look(
        skin=_vary(rng, SKINS[rng.integers(len(SKINS))], 12),
        hair=_vary(rng, HAIRS[rng.integers(len(HAIRS))], 14) if hairstyle != "scarf" else _any_colour(rng),
        hairstyle=hairstyle,
        clothes=_any_colour(rng),
        glasses=bool(rng.random() < 0.2),
        beard=bool(rng.random() < 0.22) and hairstyle not in ("long", "bun", "scarf"),
        smile=float(rng.uniform(-0.06, 0.16)),
        eyes_closed=bool(rng.random() < 0.08),
        mask=_vary(rng, MASKS[rng.integers(len(MASKS))], 14),
        mask_style=str(
            rng.choice(["surgical", "cloth", "dots", "stripes", "respirator"], p=[0.45, 0.2, 0.08, 0.08, 0.19])
        ),
        mask_wear=str(rng.choice(wear[label])),
        light=(float(rng.uniform(-0.3, 0.3)), float(rng.uniform(-0.25, 0.05))),
    )


def _vary(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    b, g, r = (float(np.clip(c + d, 0, 255)) for c, d in zip(colour, rng.uniform(-spread, spread, 3), strict=True))
    return b, g, r


def _any_colour(rng: np.random.Generator) -> Colour:
    colour = rng.uniform(20, 225, 3)
    b, g, r = colour.mean() + (colour - colour.mean()) * rng.uniform(0.3, 1)
    return float(b), float(g), float(r)
