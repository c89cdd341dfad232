"""Every field of what a trainer says has bounds, and both sides may say or read anything without stumbling."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from masktrain_trainer.config import (
    CheckpointRef,
    DatasetSummary,
    Losses,
    Outcome,
    OutcomeKind,
    Progress,
    plain_text,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUMMARY: dict[str, Any] = {"images": 1, "boxes": 1, "validation_images": 1, "validation_boxes": 1}


def said(**fields: Any) -> Progress:
    return Progress(**{"attempt": 0, "updated_at": NOW, **fields})


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("images_per_second", 1e300, 1e9),
        ("images_per_second", math.nan, 1e9),
        ("images_per_second", -1.0, 0.0),
        ("map50", math.nan, 0.0),
        ("map50", math.inf, 1.0),
        ("attempt", 10**40, 10**9),
        ("epoch", -1, 0),
        ("step", 10**40, 10**15),
        ("eta_seconds", 10**40, 10**9),
        ("detail", "a\x1b[31m\nb", "a [31m b"),
        ("phase", "x" * 1000, "x" * 63 + "…"),
        ("skipped_checkpoints", ["s"] * 100, ["s"] * 10),
        ("outputs", ["u" * 5000, "s3://a"], ["s3://a"]),
        ("updated_at", datetime(2026, 1, 1), NOW),
    ],
)
def test_what_is_out_of_bounds_counts_as_the_bound(field: str, value: object, kept: object) -> None:
    assert getattr(said(**{field: value}), field) == kept


@pytest.mark.parametrize("year", [1, 1999, 2200, 9999])
def test_a_time_of_another_age_is_none(year: int) -> None:
    """In another time zone it is no time at all: an OverflowError."""
    with pytest.raises(ValueError, match="is not a time"):
        said(updated_at=datetime(year, 1, 1, tzinfo=UTC))


def test_a_training_that_diverges_goes_on_telling() -> None:
    losses = Losses(box=math.nan, objectness=math.inf, classification=1e30)

    assert set(losses.model_dump().values()) == {1e9}


@pytest.mark.parametrize(
    ("reason", "kept"), [("InvalidDataset", "InvalidDataset"), ("", "Unknown"), ("a b\n", "ab"), ("x" * 99, "x" * 64)]
)
def test_a_reason_is_a_word(reason: str, kept: str) -> None:
    assert Outcome(kind=OutcomeKind.CRASHED, reason=reason, message="").reason == kept


def test_names_of_classes_are_single_lines() -> None:
    summary = DatasetSummary(classes=["mask\r\n[INFO] stored checkpoint", "\u202etxt.exe"], **SUMMARY)

    assert summary.classes == ["mask [INFO] stored checkpoint", " txt.exe"]


@pytest.mark.parametrize("text", ["", "two words", "é…😀", "a" * 4096])
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert plain_text(text) == text


def best(fitness: float | None) -> CheckpointRef:
    return CheckpointRef(
        uri="s3://x/best.pt", sha256="0" * 64, size_bytes=1, epoch=7, step=9, fitness=fitness, verified_at=NOW
    )


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"best": best(0.0)}, None),  # early in a training it means nothing
        ({"best": best(0.0), "outcome": Outcome.stopped("Stopped.")}, None),
        ({"best": best(1e-9), "outcome": Outcome.complete("Done.")}, None),
        ({"outcome": Outcome.complete("Done.")}, None),
        ({"best": best(0.0), "outcome": Outcome.complete("Done.")}, "the weights of epoch 7, a fitness above 0"),
        ({"best": best(None), "outcome": Outcome.complete("Done.")}, "the weights of epoch 7, a fitness above 0"),
        ({"best": best(0.0), "fitness_warning": "No box."}, "No box."),
    ],
)
def test_a_best_model_that_no_fitness_has_chosen(fields: dict[str, Any], warning: str | None) -> None:
    """Versions that do not say it themselves end with a best.pt of fitness 0, and so does a pod that finds all done."""
    found = said(**fields).model_warning
    assert (found is None) == (warning is None)
    assert warning is None or (found is not None and warning in found)


def test_an_earlier_operator_meets_the_new_key_only_where_there_is_something_to_say() -> None:
    assert "fitnessWarning" not in said(best=best(0.5)).to_json()
