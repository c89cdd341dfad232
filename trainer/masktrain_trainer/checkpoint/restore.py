"""Before training, on the node of rank 0: claim a run, and bring the newest checkpoint that verifies.

`python -m masktrain_trainer.checkpoint.restore --output FOLDER --result FILE`, configured by MASKTRAIN_CONFIG.
"""

import argparse
import logging
import os
import sys
import uuid
from pathlib import Path
from typing import Any

from masktrain_trainer.config import (
    CONFIG_VARIABLE,
    POD_UID_VARIABLE,
    CheckpointRef,
    ExitCode,
    RunConfig,
)
from masktrain_trainer.errors import Fenced, StoreError, printable
from masktrain_trainer.files import write_text_atomically
from masktrain_trainer.run_directory import RestoreResult, StageFailure
from masktrain_trainer.stores import Store

from .catalog import Catalog, Result, fetch_problem, read_catalog, read_result
from .fence import claim_run
from .keys import BEST_FILE, MODEL_FILE, STATE_FILE, JobKeys
from .manifest import Manifest
from .selection import best, newest_first
from .writer import CheckpointWriter, open_checkpoint_store, reference

log = logging.getLogger(__name__)


def main() -> int:
    """Run the stage; the exit code says whether another try makes sense."""
    logging.basicConfig(level=logging.INFO, format="restore: %(message)s", stream=sys.stdout)
    options = _options()
    config = RunConfig.model_validate_json(os.environ[CONFIG_VARIABLE])
    try:
        store = open_checkpoint_store(config)
        found = restore(store, config, os.environ.get(POD_UID_VARIABLE) or uuid.uuid4().hex, options.output)
    except (Fenced, StoreError) as error:
        failure = StageFailure(reason=error.reason, message=str(error))
        return _end(options.result, RestoreResult(failure=failure), error.exit_code)
    return _end(options.result, found, ExitCode.DONE)


def restore(store: Store, config: RunConfig, pod_uid: str, folder: Path) -> RestoreResult:
    """Claim a run, then find out where training stands. Raises Fenced if a later attempt has begun, or StoreError."""
    keys = JobKeys(config.namespace, config.name, config.uid)
    # Before anything is read: whoever wrote until now is fenced by it, so that what is read stays the newest.
    writer = CheckpointWriter(store, keys, claim_run(store, keys, config.attempt, pod_uid))
    # Claiming works in an old attempt, too; only this look shows that a later one has begun.
    writer.check_fence()
    log.info("this container writes as run %s", writer.fence)
    folder.mkdir(parents=True, exist_ok=True)
    catalog = read_catalog(store, keys)
    found = RestoreResult(run=writer.fence.run, best=_best(store, keys, writer.with_models(catalog)))
    result = read_result(store, keys)
    if result is None:
        return _newest_good(store, keys, catalog, found, folder)
    # Not by its result alone: somebody may have deleted or replaced the output since the job was complete.
    target = keys.output(BEST_FILE)
    problem = fetch_problem(store, target, result.best.sha256, folder / BEST_FILE)
    (folder / BEST_FILE).unlink(missing_ok=True)
    if problem is None:
        # The container that completed the job may have been killed in the middle of its clean-up.
        writer.clean_up(result, catalog.manifests, config.checkpoint.keep)
        return found.model_copy(update={**_of_complete_job(result)})
    sentence = f"This job was complete once, but {store.uri(target)} is {problem}: training goes on to make it again."
    log.warning("%s", sentence)
    return _newest_good(store, keys, catalog, found.model_copy(update={"skipped": [sentence]}), folder)


def _of_complete_job(result: Result) -> dict[str, Any]:
    return {"completed": True, "outputs": result.outputs, "best": result.best, "steps": result.steps}


def _newest_good(store: Store, keys: JobKeys, catalog: Catalog, found: RestoreResult, folder: Path) -> RestoreResult:
    """`found` with the newest checkpoint that verifies, and a sentence for each that does not."""
    skipped = [*found.skipped, *(_passed_over(name, problem) for name, problem in sorted(catalog.broken.items()))]
    for manifest in newest_first(catalog.manifests):
        problem = _fetch(store, keys, manifest, folder / STATE_FILE)
        if problem is None:
            log.info("going on from checkpoint %s (epoch %d, step %d)", manifest.id, manifest.epoch, manifest.step)
            source = reference(store, manifest, STATE_FILE, manifest.prefix(keys) + STATE_FILE)
            return found.model_copy(update={"restored": source, "file": str(folder / STATE_FILE), "skipped": skipped})
        skipped.append(_passed_over(manifest.id, problem))
    log.info("no checkpoint to go on from: training starts from its first step")
    return found.model_copy(update={"skipped": skipped})


def _best(store: Store, keys: JobKeys, manifests: list[Manifest]) -> CheckpointRef | None:
    top = best(manifests)
    return None if top is None else reference(store, top, MODEL_FILE, keys.best, verified_at=top.created_at)


def _fetch(store: Store, keys: JobKeys, manifest: Manifest, path: Path) -> str | None:
    """Download and verify the state; what is wrong with it if it is not what was stored. Raises StoreError."""
    expected = manifest.file(STATE_FILE)
    if expected is None:
        return f"{STATE_FILE} is not named by its manifest"
    problem = fetch_problem(store, manifest.prefix(keys) + STATE_FILE, expected.sha256, path)
    return None if problem is None else f"{STATE_FILE} is {problem}"


def _passed_over(checkpoint_id: str, problem: str) -> str:
    # Both as a store has them, which others may write to as well.
    sentence = printable(f"Checkpoint {checkpoint_id} was passed over: its {problem}.")
    log.warning("%s", sentence)
    return sentence


def _end(path: Path, result: RestoreResult, code: int) -> int:
    write_text_atomically(path, result.to_json())
    return code


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
