"""The process beside training that stores its snapshots, so that a slow or failing store never stops a step.

`python -m masktrain_trainer.checkpoint.uploader --spool FOLDER --artifacts FOLDER --status FILE --run N` reads orders
from standard input: `drain` stores what waits and ends; `complete` also proves best.pt, publishes the artifacts and
cleans up; the input's end means drain.
"""

import argparse
import logging
import os
import queue
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from masktrain_trainer.config import CONFIG_VARIABLE, CheckpointRef, Keep, RunConfig
from masktrain_trainer.stores import Store
from masktrain_trainer.stores.errors import StoreError

from .atomic_file import replace_text
from .complete import NothingToPublish, complete
from .journal import read_manifests
from .keys import MODEL_FILE, STATE_FILE, Fence, JobKeys
from .model_file import slim_model
from .publish import Fenced, publish, refresh_best
from .restore import open_checkpoint_store
from .retention import delete_checkpoint, superseded
from .serialise import save
from .snapshot import read_snapshot
from .spool import Spool
from .status import UploaderStatus

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
NICENESS = 10  # training and the uploader share the pod's cores
DRAIN, COMPLETE = "drain", "complete"


@dataclass
class Uploader:
    """Stores snapshots one at a time; a failed one is tried again until it is stored or a newer one waits."""

    store: Store
    keys: JobKeys
    fence: Fence
    spool: Spool
    status_file: Path
    keep: Keep
    best: CheckpointRef | None = None
    last: CheckpointRef | None = None
    outputs: list[str] = field(default_factory=list)
    uploaded: int = 0

    def store_waiting(self) -> bool:
        """Store one snapshot, if one waits; whether there was one. On StoreError and Fenced it is kept."""
        taken = self.spool.take()
        if taken is None:
            return False
        self.report()
        self._store(taken)
        taken.unlink()
        self.report()
        return True

    def finish(self, artifacts: Path) -> None:
        """Make the job complete. Raises as `complete`."""
        result = complete(self.store, self.keys, self.fence, artifacts, self.keep)
        self.best, self.outputs = result.best, result.outputs
        self.last = None if self.keep is Keep.BEST else self.last

    def report(self, error: str | None = None, *, finished: bool = False) -> None:
        """Write the status file."""
        status = UploaderStatus(
            best=self.best,
            last=self.last,
            store_error=error,
            pending=self.spool.pending(),
            uploaded=self.uploaded,
            outputs=self.outputs,
            finished=finished,
        )
        replace_text(self.status_file, status.to_json())

    def _store(self, snapshot: Path) -> None:
        started = time.monotonic()
        state, meta = read_snapshot(snapshot)
        with tempfile.TemporaryDirectory() as folder:
            files = [save(state, STATE_FILE, Path(folder))]
            if meta.is_best or meta.reason == "final":
                files.append(save(slim_model(state, meta), MODEL_FILE, Path(folder)))
            del state
            manifest, self.last = publish(self.store, self.keys, self.fence, files, meta)
        if meta.is_best:
            self.best = refresh_best(self.store, self.keys, self.fence, manifest)
        self.uploaded += 1
        self._retain()
        log.info("stored checkpoint %s in %.1f s", manifest.id, time.monotonic() - started)

    def _retain(self) -> None:
        """Deleting is never worth an error: what stays now goes after the next checkpoint."""
        try:
            for manifest in superseded(read_manifests(self.store, self.keys), self.fence, self.keep):
                delete_checkpoint(self.store, self.keys, manifest)
        except StoreError as error:
            log.warning("older checkpoints stay for now: %s", error)


def run(uploader: Uploader, orders: "queue.Queue[str]", artifacts: Path) -> int:
    """Work until an order is carried out; the exit code."""
    order: str | None = None
    pause = FIRST_PAUSE_SECONDS
    uploader.report()
    while True:
        order = order or _next_order(orders)
        try:
            if uploader.store_waiting():
                pause = FIRST_PAUSE_SECONDS
                continue
            if order == COMPLETE:
                uploader.finish(artifacts)
            if order is not None:
                uploader.report(finished=True)
                return 0
        except Fenced as error:
            log.warning("%s", error)
            uploader.report(str(error))
            return 1
        except (StoreError, NothingToPublish) as error:
            log.warning("%s; trying again in %.0f s", error, pause)
            uploader.report(str(error))
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def main() -> int:
    """Run the process."""
    logging.basicConfig(level=logging.INFO, format="uploader: %(message)s", stream=sys.stdout)
    os.nice(NICENESS)
    torch.set_num_threads(1)
    options = _options()
    config = RunConfig.model_validate_json(os.environ[CONFIG_VARIABLE])
    uploader = Uploader(
        store=open_checkpoint_store(config),
        keys=JobKeys(config.namespace, config.name, config.uid),
        fence=Fence(config.attempt, options.run),
        spool=Spool(options.spool),
        status_file=options.status,
        keep=config.checkpoint.keep,
    )
    return run(uploader, _listen(), options.artifacts)


def _next_order(orders: "queue.Queue[str]") -> str | None:
    try:
        return orders.get(timeout=POLL_SECONDS)
    except queue.Empty:
        return None


def _listen() -> "queue.Queue[str]":
    orders: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            orders.put(line.strip())
        orders.put(DRAIN)

    threading.Thread(target=read, daemon=True).start()
    return orders


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--status", type=Path, required=True)
    parser.add_argument("--run", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
