"""What follows a training costs it nothing and ends with what it works for. Real child processes; no sleeps."""

import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from masktrain_trainer.config import CONFIG_VARIABLE, StepResult, Steps
from masktrain_trainer.pod.follow_up import FollowUp, Step, what_is_missing
from masktrain_trainer.pod.launch import Launch, Paths
from masktrain_trainer.pod.processes import StopRequest, UploaderProcess
from masktrain_trainer.pod.progress import AttemptProgress
from masktrain_trainer.run_directory import RunDirectory, read_steps
from tests.conftest import fill
from tests.unit.trainer.pod.test_launch import CONFIG

WAITS = "import sys, time; sys.stdin.readline(); time.sleep(600)"
FENCED_WHEN_ASKED = """
import os, sys, time
while not os.path.exists(sys.argv[1]):
    time.sleep(0.05)
sys.exit(77)
"""
BEGUN = """
import pathlib, sys, time
root = pathlib.Path(sys.argv[2])
(root / "twins").mkdir()
(root / "begun").touch()
time.sleep(600)
"""
SAYS = """
import pathlib, sys
(pathlib.Path(sys.argv[2]) / "export.json").write_text('{"done": true, "reason": "Exported", "message": "Done."}')
"""


@dataclass
class Pod:
    """The supervisor's part after a training, with an uploader that waits for its order."""

    folder: Path
    follow_up: FollowUp
    uploader: UploaderProcess

    @property
    def run(self) -> RunDirectory:
        return self.follow_up.paths.run

    async def take(self, program: str, limit: float = 60) -> StepResult:
        (self.folder / "program.py").write_text(program)
        return await self.follow_up.take(Step("program", (), self.run.export_result, limit, "exporting"), self.uploader)


@pytest.fixture
async def pod(tmp_path: Path) -> AsyncIterator[Pod]:
    uploader = UploaderProcess([sys.executable, "-c", WAITS], os.environ)
    yield make_pod(tmp_path, tmp_path, uploader)
    await uploader.abandon()


def make_pod(folder: Path, workspace: Path, uploader: UploaderProcess) -> Pod:
    variables = {CONFIG_VARIABLE: json.dumps(CONFIG)}
    launch, paths = Launch.from_environment(variables), Paths(workspace=workspace)
    paths.run.create()
    paths.run.best_model.touch()
    progress = AttemptProgress(launch.config, paths.run)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return Pod(folder, FollowUp(launch, paths, environment, StopRequest(30), progress), uploader)


async def test_a_step_that_says_nothing_or_is_late_costs_itself_only(pod: Pod) -> None:
    assert (await pod.take("raise SystemExit(1)")).reason == "Crashed"
    pod.run.export_result.unlink()
    late = await pod.take(BEGUN, 0.0)
    assert (late.done, late.reason, late.message) == (False, "TimeLimit", "It was not done after 0 s.")
    assert read_steps(pod.run).exported == late


async def test_the_steps_own_word_counts(pod: Pod) -> None:
    assert await pod.take(SAYS) == StepResult(done=True, reason="Exported", message="Done.")


async def test_no_step_begins_after_a_stop(pod: Pod) -> None:
    pod.follow_up.stop.request()
    stopped = await pod.take(SAYS)
    assert (stopped.reason, stopped.message) == ("Stopped", "The pod was asked to stop before it began.")


async def test_a_step_ends_with_the_writers_fence_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    signal_file = tmp_path / "run" / "begun"
    uploader = UploaderProcess([sys.executable, "-c", FENCED_WHEN_ASKED, str(signal_file)], os.environ)
    pod = make_pod(tmp_path, tmp_path, uploader)
    assert pod.run.root == signal_file.parent
    ended = await pod.take(BEGUN)
    assert (ended.reason, ended.message) == ("Stopped", "Nothing of this attempt is stored any more.")
    assert not pod.run.unproven_twins.exists()
    assert (await pod.take(SAYS)).reason == "Stopped", "nor does another one begin"
    await uploader.abandon()


async def test_a_step_that_does_nothing_is_ended(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Launch, "idle_limit_seconds", 0)
    monkeypatch.setattr("masktrain_trainer.pod.processes._STAGE_LOOK_SECONDS", 0.0)
    assert (await pod.take(BEGUN)).reason == "Hung"


async def test_without_a_copy_of_the_model_the_step_says_so(pod: Pod) -> None:
    pod.run.best_model.unlink()
    assert (await pod.take(SAYS)).reason == "NoModel"


async def test_a_full_disk_hides_no_word(tmp_path: Path, small_disk: Path) -> None:
    uploader = UploaderProcess([sys.executable, "-c", WAITS], os.environ)
    pod = make_pod(tmp_path, small_disk, uploader)
    fill(small_disk)
    pod.run.best_model.unlink()
    result = await pod.take(SAYS)
    pod.follow_up.progress.add_step(exported=result)
    said = pod.follow_up.progress.progress().exported
    assert said is not None
    assert said.reason == "NoModel"
    await uploader.abandon()


def test_a_training_on_one_machine_says_what_is_missing() -> None:
    done = StepResult(done=True, reason="Exported", message="best.onnx lies beside best.pt.")
    late = StepResult(done=False, reason="TimeLimit", message="It was late.")
    assert list(what_is_missing(Steps(exported=done, evaluated=late))) == ["evaluation: It was late."]
