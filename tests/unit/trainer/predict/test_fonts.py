"""Names in any script: drawn with a font that has the letters, else as numbers with a sentence."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from masktrain_trainer.predict import fonts
from masktrain_trainer.predict.drawing import LabelledBox, draw_boxes
from masktrain_trainer.predict.fonts import BOLD, drawable_names, families, runs, undrawable
from masktrain_trainer.report.plots import figure_names

HAS, HAS_NOT = "口罩", "口镜"


@pytest.fixture
def system_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The only font of the system: two letters, a whole and a half square."""
    path = tmp_path / "squares.ttf"
    _write_font(path, {ord("口"): "whole", ord("罩"): "half"})
    yield from _alone(path, monkeypatch)


SYRIAC = "\u0710\u0712"


@pytest.fixture
def syriac_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The only font of the system: two letters that run to the left, the space and a mark."""
    path = tmp_path / "squares.ttf"
    _write_font(path, {ord(letter): "half" for letter in f"{SYRIAC} \u0301"})
    yield from _alone(path, monkeypatch)


def _write_font(path: Path, letters: dict[int, str]) -> None:
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "whole", "half"])
    builder.setupCharacterMap(letters)
    builder.setupGlyf({".notdef": _square(100), "whole": _square(900), "half": _square(450)})
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", "whole", "half"], (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


def _alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # No other one, whatever this machine has.
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    font_manager.fontManager.addfont(path)
    _forget()
    yield path
    _forget()


def _square(side: int) -> object:
    pen = TTGlyphPen(None)
    pen.moveTo((50, 0))
    for point in ((50, side), (50 + side, side), (50 + side, 0)):
        pen.lineTo(point)
    pen.closePath()
    return pen.glyph()


def _forget() -> None:
    for cached in (fonts.runs, fonts._system_font, fonts._system_fonts, fonts._letters):
        cached.cache_clear()


def test_plain_names_are_lettered_in_one_font() -> None:
    assert runs("Größe 0.87") == [(BOLD, "Größe 0.87")]
    assert drawable_names(["mask", " no\tmask ", ""]) == ["mask", "no mask", "class 2"]
    assert undrawable(["mask", "Größe", "маска", " no  mask"]) is None
    assert undrawable(["mask", "  "]) is None  # drawn as a number, which no font would change


def test_a_letter_of_the_system_s_font_is_drawn_with_it(system_font: Path) -> None:
    assert runs(f"a {HAS} 0.5") == [(BOLD, "a "), (system_font, HAS), (BOLD, " 0.5")]
    assert drawable_names([HAS]) == [HAS]
    assert figure_names([HAS]) == [HAS]
    assert families(["a", HAS])[1:] == ["Squares"]


def test_names_of_different_letters_look_different(system_font: Path) -> None:
    picture = np.full((200, 200, 3), 255, np.uint8)
    one, other = (draw_boxes(picture, [LabelledBox((20, 90, 120, 150), 0, name)]) for name in HAS)
    assert not np.array_equal(one, other)


def test_what_no_font_has_is_drawn_by_number_and_said(system_font: Path) -> None:
    assert drawable_names(["mask", HAS_NOT]) == ["mask", "class 1"]
    sentence = undrawable(["mask", HAS_NOT])
    assert sentence is not None
    assert "as 'class 1' in pictures; install a font" in sentence


def test_letters_that_are_arranged_need_the_library_that_arranges_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arabic and Hebrew run to the left, which plots do not do and pictures only with Raqm and FriBiDi."""
    monkeypatch.setattr(fonts, "_is_arranged", lambda: False)
    _forget()
    assert drawable_names(["\u05de\u05e1\u05db\u05d4"]) == ["class 0"]
    monkeypatch.setattr(fonts, "_is_arranged", lambda: True)
    _forget()
    assert drawable_names(["\u05de\u05e1\u05db\u05d4"]) == ["\u05de\u05e1\u05db\u05d4"]
    assert figure_names(["\u05de\u05e1\u05db\u05d4"]) == ["class 0"]
    _forget()


def test_a_decomposed_name_is_drawn_as_the_composed_one() -> None:
    assert runs("Gro\u0308sse") == [(BOLD, "Grösse")]
    assert drawable_names(["Gro\u0308sse"]) == figure_names(["Gro\u0308sse"]) == ["Grösse"]
    assert undrawable(["Gro\u0308sse"]) is None


def test_words_that_run_to_the_left_stay_in_one_run(syriac_font: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run is drawn to the right of the one before: of two words the first would stand on the left."""
    monkeypatch.setattr(fonts, "_is_arranged", lambda: True)
    assert runs(f"{SYRIAC} {SYRIAC} 0.87") == [(syriac_font, f"{SYRIAC} {SYRIAC}"), (BOLD, " 0.87")]
    # In two fonts the order would be wrong, so they are not mixed.
    assert runs(f"{SYRIAC} a {SYRIAC}") is None
    assert drawable_names([f"{SYRIAC} a {SYRIAC}"]) == ["class 0"]


def test_a_mark_is_in_the_font_of_its_letter(syriac_font: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_is_arranged", lambda: True)
    assert runs(f"a {SYRIAC}\u0301 b") == [(BOLD, "a "), (syriac_font, f"{SYRIAC}\u0301"), (BOLD, " b")]


def test_a_persian_name_with_its_joiner_is_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_is_arranged", lambda: True)
    _forget()
    assert drawable_names(["\u0645\u06cc\u200c\u062e\u0648"]) == ["\u0645\u06cc\u200c\u062e\u0648"]
    # Figures arrange nothing.
    assert figure_names(["\u0645\u06cc\u200c\u062e\u0648"]) == ["class 0"]
    _forget()
