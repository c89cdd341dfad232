"""SIGKILL between every two changes that a run makes to its store, and within them: nothing is lost."""

import json
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from masktrain_trainer.checkpoint.catalog import read_manifests
from masktrain_trainer.checkpoint.fence import claim_run
from masktrain_trainer.checkpoint.keys import Fence
from masktrain_trainer.checkpoint.restore import restore
from masktrain_trainer.checkpoint.snapshot import read_snapshot
from masktrain_trainer.checkpoint.spool import UploaderStatus
from masktrain_trainer.config import CheckpointRef, StoreSpec
from masktrain_trainer.stores import Store, open_store
from tests.stores.killed_run import FENCE, SURVIVED, killed_run
from tests.stores.training_run import (
    BEST_STEP,
    FITNESS,
    KEYS,
    OUTPUTS,
    artifacts,
    objects,
    run_config,
    store_all,
    train,
    uploader,
)

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.stores.killed_run"])
MOST_CHANGES = 200


@dataclass(frozen=True)
class Wreck:
    """What a killed run left: its store, and the pod's folder."""

    store: Store
    folder: Path
    point: str


def wrecks(
    root: Path, uri: str, spec: StoreSpec | None, credentials: Path | None, *, during: bool, stride: int = 1
) -> Iterator[Wreck]:
    """One for every change that the run makes, or every `stride`-th, until a run gets through."""
    for changes in range(0, MOST_CHANGES, stride):
        folder = root / str(changes)
        store = open_store(f"{uri}/{changes}", spec, credentials)
        assert claim_run(store, KEYS, FENCE.attempt, "pod") == FENCE
        arguments = (f"{uri}/{changes}", spec, credentials, folder, changes, during)
        process = PROCESSES.Process(target=killed_run, args=arguments)
        process.start()
        process.join()
        if process.exitcode == SURVIVED:
            return
        assert process.exitcode == -signal.SIGKILL
        yield Wreck(store, folder, f"change {changes}")
    pytest.fail("the run never ended")


@pytest.mark.parametrize("during", [False, True], ids=["between", "during"])
def test_the_next_pod_goes_on_from_a_folder(tmp_path: Path, during: bool) -> None:
    points = 0
    for wreck in wrecks(tmp_path, f"{tmp_path.as_uri()}/stores", None, None, during=during):
        points += 1
        next_pod_goes_on(wreck)
        left = [path.name for path in (tmp_path / "stores" / wreck.folder.name).rglob("*") if path.is_file()]
        assert sorted(left) == ["best.pt", "result.json", "results.csv"], f"{wreck.point}: nothing hidden stays"
    assert points > 15


def test_the_next_pod_goes_on_from_a_bucket(tmp_path: Path, s3_spec: tuple[StoreSpec, Path]) -> None:
    for wreck in wrecks(tmp_path, f"s3://checkpoints/{tmp_path.name}", *s3_spec, during=False, stride=4):
        next_pod_goes_on(wreck)


def test_a_restarted_uploader_goes_on_with_what_the_dead_one_had_taken(tmp_path: Path) -> None:
    taken_over = 0
    for wreck in wrecks(tmp_path, f"{tmp_path.as_uri()}/stores", None, None, during=False, stride=3):
        if not read_manifests(wreck.store, KEYS):
            continue
        before = {found.step for found in read_manifests(wreck.store, KEYS)}
        held = {read_snapshot(path)[1].step for path in (wreck.folder / "spool").glob("[0-9]*")}
        taken_over += len(held - before)
        up = uploader(wreck.store, wreck.folder, FENCE)
        store_all(up)
        assert up.spool.pending() == 0
        steps = {found.step for found in read_manifests(wreck.store, KEYS)}
        assert held <= steps, f"{wreck.point}: what was taken and not yet stored is stored now"
        assert max(before) <= max(steps), wreck.point
        remaining = [step for step in FITNESS if step > max(steps)]
        train(wreck.store, wreck.folder, FENCE, remaining).finish(artifacts(wreck.folder))
        assert_complete(wreck)
    assert taken_over > 0, "no run died between taking a snapshot and storing it"


def next_pod_goes_on(wreck: Wreck) -> None:
    steps = [found.step for found in read_manifests(wreck.store, KEYS)]
    found = restore(wreck.store, run_config(1), "pod-2", wreck.folder / "restore")
    assert not found.skipped, f"{wreck.point}: a checkpoint that exists is never torn"
    if not found.completed:
        assert (found.restored.step if found.restored else 0) == max(steps, default=0), wreck.point
        up = uploader(wreck.store, wreck.folder / "next", Fence(1, found.run))
        up.recover()
        assert best_fitness(up.best) >= best_that_was_reported(wreck), wreck.point
        remaining = [step for step in FITNESS if step > max(steps, default=0)]
        train(wreck.store, wreck.folder / "next", Fence(1, found.run), remaining).finish(artifacts(wreck.folder))
    assert_complete(wreck)


def best_that_was_reported(wreck: Wreck) -> float:
    status = UploaderStatus.model_validate_json((wreck.folder / "status.json").read_text())
    return best_fitness(status.best)


def best_fitness(best: CheckpointRef | None) -> float:
    return 0.0 if best is None or best.fitness is None else best.fitness


def assert_complete(wreck: Wreck) -> None:
    assert json.loads(wreck.store.read("team/masks/result.json"))["best"]["step"] == BEST_STEP, wreck.point
    assert objects(wreck.store) == OUTPUTS, wreck.point
