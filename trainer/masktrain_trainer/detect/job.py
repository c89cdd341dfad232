"""The step of a pod that runs best.pt on sample media, in a process of its own: what fails here costs a video.

`python -m masktrain_trainer.detect.job --run-directory FOLDER`
"""

import argparse
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path, PurePosixPath
from types import FrameType

from masktrain_trainer.config import (
    CONFIG_VARIABLE,
    EVALUATION_CREDENTIALS,
    EvaluationSpec,
    RunConfig,
    StepResult,
    StoreSpec,
)
from masktrain_trainer.errors import (
    DiskFull,
    InvalidConfiguration,
    MaskTrainError,
    ObjectMissing,
    StoreUnavailable,
    UnwritableResults,
)
from masktrain_trainer.files import write_reserved
from masktrain_trainer.run_directory import RunDirectory
from masktrain_trainer.stores import open_object

from .command import DetectionRequest, Saving, run_detection
from .outputs.naming import Destination
from .progress import Progress

log = logging.getLogger(__name__)

_FRAME_SECONDS = 2.0
"""So long a frame may take before what waits for it is interrupted."""
_LEAST_SHARE_SECONDS = 30.0
"""Of the time, for each of many sources to show something in: the model has to be loaded, too."""
_LONGEST_NAME = 80
"""Characters; results add endings to it."""


class CutOff(BaseException):
    """No Exception, which some library on the way would take for a failure of its own."""


class TimeIsUp(CutOff):
    """The media have taken as long as they may."""


class Stopped(CutOff):
    """The pod was asked to stop."""


class SourceIsLate(CutOff):
    """A source has shown nothing in its share of the time."""


class Watch:
    """Ends the work when its time is up, a source is late, or SIGTERM came.

    After a frame, so that files are finished in the usual way; where no frame comes, wherever it waits.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._late: float | None = None
        self._stopped = False
        self._over = False
        self._listens = False

    def listen(self) -> None:
        """In the process's main thread, until its end."""
        signal.signal(signal.SIGTERM, self._ask_to_stop)
        signal.signal(signal.SIGALRM, lambda *_: self.check())
        self._listens = True

    def begin_source(self, others: int) -> float:
        """Seconds in which it has to show something: what is left, shared with so many that wait behind it."""
        self._late = None
        self.check()
        if self._over:
            raise Stopped if self._stopped else TimeIsUp
        left = max(0.0, self._end - time.monotonic())
        share = min(left, max(left / (others + 1), _LEAST_SHARE_SECONDS))
        self._late = time.monotonic() + share
        self._interrupt_in(share)
        return share

    def frame(self, _: object = None) -> None:
        """One is done; what waits for the next one may wait until the end of all."""
        if self._late is not None:
            self._late = None
            self._interrupt_in(max(0.0, self._end - time.monotonic()) + _FRAME_SECONDS)
        self.check()

    def end(self) -> None:
        """Nothing is interrupted from now on."""
        self._over = True
        self._interrupt_in(0)

    def check(self) -> None:
        """Raises CutOff, once: what follows it is the finishing of files."""
        now = time.monotonic()
        if self._over:
            return
        if self._stopped or now >= self._end:
            self.end()
            raise Stopped if self._stopped else TimeIsUp
        if self._late is not None and now >= self._late:
            self._late = None
            raise SourceIsLate

    def _ask_to_stop(self, _: int, __: FrameType | None) -> None:
        self._stopped = True
        if not self._over:
            self._interrupt_in(_FRAME_SECONDS)

    def _interrupt_in(self, seconds: float) -> None:
        """Not at all for 0."""
        if self._listens:
            signal.setitimer(signal.ITIMER_REAL, seconds)


def evaluate_media(
    spec: EvaluationSpec, run: RunDirectory, credentials: Path, watch: Watch | None = None
) -> StepResult:
    """Detect on every source until the time is up; results lie in a folder of their own each. A source that cannot be
    read costs itself only.
    """
    watch = watch or Watch(spec.time_limit_seconds)
    failed: list[MaskTrainError] = []
    done = 0
    try:
        for number in range(1, len(spec.sources) + 1):
            try:
                _evaluate(spec, number, run, credentials, watch)
            except MaskTrainError as error:
                log.warning("%s", error)
                failed.append(error)
            done = number
    except CutOff as cut:
        return _cut_off(cut, spec, done)
    finally:
        watch.end()
        shutil.rmtree(run.media_scratch, ignore_errors=True)
    return _result(spec, failed)


def _result(spec: EvaluationSpec, failed: list[MaskTrainError]) -> StepResult:
    if failed:
        more = f" {len(failed) - 1} more could not be used; the log has them." if len(failed) > 1 else ""
        reason = failed[0].reason if isinstance(failed[0], UnwritableResults) else "SourceUnusable"
        return StepResult(done=False, reason=reason, message=f"{failed[0]}{more}")
    return StepResult(
        done=True, reason="Evaluated", message=f"{len(spec.sources)} sources; the results are in evaluation/."
    )


def _cut_off(cut: CutOff, spec: EvaluationSpec, done: int) -> StepResult:
    reason = "Stopped" if isinstance(cut, Stopped) else "TimeLimit"
    when = f"After {spec.time_limit_seconds} s (evaluation.timeLimitSeconds)"
    if reason == "Stopped":
        when = "When the pod was asked to stop,"
    sentence = f"{when} {done} sources of {len(spec.sources)} were done; what was begun plays up to there."
    return StepResult(done=False, reason=reason, message=sentence)


def _evaluate(spec: EvaluationSpec, number: int, run: RunDirectory, credentials: Path, watch: Watch) -> None:
    """One source. Raises MaskTrainError, and CutOff."""
    uri = spec.sources[number - 1]
    share = watch.begin_source(len(spec.sources) - number)
    scratch = run.media_scratch / f"source-{number}"
    try:
        scratch.mkdir(parents=True)
        is_link = uri.startswith("https://")
        source = uri if is_link else _downloaded(uri, scratch, spec.store, credentials, share)
        _detect(run, number, uri, source, watch)
    except SourceIsLate:
        raise StoreUnavailable(f"{uri} has sent no picture in its share of the time, {share:.0f} s.") from None
    except DiskFull as error:
        raise UnwritableResults(str(error)) from None
    except OSError as error:
        raise UnwritableResults(
            f"What belongs to {uri} cannot be read or written: {error.strerror or error}."
        ) from None
    finally:
        # A download that was given up may go on writing.
        shutil.rmtree(scratch, ignore_errors=True)


def _downloaded(uri: str, scratch: Path, store: StoreSpec | None, credentials: Path, seconds: float) -> str:
    """The source as a file on this disk. In a thread: what an SDK waits for in its own threads nothing interrupts."""
    path = scratch / _name(uri, PurePosixPath(uri).suffix)
    failures: list[Exception] = []
    ended = threading.Event()

    def download() -> None:
        try:
            opened, key = open_object(uri, store, credentials)
            opened.download(key, path)
        except Exception as error:  # noqa: BLE001 - raised again by who waits for it
            failures.append(error)
        finally:
            ended.set()

    threading.Thread(target=download, name="download", daemon=True).start()
    if not ended.wait(seconds):
        raise SourceIsLate
    if failures and isinstance(failures[0], ObjectMissing):
        raise InvalidConfiguration(f"{uri} does not exist; correct evaluation.sources.")
    if failures:
        raise failures[0]
    return str(path)


def _name(uri: str, suffix: str = "") -> str:
    """As a file or folder may be called, and is published: a hidden one is not."""
    stem = re.sub(r"[\x00-\x1f\x7f/\\]", "_", PurePosixPath(uri).stem).lstrip(".")[:_LONGEST_NAME]
    return (stem or "medium") + suffix[:_LONGEST_NAME]


def _detect(run: RunDirectory, number: int, uri: str, source: str, watch: Watch) -> None:
    """Results lie apart while they are written: what is killed in the middle publishes nothing that does not play."""
    name = f"{number}-{_name(uri)}"
    unfinished = run.media_scratch / name
    request = DetectionRequest(str(run.best_model), source, Destination(unfinished), saving=Saving(table=True))
    progress = Progress(log.info, watch.frame)
    try:
        run_detection(request, progress)
    finally:
        # By now its files are closed, whatever ended it.
        if progress.tally.frames:
            run.evaluated_media.mkdir(exist_ok=True)
            unfinished.replace(run.evaluated_media / name)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="evaluation: %(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-directory", type=Path, required=True)
    options = parser.parse_args()
    config, run = RunConfig.model_validate_json(os.environ[CONFIG_VARIABLE]), RunDirectory(options.run_directory)
    assert config.evaluation is not None, "started for a job without sample media"
    watch = Watch(config.evaluation.time_limit_seconds)
    watch.listen()
    # Where links are downloaded to, too: the pod's /tmp has less room than its workspace.
    tempfile.tempdir = str(run.media_scratch)
    result = evaluate_media(config.evaluation, run, Path(EVALUATION_CREDENTIALS), watch)
    write_reserved(run.media_result, result.to_json())
    log.info("%s", result.message)
    logging.shutdown()
    # A download that was given up has threads that an ordinary end would wait for.
    os._exit(0)


if __name__ == "__main__":
    main()
