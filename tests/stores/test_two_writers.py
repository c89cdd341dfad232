"""Two pods that both believe to be the job's writer, their store operations interleaved in every order a seed gives."""

import json
from functools import partial
from pathlib import Path

import pytest

from masktrain_trainer.checkpoint.catalog import read_manifests
from masktrain_trainer.checkpoint.fence import claim_run
from masktrain_trainer.checkpoint.keys import Fence
from masktrain_trainer.checkpoint.manifest import newest_first
from masktrain_trainer.checkpoint.restore import restore
from masktrain_trainer.checkpoint.writer import Fenced
from masktrain_trainer.stores import Store
from masktrain_trainer.stores.folder import FolderStore
from tests.stores.training_run import BEST_STEP, KEYS, IgnoresConditions, artifacts, run_config, train
from tests.stores.turns import Turns

SEEDS = range(40)


def server(folder: Path, *, honoured: bool) -> Store:
    store = FolderStore(folder)
    return store if honoured else IgnoresConditions(store)


@pytest.mark.parametrize("honoured", [True, False])
def test_racing_pods_never_share_a_run_number(tmp_path: Path, honoured: bool) -> None:
    for seed in SEEDS:
        claims: list[Fence] = []
        pods = {pod: partial(claim, pod, claims) for pod in ("pod-b", "pod-a", "pod-c")}
        assert Turns(seed).run(server(tmp_path / str(seed), honoured=honoured), pods) == {}
        assert len(set(claims)) == len(pods), f"seed {seed}"


def claim(pod: str, claims: list[Fence], store: Store) -> None:
    claims.append(claim_run(store, KEYS, 0, pod))


@pytest.mark.parametrize("honoured", [True, False])
def test_a_writer_that_was_cut_off_never_sets_the_job_back(tmp_path: Path, honoured: bool) -> None:
    fenced = 0
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        store = server(folder / "store", honoured=honoured)
        old_fence = claim_run(store, KEYS, 0, "old")

        def old(seen: Store, folder: Path = folder, fence: Fence = old_fence) -> None:
            train(seen, folder / "old", fence, [10, 20, 30])

        def new(seen: Store, folder: Path = folder) -> None:
            found = restore(seen, run_config(1), "new", folder / "restore")
            train(seen, folder / "new", Fence(1, found.run), [15, 40])

        errors = Turns(seed).run(store, {"old": old, "new": new})
        assert {type(error) for error in errors.values()} <= {Fenced}, f"seed {seed}: {errors}"
        assert "new" not in errors, f"seed {seed}: {errors}"
        fenced += len(errors)
        check(store, folder, honoured=honoured)
    assert fenced > len(SEEDS) // 2


def check(store: Store, folder: Path, *, honoured: bool) -> None:
    manifests = read_manifests(store, KEYS)
    newest = newest_first(manifests)[0]
    assert (newest.fence, newest.step) == (Fence(1, 0), 40)
    if honoured:
        assert json.loads(store.read(KEYS.pointer("last")))["checkpoint"] == newest.id
    found = restore(store, run_config(2), "next", folder / "next-restore")
    assert found.restored is not None
    assert (found.restored.step, found.skipped) == (40, [])
    up = train(store, folder / "next", Fence(2, found.run), [])
    up.recover()
    best = max((one.fitness for one in manifests if one.has_model and one.fitness is not None), default=None)
    assert (up.best.fitness if up.best else None) == best
    if any(one.step == BEST_STEP for one in manifests):
        up.finish(artifacts(folder))
        assert up.best is not None
        assert up.best.step == BEST_STEP
