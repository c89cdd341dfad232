"""What follows a training while its pod is still there: twins of best.pt, and sample media it is run on.

Each is a process of its own with limits of its own. Nothing that happens to it costs the training: how it ended is a
sentence, and goes into the termination message and into result.json.
"""

import asyncio
import contextlib
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from masktrain_trainer.config import Phase, StepResult, Steps
from masktrain_trainer.files import write_reserved
from masktrain_trainer.run_directory import read_document

from .launch import Launch, Paths
from .processes import ChildProcess, StopRequest, UploaderProcess, race, wait_for_idle
from .progress import AttemptProgress

log = logging.getLogger(__name__)

EXPORT_LIMIT_SECONDS = 1800
_MEDIA_RESERVE_SECONDS = 60
"""Beyond the time that a person gives to sample media: to load the model, and to finish files."""
_PATIENCE_SECONDS = 10.0
"""For a video in work to be finished."""
_NOBODYS = "Nothing of this attempt is stored any more."


@dataclass(frozen=True)
class Step:
    """`result`: the file of its last word; `limit`: seconds."""

    module: str
    options: tuple[str, ...]
    result: Path
    limit: float
    doing: str


@dataclass(frozen=True)
class FollowUp:
    launch: Launch
    paths: Paths
    environment: Mapping[str, str]
    stop: StopRequest
    progress: AttemptProgress

    async def run(self, uploader: UploaderProcess) -> None:
        """As long as nobody asks to stop, and somebody stores."""
        run, export, evaluation = self.paths.run, self.launch.config.export, self.launch.config.evaluation
        if export is not None:
            doing, options = "exporting best.pt to other runtimes", ("--data", str(self.paths.data))
            step = Step("masktrain_trainer.export.job", options, run.export_result, EXPORT_LIMIT_SECONDS, doing)
            self.progress.add_step(exported=await self.take(step, uploader))
        if evaluation is not None:
            doing, limit = "running best.pt on the sample media", evaluation.time_limit_seconds + _MEDIA_RESERVE_SECONDS
            step = Step("masktrain_trainer.detect.job", (), run.media_result, limit, doing)
            self.progress.add_step(evaluated=await self.take(step, uploader))

    async def take(self, step: Step, uploader: UploaderProcess) -> StepResult:
        """What became of it: its own word, or why there is none."""
        run, failure = self.paths.run, self._hindrance(uploader)
        if failure is None:
            self.progress.enter(Phase.DRAINING, step.doing)
            failure = await self._run(step, uploader)
        # What it was cut off in nobody finishes, and it takes the room of what is still to be written.
        for left in (run.unproven_twins, run.media_scratch):
            shutil.rmtree(left, ignore_errors=True)
        if said := read_document(step.result, StepResult):
            return said
        log.warning("%s: %s", step.module, failure.message)
        # For result.json; the termination message needs no disk.
        with contextlib.suppress(OSError):
            write_reserved(step.result, failure.to_json())
        return failure

    def _hindrance(self, uploader: UploaderProcess) -> StepResult | None:
        """Why it is not worth beginning."""
        if self.stop.requested:
            return _not_done("Stopped", "The pod was asked to stop before it began.")
        if uploader.verdict is not None:
            return _not_done("Stopped", _NOBODYS)
        if not self.paths.run.best_model.exists():
            return _not_done("NoModel", "The copy of best.pt that it works on could not be written to the pod's disk.")
        return None

    async def _run(self, step: Step, uploader: UploaderProcess) -> StepResult:
        """Until its end, its limit, a stop or the end of all storing; why it has no word of its own, if so."""
        command = [sys.executable, "-m", step.module, "--run-directory", str(self.paths.run.root), *step.options]
        try:
            child = await ChildProcess.start(step.module, command, self.environment)
        except OSError as error:
            return _not_done("Crashed", f"It could not be started: {error.strerror}.")
        idle_limit = self.launch.idle_limit_seconds
        ended, over = asyncio.create_task(child.wait()), asyncio.create_task(uploader.given_up())
        idle = asyncio.create_task(wait_for_idle(child.pid, idle_limit))
        done, _ = await race(ended, over, idle, asyncio.sleep(step.limit), self.stop.wait())
        if ended in done:
            return _not_done("Crashed", "It ended without a word; the log says why.")
        # Half of a stop's time is for what is stored after it.
        reserve = self.launch.config.stop_grace_seconds / 2
        await child.end(min(_PATIENCE_SECONDS, self.stop.seconds_left(reserve=reserve)))
        if self.stop.requested:
            return _not_done("Stopped", "The pod was asked to stop before it was done.")
        if over in done:
            return _not_done("Stopped", _NOBODYS)
        if idle in done:
            return _not_done("Hung", f"It did nothing for {idle_limit} s.")
        return _not_done("TimeLimit", f"It was not done after {step.limit:.0f} s.")


def _not_done(reason: str, message: str) -> StepResult:
    return StepResult(done=False, reason=reason, message=message)


def what_is_missing(steps: Steps) -> Iterator[str]:
    """A sentence for each step that left less than was asked for."""
    for field, result in (("export", steps.exported), ("evaluation", steps.evaluated)):
        if result is not None and not result.done:
            yield f"{field}: {result.message}"
