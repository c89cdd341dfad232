"""The moving table, one moment at a time."""

import io
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from masktrain_trainer.config import Losses, Outcome, Phase, Progress
from masktrain_trainer.local.training import closing_lines, progress_table


def shown(**fields: Any) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(progress_table(Progress(attempt=0, updated_at=datetime(2026, 1, 1, tzinfo=UTC), **fields)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_before_training_the_phase_is_named() -> None:
    assert "Preparing  fetching" in shown(phase=Phase.PREPARING, detail="fetching", epochs=3)


def test_in_training_losses_scores_speed_and_rest_stand_over_a_bar() -> None:
    text = shown(
        phase=Phase.TRAINING,
        epoch=4,
        epochs=30,
        batch=2,
        batches=25,
        losses=Losses(box=0.05, objectness=0.04, classification=0.03),
        map50=0.5,
        map50_95=0.25,
        images_per_second=98.7,
        eta_seconds=3700,
    )
    assert text.split()[:8] == ["epoch", "box", "obj", "cls", "mAP50", "mAP50-95", "images/s", "left"]
    assert text.split()[8:16] == ["4/29", "0.0500", "0.0400", "0.0300", "0.500", "0.250", "98.7", "1:01:40"]
    assert "2/25 batches" in text


def test_what_is_not_known_yet_stays_empty() -> None:
    assert "None" not in shown(phase=Phase.TRAINING, epochs=3)


def test_validation_has_no_count_of_batches() -> None:
    assert "validating" in shown(phase=Phase.VALIDATING, epochs=3, batch=2, batches=25)


def test_after_the_last_epoch_none_is_counted() -> None:
    assert "2/2" in shown(phase=Phase.VALIDATING, epoch=3, epochs=3)


def test_the_end_tells_of_a_model_that_no_fitness_has_chosen() -> None:
    def told(**fields: Any) -> list[str]:
        said = Progress(attempt=0, updated_at=datetime(2026, 1, 1, tzinfo=UTC), outputs=["file:///r/best.pt"], **fields)
        return closing_lines(Outcome.complete("Trained 2 epochs."), said)

    assert told() == ["Trained 2 epochs.", "  /r/best.pt"]
    warned = told(fitness_warning="No epoch had a fitness.")
    assert warned == ["Trained 2 epochs.", "warning: No epoch had a fitness.", "  /r/best.pt"]
