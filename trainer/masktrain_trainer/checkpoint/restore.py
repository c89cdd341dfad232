"""Before training, on the node of rank 0: claim a run, and bring the newest checkpoint that verifies.

`python -m masktrain_trainer.checkpoint.restore --output FOLDER --result FILE`, configured by MASKTRAIN_CONFIG.
"""

import argparse
import hashlib
import json
import logging
import os
import sys
import uuid
from pathlib import Path
from typing import Any

from pydantic import Field

from masktrain_trainer.config import (
    CHECKPOINT_CREDENTIALS,
    CONFIG_VARIABLE,
    POD_UID_VARIABLE,
    CheckpointRef,
    Contract,
    ExitCode,
    FailureReason,
    RunConfig,
)
from masktrain_trainer.stores import Store, open_store
from masktrain_trainer.stores.errors import ObjectMissing, StoreDenied, StoreError

from .atomic_file import replace_text
from .claim import claim_run
from .complete import completed
from .journal import read_manifests
from .keys import MODEL_FILE, STATE_FILE, Fence, JobKeys
from .manifest import Manifest, best, newest_first
from .publish import reference
from .retention import clean_up, kept_when_complete

log = logging.getLogger(__name__)


class Restored(Contract):
    """What the supervisor reads. `skipped` says in a sentence each why newer checkpoints were passed over."""

    run: int
    restored: CheckpointRef | None = None
    file: str | None = None
    skipped: list[str] = Field(default=[])
    completed: bool = False
    outputs: list[str] = Field(default=[])
    best: CheckpointRef | None = None


def main() -> int:
    """Run the stage; the exit code says whether another try makes sense."""
    logging.basicConfig(level=logging.INFO, format="restore: %(message)s", stream=sys.stdout)
    options = _options()
    config = RunConfig.model_validate_json(os.environ[CONFIG_VARIABLE])
    try:
        store = open_checkpoint_store(config)
        found = restore(store, config, os.environ.get(POD_UID_VARIABLE) or uuid.uuid4().hex, options.output)
    except StoreDenied as error:
        failure = {"reason": FailureReason.STORE_DENIED, "message": str(error)}
        return _end(options.result, {"failure": failure}, ExitCode.USER_ERROR)
    except StoreError as error:
        return _end(options.result, {"failure": {"reason": "StoreUnavailable", "message": str(error)}}, 1)
    return _end(options.result, found.model_dump(mode="json", by_alias=True), ExitCode.DONE)


def open_checkpoint_store(config: RunConfig) -> Store:
    """The store of `checkpoint.uri`. Raises StoreDenied."""
    return open_store(config.checkpoint.uri, config.checkpoint.store, Path(CHECKPOINT_CREDENTIALS))


def restore(store: Store, config: RunConfig, pod_uid: str, folder: Path) -> Restored:
    """Claim a run, then find out where training stands. Raises StoreError."""
    keys = JobKeys(config.namespace, config.name, config.uid)
    fence = claim_run(store, keys, config.attempt, pod_uid)
    log.info("this container writes as run %s", fence)
    result = completed(store, keys)
    if result is not None:
        clean_up(store, keys, kept_when_complete(read_manifests(store, keys), config.checkpoint.keep))
        return Restored(run=fence.run, completed=True, outputs=result.outputs, best=result.best)
    return _newest_good(store, keys, fence, folder)


def _newest_good(store: Store, keys: JobKeys, fence: Fence, folder: Path) -> Restored:
    folder.mkdir(parents=True, exist_ok=True)
    manifests = read_manifests(store, keys)
    top = best(manifest for manifest in manifests if manifest.file(MODEL_FILE))
    best_reference = reference(store, top, MODEL_FILE, keys.best) if top else None
    skipped: list[str] = []
    for manifest in newest_first(manifests):
        problem = _fetch(store, keys, manifest, folder / STATE_FILE)
        if problem is None:
            log.info("going on from checkpoint %s (epoch %d, step %d)", manifest.id, manifest.epoch, manifest.step)
            source = reference(store, manifest, STATE_FILE, manifest.prefix(keys) + STATE_FILE)
            return Restored(
                run=fence.run, restored=source, file=str(folder / STATE_FILE), skipped=skipped, best=best_reference
            )
        log.warning("%s", problem)
        skipped.append(problem)
    log.info("no checkpoint to go on from")
    return Restored(run=fence.run, skipped=skipped)


def _fetch(store: Store, keys: JobKeys, manifest: Manifest, path: Path) -> str | None:
    """Download and verify the state; a sentence if it is not what was stored. Raises StoreError."""
    expected = manifest.file(STATE_FILE)
    if expected is None:
        return f"Checkpoint {manifest.id} was passed over: its manifest names no {STATE_FILE}."
    try:
        store.download(manifest.prefix(keys) + STATE_FILE, path)
    except ObjectMissing:
        return f"Checkpoint {manifest.id} was passed over: its {STATE_FILE} is gone."
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == expected.sha256:
            return None
    return f"Checkpoint {manifest.id} was passed over: its {STATE_FILE} is damaged."


def _end(path: Path, result: dict[str, Any], code: int) -> int:
    replace_text(path, json.dumps(result))
    return code


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
