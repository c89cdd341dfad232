"""The process beside training that stores its snapshots, so that a slow or failing store never stops a step.

`python -m masktrain_trainer.checkpoint.uploader --spool FOLDER --run-directory FOLDER --run N` reads orders from
standard input: `drain` stores what waits and ends; `complete` also proves best.pt, publishes the artifacts and
cleans up; the input's end means drain.
"""

import argparse
import contextlib
import logging
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from masktrain_trainer.config import CONFIG_VARIABLE, CheckpointRef, Keep, RunConfig, Steps
from masktrain_trainer.errors import Fenced, NothingToPublish, StoreDenied, StoreError
from masktrain_trainer.files import write_news
from masktrain_trainer.run_directory import RunDirectory, read_steps
from masktrain_trainer.weights.load import load_model_file

from .catalog import Result, read_catalog
from .keys import DATA_PICTURES, MODEL_FILE, STATE_FILE, Fence, JobKeys
from .manifest import LocalFile, Manifest
from .selection import best, surpasses
from .snapshot import UnusableSnapshot, read_snapshot
from .spool import SnapshotMeta, Spool, UploaderExit, UploaderStatus
from .state_files import save, slim_model
from .writer import CheckpointRefs, CheckpointWriter, open_checkpoint_store

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
LONGEST_PAUSE_AT_THE_END_SECONDS = 4.0  # the pod holds its GPU until the order is carried out
NICENESS = 10  # training and the uploader share the pod's cores
FENCE_SECONDS = 30.0
"""Between two looks at the fence while nothing is to be stored: what follows a training takes long."""
DRAIN, COMPLETE = "drain", "complete"


@dataclass
class Uploader:
    """Stores snapshots one at a time; a failed one is tried again until it is stored or a newer one replaces it."""

    writer: CheckpointWriter
    spool: Spool
    status_file: Path
    keep: Keep
    refs: CheckpointRefs = field(default_factory=CheckpointRefs)
    outputs: list[str] = field(default_factory=list)
    uploaded: int = 0
    error: str | None = None
    steps: Callable[[], Steps] = Steps
    _looked: float = field(default_factory=time.monotonic)
    _known: list[Manifest] = field(default_factory=list)
    _pictures: set[str] = field(default_factory=set)
    _discarded: bool = False
    _reconciled: bool = False

    @property
    def best(self) -> CheckpointRef | None:
        return self.refs.best

    @property
    def last(self) -> CheckpointRef | None:
        return self.refs.last

    def recover(self) -> None:
        """Take over where an earlier uploader ended, however it ended. Raises Fenced or StoreError."""
        if not self._discarded:
            self.writer.discard_leavings()
            self._discarded = True
        if not self._reconciled:
            catalog = read_catalog(self.writer.store, self.writer.keys, self._known)
            self._known = catalog.manifests
            self.refs = self.writer.reconcile(catalog, self.keep)
            self._reconciled = True

    def store_waiting(self) -> bool:
        """Store one snapshot, if one waits; whether there was one.

        Raises Fenced, StoreError, or OSError for this machine's disk; the snapshot is kept then. One that is
        unreadable is dropped.
        """
        problem = self._try_to_recover()
        taken = self.spool.take()
        if taken is None:
            if problem is not None:
                raise problem
            return False
        self.report()
        try:
            self._store(taken)
        # It would be as unreadable at the next try, and all behind it would wait for ever.
        except UnusableSnapshot as error:
            log.error("%s", error)  # noqa: TRY400 - one sentence, no traceback
            self.error = str(error)
        # Not before its manifest stands: an uploader that is started again after a kill has to find it.
        self.spool.release(taken)
        self.report()
        self.recover()
        self.report()
        return True

    def store_pictures(self, artifacts: Path) -> None:
        """Store those pictures of the data that are drawn by now. Never worth an error: at the end they go again."""
        drawn = [path for pattern in DATA_PICTURES for path in sorted(artifacts.glob(pattern))]
        for path in drawn:
            if path.name not in self._pictures:
                # Noted before the try, or a store that refuses one would be asked again at every look into the spool.
                self._pictures.add(path.name)
                try:
                    self.writer.publish_picture(path)
                except StoreError as error:
                    log.warning("%s is not stored yet: %s", path.name, error)

    def look_at_fence(self) -> None:
        """Now and then. Raises Fenced; a store that is away is noticed at the next upload."""
        if time.monotonic() - self._looked >= FENCE_SECONDS:
            self._looked = time.monotonic()
            with contextlib.suppress(StoreError):
                self.writer.check_fence()

    def finish(self, artifacts: Path) -> None:
        """Make the job complete. Raises as `CheckpointWriter.complete`."""
        result = self.writer.complete(artifacts, self.keep, lambda path: load_model_file(path).metrics, self.steps)
        self._adopt(result)

    def adopt_result(self) -> bool:
        """Whether the job is complete already, with nothing left to do. Raises StoreError."""
        result = self.writer.finished_before()
        if result is not None:
            self._adopt(result)
        return result is not None

    def _adopt(self, result: Result) -> None:
        # With Best the last state was deleted just now.
        self.refs = CheckpointRefs(best=result.best, last=None if self.keep is Keep.BEST else self.last)
        self.outputs = result.outputs

    def report(self, *, finished: bool = False) -> None:
        """Write the status file. Never raises: how this process ends must not depend on room for a report."""
        status = UploaderStatus(
            best=self.best,
            last=self.last,
            store_error=self.error,
            pending=self.spool.pending(),
            uploaded=self.uploaded,
            outputs=self.outputs,
            finished=finished,
        )
        write_news(self.status_file, status.to_json())

    def _store(self, snapshot: Path) -> None:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            files, meta = self._serialise(snapshot, Path(folder))
            manifest = self.writer.publish(files, meta)
        self._known.append(manifest)
        # What follows from the new manifest, best.pt and deletions, a successor does if this process dies here.
        self._reconciled = False
        self.uploaded += 1
        self.error = None
        log.info("stored checkpoint %s in %.1f s", manifest.id, time.monotonic() - started)

    def _serialise(self, snapshot: Path, folder: Path) -> tuple[list[LocalFile], SnapshotMeta]:
        """The files of a checkpoint; when this returns, nothing reads the snapshot's memory any more."""
        state, meta = read_snapshot(snapshot)
        files = [save(state, STATE_FILE, folder)]
        if self._deserves_model(meta):
            files.append(save(slim_model(state, meta), MODEL_FILE, folder))
        return files, meta

    def _deserves_model(self, meta: SnapshotMeta) -> bool:
        """Also what beats the best that is stored, even if training has seen a better one that was lost."""
        top = best(self._known)
        beats = meta.fitness is not None and (top is None or surpasses(meta.fitness, top.fitness or 0.0))
        # A final one too: where no epoch was validated, its model is all that a job can leave.
        return beats or meta.is_best or meta.periodic or meta.reason == "final"

    def _try_to_recover(self) -> StoreError | None:
        """What is wrong with the objects of earlier uploads never keeps a new one from being stored."""
        try:
            self.recover()
        except StoreError as error:
            return error
        return None


def run(uploader: Uploader, orders: "queue.Queue[str]", artifacts: Path) -> int:
    """Work until an order is carried out; the exit code."""
    order: str | None = None
    failures = 0
    uploader.report()
    while True:
        try:
            # Whatever the order: it covers what training had handed over by then.
            stored = uploader.store_waiting()
            if not stored and order == COMPLETE:
                uploader.finish(artifacts)
            elif not stored:
                uploader.look_at_fence()
                uploader.store_pictures(artifacts)
            if failures:
                failures, uploader.error = 0, None
                uploader.report()
            if stored:
                continue
            if order is not None:
                uploader.report(finished=True)
                return UploaderExit.DONE
            pause = POLL_SECONDS
        except Fenced as error:
            # One that is started again after its predecessor deleted the last claim hears of its order only now.
            return _end_fenced(uploader, error, order or _next_order(orders, POLL_SECONDS))
        except NothingToPublish as error:
            return _give_up(uploader, error, UploaderExit.NOTHING_TO_PUBLISH)
        except (StoreError, OSError) as error:
            failures += 1
            pause = _pause(failures, order)
            log.warning("%s Trying again in %.0f s.", error, pause)
            uploader.error = str(error)
            uploader.report()
        heard = _next_order(orders, pause)
        # The first one stands: after `complete` the end of the input must not turn it into a drain.
        order = order or heard


def _end_fenced(uploader: Uploader, error: Fenced, order: str | None) -> int:
    """Its claim is gone, too, where it has completed the job itself and the answer to the last deletion was lost."""
    try:
        if order == COMPLETE and uploader.adopt_result():
            uploader.report(finished=True)
            return UploaderExit.DONE
    except (StoreError, OSError) as failure:
        log.warning("%s", failure)
        return 1  # as after a crash it is started again, and asks again
    return _give_up(uploader, error, UploaderExit.FENCED)


def _give_up(uploader: Uploader, error: Exception, code: UploaderExit) -> int:
    log.error("%s", error)
    uploader.error = str(error)
    uploader.report()
    return code


def _pause(failures: int, order: str | None) -> float:
    longest = LONGEST_PAUSE_SECONDS if order is None else LONGEST_PAUSE_AT_THE_END_SECONDS
    # The exponent is bounded, since a day of failures would overflow the power.
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 10), longest)


def main() -> int:
    """Run the process."""
    logging.basicConfig(level=logging.INFO, format="uploader: %(message)s", stream=sys.stdout)
    os.nice(NICENESS)
    # torch's pool of threads would take cores from the ranks.
    torch.set_num_threads(1)
    options = _options()
    run_directory: RunDirectory = options.run_directory
    config = RunConfig.model_validate_json(os.environ[CONFIG_VARIABLE])
    try:
        store = open_checkpoint_store(config)
    except StoreDenied as error:
        write_news(run_directory.uploader_status, UploaderStatus(store_error=str(error)).to_json())
        log.error("%s", error)  # noqa: TRY400 - one sentence, no traceback
        # No verdict of its own: a failing store never ends a training, so the supervisor starts the uploader again.
        return 1
    uploader = Uploader(
        writer=CheckpointWriter(
            store, JobKeys(config.namespace, config.name, config.uid), Fence(config.attempt, options.run)
        ),
        spool=Spool(options.spool),
        status_file=run_directory.uploader_status,
        keep=config.checkpoint.keep,
        steps=lambda: read_steps(run_directory),
    )
    return run(uploader, _listen(), run_directory.artifacts)


def _next_order(orders: "queue.Queue[str]", patience: float) -> str | None:
    try:
        return orders.get(timeout=patience)
    except queue.Empty:
        return None


def _listen() -> "queue.Queue[str]":
    orders: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            orders.put(line.strip())
        orders.put(DRAIN)

    # A daemon, because nothing interrupts a thread that reads, and it must not keep the process from ending.
    threading.Thread(target=read, daemon=True).start()
    return orders


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--run-directory", type=lambda folder: RunDirectory(Path(folder)), required=True)
    parser.add_argument("--run", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
