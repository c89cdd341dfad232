"""Statuses of other versions are read, whatever they hold: an upgrade or a roll-back stops no job and restarts none."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masktrain_operator.api.pool_status import GPUNodePoolStatus, NodeState
from masktrain_operator.api.status import MaskTrainingJobStatus, read_leniently
from masktrain_operator.core.attempts import parse_final_progress
from masktrain_operator.core.gangs import has_ended
from masktrain_operator.core.status.conditions import is_finished
from masktrain_operator.core.types import Manifest
from masktrain_trainer.config import OutcomeKind, Progress
from tests.unit.operator.manifests import at, checkpoint, outcome_message, progress
from tests.unit.operator.world import World

Path = tuple[str | int, ...]


def running() -> World:
    world = World()
    world.run_operator()
    world.start_pods()
    world.progress = progress(best=checkpoint(10, fitness=0.3), last=checkpoint(15), resumed_from=checkpoint(5))
    world.run_operator()
    return world


STORED = running().status
STORED["cost"] = {"amount": "1.0000", "gpuSeconds": 7, "hourlyRate": "36.0000"}
STORED["restarts"]["lastFailure"] = {"attempt": 0, "kind": "Crashed", "reason": "R", "message": "M", "time": at(0)}
FUTURE = {
    "type": "Brilliant",
    "status": "Unknown",
    "reason": "Stars",
    "message": "From another version.",
    "lastTransitionTime": at(0),
}
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just([]), st.just({}), st.just([{"a": [1]}])
)


def paths(document: Any, path: Path = ()) -> Iterator[Path]:
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield (*path, key)
        yield from paths(value, (*path, key))


def changed(document: Manifest, path: Path, value: Any) -> Manifest:
    copied = copy.deepcopy(document)
    holder: Any = copied
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return copied


@st.composite
def odd_statuses(draw: st.DrawFn) -> Manifest:
    """A stored status in which some places hold what this version has never heard of."""
    status: Manifest = STORED
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(list(paths(status))))
        status = changed(status, path, draw(JUNK))
        status = {**status, draw(st.text(min_size=1)): draw(JUNK)} if draw(st.booleans()) else status
    return status


@settings(deadline=None)
@given(status=odd_statuses())
def test_any_status_can_be_planned_from_and_is_read_again_as_it_was_written(status: Manifest) -> None:
    world = running()
    world.body["status"] = status
    world.reconcile()
    written = world.body["status"]
    read = MaskTrainingJobStatus.read(written)
    assert MaskTrainingJobStatus.read(json.loads(json.dumps(read.to_manifest()))) == read


@settings(deadline=None)
@given(status=odd_statuses())
def test_conditions_of_another_version_are_written_back(status: Manifest) -> None:
    conditions = [c for c in STORED["conditions"] if c["type"] != "Brilliant"]
    world = running()
    world.body["status"] = {**status, "conditions": [FUTURE, *conditions]}
    world.reconcile()
    assert world.condition("Brilliant") == FUTURE


@pytest.mark.parametrize(
    ("path", "value"),
    [(("state",), "Pondering"), (("progress", "phase"), "Compiling"), (("conditions", 0, "reason"), "Pondering")],
    ids=str,
)
def test_words_of_another_version_are_kept_as_long_as_nothing_else_is_known(path: Path, value: str) -> None:
    status = changed(STORED, path, value)
    found: Any = MaskTrainingJobStatus.read(status).to_manifest()
    for key in path:
        found = found[key]
    assert found == value


def test_one_odd_condition_does_not_hide_that_a_job_has_ended() -> None:
    complete = {"type": "Complete", "status": "True", "reason": "R", "lastTransitionTime": at(0)}
    odd = [{"type": "Odd"}, {"type": "Odder", "status": "Perhaps", "reason": 5, "lastTransitionTime": "soon"}, "oddest"]
    assert is_finished(MaskTrainingJobStatus.read({"conditions": [*odd, complete]}))
    many = [{**FUTURE, "type": f"Brilliant{number}"} for number in range(40)]
    assert is_finished(MaskTrainingJobStatus.read({"conditions": [complete, *many]}))


@pytest.mark.parametrize("document", [None, [], "status", 5, {"restarts": "none"}])
def test_a_status_that_is_none_is_an_empty_one(document: Any) -> None:
    assert MaskTrainingJobStatus.read(document) == MaskTrainingJobStatus()


def test_figures_that_are_none_are_left_out() -> None:
    assert MaskTrainingJobStatus.read({"cost": {"amount": "much", "gpuSeconds": 5}}).cost is not None
    assert (
        MaskTrainingJobStatus.read({"cost": {"amount": "much"}}).to_manifest()["cost"]
        == (MaskTrainingJobStatus.read({"cost": {}}).to_manifest()["cost"])
    )


def test_a_node_in_a_state_of_another_version_is_not_forgotten_and_not_idle() -> None:
    node = {"instanceId": "i", "state": "Parking", "addedByOperator": True, "createdTime": at(0)}
    status = GPUNodePoolStatus.read({"nodes": [node], "size": "two"})
    assert [entry.state for entry in status.nodes] == [NodeState.BUSY]
    assert status.size is None


@pytest.mark.parametrize("state", [[], {}, [None], 7, None])
def test_a_node_whose_state_is_no_word_is_left_out(state: Any) -> None:
    nodes = [{"instanceId": "i", "createdTime": at(0), "state": state}]
    assert GPUNodePoolStatus.read({"nodes": nodes}) == GPUNodePoolStatus.read({"nodes": []})


def test_the_progress_of_another_image_is_understood_as_far_as_possible() -> None:
    said = {**json.loads(progress().to_json()), "phase": "Compiling", "warmth": 3, "losses": {"box": 1.0, "mask": 2.0}}
    read = read_leniently(Progress, said)
    assert read is not None
    assert (read.phase, read.step, read.losses) == ("Compiling", 15, None)


def test_an_outcome_of_another_kind_keeps_its_sentence() -> None:
    message = outcome_message(OutcomeKind.CRASHED, "Retired", "The image is retired.").replace("Crashed", "Retired", 1)
    said = parse_final_progress(message)
    assert said is not None
    assert said.outcome is not None
    assert (said.outcome.kind, said.outcome.message) == (OutcomeKind.CRASHED, "The image is retired.")


def test_a_phase_of_another_image_is_shown() -> None:
    world = running()
    world.progress = progress(phase="Compiling")
    world.run_operator()
    assert world.status["progress"]["phase"] == "Compiling"


EXTREMES = ["0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00"]
UNPAYABLE = ["NaN", "sNaN", "Infinity", "-Infinity", "1e400", "9" * 31]


@pytest.mark.parametrize("moment", EXTREMES)
@pytest.mark.parametrize("field", ["startTime", "waitingSince", "completionTime"])
def test_a_time_with_which_nothing_can_be_reckoned_is_left_out(field: str, moment: str) -> None:
    assert MaskTrainingJobStatus.read({**STORED, field: moment}) == MaskTrainingJobStatus.read(
        {key: value for key, value in STORED.items() if key != field}
    )


@pytest.mark.parametrize("amount", UNPAYABLE)
@pytest.mark.parametrize("field", ["amount", "idleAmount", "hourlyRate", "settledAmount", "settledIdleAmount"])
def test_a_cost_with_which_nothing_can_be_reckoned_is_left_out(field: str, amount: str) -> None:
    world = World(limits={"maxCost": "3.00"})
    world.body["status"] = {**copy.deepcopy(STORED), "cost": {"gpuSeconds": 7, field: amount}}
    assert world.plan().status is not None
    assert MaskTrainingJobStatus.read(world.status).cost == MaskTrainingJobStatus.read({"cost": {"gpuSeconds": 7}}).cost


def test_the_loss_of_a_training_that_went_astray_is_kept_as_it_was_said() -> None:
    said = MaskTrainingJobStatus.read(STORED).progress
    assert said is not None
    losses = {"box": "nan", "objectness": "inf", "classification": "0.01"}
    read = MaskTrainingJobStatus.read({**STORED, "progress": {**STORED["progress"], "losses": losses}}).progress
    assert read is not None
    assert read.losses is not None
    assert read.losses.box == "nan"


@pytest.mark.parametrize("oddity", [{"type": None}, {"status": "Perhaps"}, {"lastTransitionTime": EXTREMES[0]}])
def test_a_job_whose_last_condition_cannot_be_read_is_finished_by_its_completion_time(oddity: Manifest) -> None:
    world = World()
    world.run_operator()
    world.start_pods()
    world.run_operator()
    world.end_all(0)
    world.run_operator()
    next(condition for condition in world.status["conditions"] if condition["type"] == "Complete").update(oddity)
    world.jobs.clear()
    decided = world.plan()
    assert (decided.create, decided.status) == ((), None)
    assert has_ended(world.body)
