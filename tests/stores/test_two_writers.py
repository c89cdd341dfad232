"""Two pods that both believe to be the job's writer, their store operations interleaved in every order a seed gives."""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from masktrain_trainer.checkpoint.catalog import read_catalog, read_result
from masktrain_trainer.checkpoint.fence import claim_run
from masktrain_trainer.checkpoint.keys import Fence
from masktrain_trainer.checkpoint.restore import restore
from masktrain_trainer.checkpoint.selection import newest_first
from masktrain_trainer.checkpoint.snapshot import write_snapshot
from masktrain_trainer.checkpoint.spool import SnapshotMeta
from masktrain_trainer.checkpoint.uploader import Uploader
from masktrain_trainer.config import Keep
from masktrain_trainer.errors import Fenced, StoreError
from masktrain_trainer.files import sha256_of
from masktrain_trainer.stores import Store
from masktrain_trainer.stores.folder import FolderStore
from tests.stores.training_run import (
    BEST_STEP,
    KEYS,
    IgnoresConditions,
    Wrapped,
    artifacts,
    run_config,
    state,
    store_all,
    train,
    uploader,
)
from tests.stores.turns import OPERATIONS, Turns

SEEDS = range(40)
MANY_SEEDS = range(2000)
END_SEEDS = range(150)
TORN_ONCE = (21, 63, 131, 142)
"""Interleavings in which an earlier version tore a checkpoint or jammed the new writer."""


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder where syncing costs nothing: a seed takes 25 ms instead of 150."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


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


def test_two_writers_that_both_complete_leave_one_result(memory: Path) -> None:
    for seed in END_SEEDS:
        folder = memory / str(seed)
        store = server(folder / "store", honoured=True)
        old = train(store, folder / "old", claim_run(store, KEYS, 0, "old"), [10, 20], Keep.ALL)

        def complete_old(seen: Store, old: Uploader = old, folder: Path = folder) -> None:
            old.writer = replace(old.writer, store=seen)
            finish(old, folder / "old")

        def complete_new(seen: Store, folder: Path = folder) -> None:
            found = restore(seen, run_config(1), "new", folder / "restore")
            if not found.completed:
                up = train(seen, folder / "new", Fence(1, found.run), [25], Keep.ALL)
                finish(up, folder / "new")

        errors = Turns(seed).run(store, {"old": complete_old, "new": complete_new})
        assert {type(error) for error in errors.values()} <= {Fenced}, f"seed {seed}: {errors}"
        check_result(store, seed, BEST_STEP)
        shutil.rmtree(folder)


def claim(pod: str, claims: list[Fence], store: Store) -> None:
    claims.append(claim_run(store, KEYS, 0, pod))


@pytest.mark.parametrize("honoured", [True, False])
@pytest.mark.parametrize("seed", TORN_ONCE)
def test_what_was_torn_once_stays_whole(memory: Path, seed: int, honoured: bool) -> None:
    old_and_new_writer(memory / "job", seed, honoured=honoured)


# Conditions matter for claims only, and both kinds of claims are in the test above.
@pytest.mark.parametrize(("seeds", "honoured"), [(MANY_SEEDS, True), (SEEDS, False)])
def test_a_writer_that_was_cut_off_never_sets_the_job_back(memory: Path, seeds: range, honoured: bool) -> None:
    fenced = sum(old_and_new_writer(memory / str(seed), seed, honoured=honoured) for seed in seeds)
    assert fenced > len(seeds) // 2


def test_a_new_writer_that_comes_at_any_moment_of_a_live_ones_work_tears_nothing(memory: Path) -> None:
    """Also right between its last look at the fence and its manifest, which no drawn interleaving hits."""
    for moment in itertools.count():
        folder = memory / str(moment)
        store = server(folder / "store", honoured=True)
        old_fence = claim_run(store, KEYS, 0, "old")

        def take_over(folder: Path = folder, store: Store = store) -> None:
            found = restore(store, run_config(1), "new", folder / "restore")
            train(store, folder / "new", Fence(1, found.run), [15, 40])

        interrupted = Interrupted(store, moment, take_over)
        with contextlib.suppress(Fenced):
            train(interrupted, folder / "old", old_fence, [10, 20, 30])
        if interrupted.left >= 0:
            break
        check(store, folder, moment)
    assert moment > 30


@pytest.mark.parametrize("keep", list(Keep))
def test_a_new_writer_that_comes_at_any_moment_of_an_old_ones_end_leaves_one_result(memory: Path, keep: Keep) -> None:
    """Whoever completes the job: best.pt is the one that result.json names, and the new writer's if it wrote one."""
    for moment in itertools.count():
        folder = memory / str(moment)
        store = server(folder / "store", honoured=True)
        old = train(store, folder / "old", claim_run(store, KEYS, 0, "old"), [10, 20], keep)
        ends: list[int] = []

        def take_over(folder: Path = folder, store: Store = store, ends: list[int] = ends) -> None:
            found = restore(store, run_config(1), "new", folder / "restore")
            if found.completed:
                return
            up = uploader(store, folder / "new", Fence(1, found.run), keep)
            write_snapshot(up.spool.folder, state(25), SnapshotMeta(2, 25, 0.9, is_best=True, reason="epoch"))
            store_all(up)
            up.finish(artifacts(folder / "new"))
            ends.append(25)

        interrupted = Interrupted(store, moment, take_over)
        old.writer = replace(old.writer, store=interrupted)
        finish(old, folder / "old")
        if interrupted.left >= 0:
            break
        check_result(store, moment, ends[0] if ends else 20)
        shutil.rmtree(folder)
    assert moment > 15


def finish(up: Uploader, folder: Path) -> bool:
    """As the uploader's process does it: again after a failure of the store; whether it was not fenced."""
    for _ in range(5):
        try:
            up.finish(artifacts(folder))
        except Fenced:
            return False
        except StoreError:
            continue
        return True
    raise AssertionError("the store fails again and again")


def check_result(store: Store, moment: int, step: int) -> None:
    result = read_result(store, KEYS)
    assert result is not None, moment
    assert result.best.step == step, moment
    assert sha256_of(store.read(KEYS.output("best.pt"))) == result.best.sha256, f"{moment}: torn"
    assert list(store.list(KEYS.runs)) == [], f"{moment}: the clean-up is not finished"


class Interrupted(Wrapped):
    """Another writer does all its work right before the n-th operation."""

    def __init__(self, store: Store, operations: int, work: Callable[[], None]) -> None:
        super().__init__(store)
        self.left, self.work = operations, work

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        if name not in OPERATIONS:
            return found
        self.left -= 1
        if self.left == -1:
            self.work()
        return found


def old_and_new_writer(folder: Path, seed: int, *, honoured: bool) -> int:
    """Check what two writers leave; how many of them found themselves fenced."""
    store = server(folder / "store", honoured=honoured)
    old_fence = claim_run(store, KEYS, 0, "old")

    def old(seen: Store) -> None:
        train(seen, folder / "old", old_fence, [10, 20, 30])

    def new(seen: Store) -> None:
        found = restore(seen, run_config(1), "new", folder / "restore")
        train(seen, folder / "new", Fence(1, found.run), [15, 40])

    errors = Turns(seed).run(store, {"old": old, "new": new})
    assert {type(error) for error in errors.values()} <= {Fenced}, f"seed {seed}: {errors}"
    assert "new" not in errors, f"seed {seed}: {errors}"
    check(store, folder, seed)
    shutil.rmtree(folder)
    return len(errors)


def check(store: Store, folder: Path, seed: int) -> None:
    catalog = read_catalog(store, KEYS)
    assert catalog.broken == {}, f"seed {seed}: a manifest without its files"
    manifests = catalog.manifests
    for manifest in manifests:
        for file in manifest.files:
            assert sha256_of(store.read(manifest.prefix(KEYS) + file.name)) == file.sha256
    newest = newest_first(manifests)[0]
    assert (newest.fence, newest.step) == (Fence(1, 0), 40)
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
