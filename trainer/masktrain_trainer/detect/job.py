"""The step of a pod that runs best.pt on sample media, in a process of its own: what fails here costs a video.

`python -m masktrain_trainer.detect.job --run-directory FOLDER`
"""

import argparse
import logging
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from masktrain_trainer.config import (
    CONFIG_VARIABLE,
    EVALUATION_CREDENTIALS,
    EvaluationSpec,
    RunConfig,
    StepResult,
    StoreSpec,
)
from masktrain_trainer.errors import InvalidConfiguration, MaskTrainError, ObjectMissing
from masktrain_trainer.files import write_text_atomically
from masktrain_trainer.run_directory import RunDirectory
from masktrain_trainer.stores import open_object

from .command import DetectionRequest, Saving, run_detection
from .outputs.naming import Destination
from .progress import Progress

log = logging.getLogger(__name__)


class TimeIsUp(Exception):
    """The media have taken as long as they may."""


@dataclass(frozen=True)
class _Deadline:
    at: float

    def check(self, _: object = None) -> None:
        """Called after each frame, so that files are finished in the usual way."""
        if time.monotonic() >= self.at:
            raise TimeIsUp


def evaluate_media(spec: EvaluationSpec, run: RunDirectory, credentials: Path) -> StepResult:
    """Detect on every source until the time is up; results lie in a folder of their own each. A source that cannot be
    read costs itself only.
    """
    deadline = _Deadline(time.monotonic() + spec.time_limit_seconds)
    failed: list[MaskTrainError] = []
    for number, uri in enumerate(spec.sources, 1):
        try:
            deadline.check()
            with tempfile.TemporaryDirectory(prefix="media-", dir=run.root) as scratch:
                _detect(run, number, uri, _local(uri, Path(scratch), spec.store, credentials), deadline)
        except TimeIsUp:
            late = f"After {spec.time_limit_seconds} s (evaluation.timeLimitSeconds) {number - 1} sources of"
            sentence = f"{late} {len(spec.sources)} were done; what was begun plays up to there."
            return StepResult(done=False, reason="TimeLimit", message=sentence)
        except MaskTrainError as error:
            log.warning("%s", error)
            failed.append(error)
    if failed:
        more = f" {len(failed) - 1} more could not be used; the log has them." if len(failed) > 1 else ""
        return StepResult(done=False, reason="SourceUnusable", message=f"{failed[0]}{more}")
    return StepResult(
        done=True, reason="Evaluated", message=f"{len(spec.sources)} sources; the results are in evaluation/."
    )


def _local(uri: str, scratch: Path, store: StoreSpec | None, credentials: Path) -> str:
    """What `detect` is given: a link as it is, else a file on this disk."""
    if uri.startswith("https://"):
        return uri
    path = scratch / PurePosixPath(uri).name
    opened, key = open_object(uri, store, credentials)
    try:
        opened.download(key, path)
    except ObjectMissing:
        raise InvalidConfiguration(f"{uri} does not exist; correct evaluation.sources.") from None
    return str(path)


def _detect(run: RunDirectory, number: int, uri: str, source: str, deadline: _Deadline) -> None:
    folder = run.evaluated_media / f"{number}-{PurePosixPath(uri).stem}"
    request = DetectionRequest(str(run.best_model), source, Destination(folder), saving=Saving(table=True))
    run_detection(request, Progress(log.info, deadline.check))


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="evaluation: %(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-directory", type=Path, required=True)
    options = parser.parse_args()
    config, run = RunConfig.model_validate_json(os.environ[CONFIG_VARIABLE]), RunDirectory(options.run_directory)
    assert config.evaluation is not None, "started for a job without sample media"
    result = evaluate_media(config.evaluation, run, Path(EVALUATION_CREDENTIALS))
    write_text_atomically(run.media_result, result.to_json())
    log.info("%s", result.message)


if __name__ == "__main__":
    main()
