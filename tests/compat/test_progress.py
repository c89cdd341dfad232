"""What pods of an earlier version answer and leave, as the operator reads it."""

import json
from typing import Any

import pytest

from masktrain_operator.api.status import read_leniently
from masktrain_operator.core.attempts import parse_final_progress
from masktrain_trainer.config import OutcomeKind, Phase, Progress
from tests.compat.conftest import recorded

SAID: dict[str, str] = recorded("progress")
ENDS = {name: text for name, text in SAID.items() if name.startswith("termination-")}
ANSWERS = {name: text for name, text in SAID.items() if name not in ENDS}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_to_progress(name: str) -> None:
    said = Progress.model_validate_json(ANSWERS[name])
    assert said.phase is Phase(name.rpartition("-")[2])
    assert said.epochs in (4, 400)
    assert (said.dataset is None) == (said.phase is Phase.PREPARING)
    if said.phase in (Phase.TRAINING, Phase.VALIDATING, Phase.DRAINING):
        assert said.step > 0
        assert said.losses is not None
    if name.startswith(("interrupted-1", "interrupted-2")) and said.phase not in (Phase.PREPARING, Phase.RESTORING):
        assert said.resumed_from is not None


def test_a_summary_of_a_data_set_without_counts_by_split_is_read_and_one_with_more_of_them_too() -> None:
    """What this version added, a later one may add to; an earlier operator reads leniently, as this one does."""
    earlier: Any = next(said for said in map(json.loads, ANSWERS.values()) if said.get("dataset"))
    read: Any = Progress.model_validate(earlier)
    assert read.dataset.splits == []
    later = {**earlier, "dataset": {**earlier["dataset"], "splits": [{"split": "train", "labelled": 3, "blurred": 2}]}}
    lenient: Any = read_leniently(Progress, later)
    (counts,) = lenient.dataset.splits
    assert (counts.split, counts.labelled, counts.dropped_rows) == ("train", 3, 0)


KINDS: dict[str, tuple[OutcomeKind, str]] = {
    "complete": (OutcomeKind.COMPLETE, "Complete"),
    "stopped": (OutcomeKind.STOPPED, "Stopped"),
    "user-error": (OutcomeKind.USER_ERROR, "InvalidDataset"),
    "hung": (OutcomeKind.HUNG, "Hung"),
    "crashed": (OutcomeKind.CRASHED, "ProcessLost"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_termination_message(name: str) -> None:
    said: Any = parse_final_progress(ENDS[f"termination-{name}"])
    assert (said.phase, said.outcome.kind, said.outcome.reason) == (Phase.FINISHED, *KINDS[name])


def test_every_ending_is_read() -> None:
    assert set(ENDS) == {f"termination-{name}" for name in KINDS}
