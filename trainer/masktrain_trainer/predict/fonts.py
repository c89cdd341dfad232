"""Fonts for names in any script: matplotlib's own where it has the letters, else one that the system has.

A text is drawn in runs of one font each. Letters that nothing here can draw, or that would come out in the wrong order
or form, make a name unreadable: `class 3` is drawn in its place, and a sentence says so.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.ft2font import FaceFlags, FT2Font
from PIL import features

OWN_FONTS = Path(mpl.get_data_path()) / "fonts" / "ttf"
"""matplotlib's, which every trainer image has: they know far more scripts than OpenCV's."""
REGULAR, BOLD = OWN_FONTS / "DejaVuSans.ttf", OWN_FONTS / "DejaVuSans-Bold.ttf"
_RIGHT_TO_LEFT = {"R", "AL", "AN"}
_JOINED = {"Mn", "Mc", "Me"}
"""Categories of letters that change the form or place of others."""
_JOINERS = {"\u200c", "\u200d"}
"""Without a form of their own: they part and join the letters beside them, in Persian for instance."""


@lru_cache(maxsize=4096)
def runs(text: str, own: Path = BOLD) -> Sequence[tuple[Path, str]] | None:
    """The text in parts, each with a font that has all its letters; None if it cannot be drawn as it is to be read."""
    text = unicodedata.normalize("NFC", text)
    simple = is_simple(text)
    if not all(letter.isprintable() or letter in _JOINERS for letter in text) or not (simple or _is_arranged()):
        return None
    start, end = _foreign(text, own)
    # Only within one font are letters arranged: words that run to the left, marks over their letters.
    if (whole := _system_font(frozenset(text[start:end]))) is not None:
        parts = [(own, text[:start]), (whole, text[start:end]), (own, text[end:])]
        return [(font, part) for font, part in parts if part]
    other = _system_font(frozenset(letter for letter in text if not _has(own, letter)))
    if other is None or not simple:
        return None
    groups = groupby(text, key=lambda letter: own if _has(own, letter) else other)
    return [(font, "".join(letters)) for font, letters in groups]


def _foreign(text: str, own: Path) -> tuple[int, int]:
    """From the first to the last letter that `own` lacks, with the letters that these change or are changed by."""
    lacking = [position for position, letter in enumerate(text) if not _has(own, letter)]
    if not lacking:
        return len(text), len(text)
    start, end = lacking[0], lacking[-1] + 1
    while start > 0 and _is_joined(text[start]):
        start -= 1
    while end < len(text) and _is_joined(text[end]):
        end += 1
    return start, end


def drawable_names(names: Sequence[str]) -> list[str]:
    """Of each class what is drawn: its name, or its number where no font has the letters."""
    return [name if is_drawable(name) else f"class {index}" for index, name in enumerate(map(on_one_line, names))]


def is_drawable(text: str) -> bool:
    return bool(text) and runs(text) is not None


def on_one_line(text: str) -> str:
    """In NFC, too: figures put the letters of NFD, as a Mac writes them, beside each other."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def undrawable(names: Sequence[str]) -> str | None:
    """A sentence about the names that are drawn as numbers, if there are any."""
    drawn = drawable_names(names)
    # A name of blanks is drawn as a number, too, and no font would help.
    lost = [(name, shown) for name, shown in zip(names, drawn, strict=True) if on_one_line(name) not in ("", shown)]
    if not lost:
        return None
    shown = ", ".join(f"{name!r} as {number!r}" for name, number in lost[:3])
    more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
    return (
        f"No font here has the letters of every class name: {shown}{more} in pictures; install a font that has them, "
        "such as Debian's fonts-noto-cjk."
    )


def families(texts: Sequence[str]) -> list[str]:
    """Names of matplotlib's families that draw the texts together."""
    found = [FT2Font(font).family_name for text in texts for font, _ in runs(text, REGULAR) or ()]
    return list(dict.fromkeys([FT2Font(REGULAR).family_name, *found]))


def is_simple(text: str) -> bool:
    """Whether letters stand beside each other in the order and form in which they are written."""
    return all(
        unicodedata.bidirectional(letter) not in _RIGHT_TO_LEFT and not _is_joined(letter)
        for letter in unicodedata.normalize("NFC", text)
    )


def _is_joined(letter: str) -> bool:
    return letter in _JOINERS or unicodedata.category(letter) in _JOINED


@cache
def _is_arranged() -> bool:
    """Whether Pillow finds the libraries that arrange all others."""
    return bool(features.check_feature("raqm")) and bool(features.check_feature("fribidi"))


def _has(font: Path, letter: str) -> bool:
    return ord(letter) in _letters(font)


@cache
def _letters(font: Path) -> frozenset[int]:
    return frozenset(FT2Font(font).get_charmap())


@cache
def _system_font(letters: frozenset[str]) -> Path | None:
    """One of the system's scalable fonts that has all of these letters; of several the one that sorts first."""
    if not letters:
        return BOLD
    wanted = {ord(letter) for letter in letters}
    return next((font for font in _system_fonts() if wanted <= _known_to(font)), None)


@cache
def _system_fonts() -> list[Path]:
    entries = font_manager.fontManager.ttflist
    # Upright and plain before bold, slanted and condensed ones; then by name, so that a machine always draws alike.
    ordered = sorted(entries, key=lambda entry: (entry.style != "normal", str(entry.weight) != "400", entry.fname))
    return list(dict.fromkeys(Path(entry.fname) for entry in ordered))


def _known_to(font: Path) -> set[int]:
    try:
        face = FT2Font(font)
    except (OSError, RuntimeError):  # gone since matplotlib made its list, or no font after all
        return set()
    # Fonts of bitmaps, as those of emoji are, have one size only; that of last resort has a box for every letter.
    is_usable = FaceFlags.SCALABLE in FaceFlags(face.face_flags) and "Last Resort" not in face.family_name
    return set(face.get_charmap()) if is_usable else set()
