"""What the uploader does with orders, with a failing store and with what it cannot use."""

import queue
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from masktrain_trainer.checkpoint import uploader as module
from masktrain_trainer.checkpoint.catalog import read_manifests
from masktrain_trainer.checkpoint.fence import claim_run
from masktrain_trainer.checkpoint.snapshot import write_snapshot
from masktrain_trainer.checkpoint.spool import SnapshotMeta, UploaderExit, UploaderStatus
from masktrain_trainer.checkpoint.uploader import COMPLETE, DRAIN, Uploader, run
from masktrain_trainer.errors import StoreUnavailable
from masktrain_trainer.stores import ObjectInfo, Store
from masktrain_trainer.stores.folder import FolderStore
from masktrain_trainer.weights.load import load_model_file
from tests.conftest import fill
from tests.stores.training_run import (
    KEYS,
    OUTPUTS,
    Wrapped,
    artifacts,
    meta,
    newest_files,
    objects,
    state,
    train,
    uploader,
)

Step = str | Callable[[], None] | None


class Script(queue.Queue[str]):
    """Instead of waiting, each wait plays the next step: an order, something that happens meanwhile, or nothing."""

    def __init__(self, up: Uploader, *steps: Step) -> None:
        super().__init__()
        self.up, self.steps = up, list(steps)
        self.pauses: list[float] = []
        self.errors: list[str | None] = []

    def get(self, block: bool = True, timeout: float | None = None) -> str:
        assert timeout is not None
        self.pauses.append(timeout)
        self.errors.append(status(self.up).store_error)
        step = self.steps.pop(0)
        if isinstance(step, str):
            return step
        if step is not None:
            step()
        raise queue.Empty


class Failing(Wrapped):
    """A store that is away for its next `failures` writes."""

    failures = 0

    def put(self, key: str, body: bytes | Path, **options: Any) -> ObjectInfo:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("The store is away.")
        return self.store.put(key, body, **options)


@pytest.fixture
def store(tmp_path: Path) -> Failing:
    return Failing(FolderStore(tmp_path / "store"))


@pytest.fixture
def up(store: Store, tmp_path: Path) -> Uploader:
    return uploader(store, tmp_path, claim_run(store, KEYS, 0, "pod"))


def status(up: Uploader) -> UploaderStatus:
    return UploaderStatus.model_validate_json(up.status_file.read_text())


def offer(up: Uploader, step: int) -> None:
    write_snapshot(up.spool.folder, state(step), meta(step))


def test_draining_stores_what_waits_and_ends(up: Uploader, tmp_path: Path) -> None:
    offer(up, 20)
    offer(up, 30)
    assert run(up, Script(up, DRAIN), tmp_path) == 0
    found = status(up)
    assert (found.finished, found.pending, found.uploaded, found.store_error) == (True, 0, 2, None)
    assert found.best is not None
    assert found.last is not None
    assert (found.best.step, found.last.step) == (20, 30)


def test_a_snapshot_is_stored_before_any_order(up: Uploader, tmp_path: Path) -> None:
    script = Script(up, None, lambda: offer(up, 10), lambda: None, DRAIN)
    assert run(up, script, tmp_path) == 0
    assert script.pauses == [module.POLL_SECONDS] * 4
    assert status(up).uploaded == 1


def test_completing_stores_what_waits_first(up: Uploader, store: Store, tmp_path: Path) -> None:
    offer(up, 10)
    script = Script(up, lambda: offer(up, 20), COMPLETE)
    assert run(up, script, artifacts(tmp_path)) == 0
    found = status(up)
    assert found.finished
    assert found.best is not None
    assert (found.best.step, found.last) == (20, None)
    assert sorted(found.outputs) == [store.uri(key) for key in OUTPUTS]
    assert objects(store) == OUTPUTS


def test_periodic_checkpoints_outlive_newer_ones_and_the_end(up: Uploader, store: Store, tmp_path: Path) -> None:
    for step in (30, 40, 50, 60, 70):
        periodic = replace(meta(step), fitness=0.01, periodic=step in (30, 50))
        write_snapshot(up.spool.folder, state(step), periodic)
        while up.store_waiting():
            pass
    offer(up, 20)
    assert run(up, Script(up, COMPLETE), artifacts(tmp_path)) == 0
    left = {key.removeprefix(KEYS.checkpoints) for key in objects(store) if key.startswith(KEYS.checkpoints)}
    assert {(key.split("-")[2], key.rpartition("/")[2]) for key in left} == {
        (step, name) for step in ("30", "50") for name in ("manifest.json", "model.pt", "state.pt")
    }


def test_until_an_epoch_has_a_fitness_the_newest_model_is_best_pt(up: Uploader, store: Store, tmp_path: Path) -> None:
    """And what it supersedes goes as any other checkpoint."""

    def offer_epoch(step: int, fitness: float, *, is_best: bool) -> float | None:
        found = SnapshotMeta(step // 10, step, fitness, is_best=is_best, reason="epoch")
        write_snapshot(up.spool.folder, state(step), found)
        while up.store_waiting():
            pass
        return None if up.best is None else up.best.step

    assert [offer_epoch(step, 0.0, is_best=True) for step in (10, 20, 30, 40)] == [10, 20, 30, 40]
    assert float(load_model_file(local_copy(store, KEYS.best, tmp_path)).state_dict["weight"][0, 0]) == 40
    assert sorted(found.step for found in read_manifests(store, KEYS)) == [30, 40]
    assert offer_epoch(50, 0.0, is_best=False) == 50, "also if training has seen a better one that was lost"
    assert offer_epoch(60, 0.01, is_best=True) == 60
    assert [offer_epoch(step, 0.0, is_best=False) for step in (70, 80, 90)] == [60] * 3
    assert sorted(found.step for found in read_manifests(store, KEYS)) == [60, 80, 90]


def local_copy(store: Store, key: str, folder: Path) -> Path:
    path = folder / "copy.pt"
    store.download(key, path)
    return path


def test_a_store_that_is_away_is_tried_again_ever_more_seldom(up: Uploader, store: Failing, tmp_path: Path) -> None:
    offer(up, 10)
    store.failures = 4
    script = Script(up, None, None, None, None, DRAIN)
    assert run(up, script, tmp_path) == 0
    assert script.pauses == [1, 2, 4, 8, module.POLL_SECONDS]
    assert script.errors == ["The store is away."] * 4 + [None]
    assert status(up).uploaded == 1


def test_an_order_is_heard_at_once_while_the_store_is_away(up: Uploader, store: Failing, tmp_path: Path) -> None:
    offer(up, 10)
    store.failures = 8
    script = Script(up, None, None, None, None, DRAIN, None, None, None)
    assert run(up, script, tmp_path) == 0
    assert script.pauses[4:] == [16, 4, 4, 4], "with an order the pod waits for us"


def test_a_newer_snapshot_replaces_one_that_could_not_be_stored(up: Uploader, store: Failing, tmp_path: Path) -> None:
    offer(up, 30)
    store.failures = 1
    assert run(up, Script(up, lambda: offer(up, 40), DRAIN), tmp_path) == 0
    found = status(up)
    assert found.last is not None
    assert (found.last.step, found.uploaded) == (40, 1)


def test_a_full_disk_is_told_and_tried_again(
    up: Uploader, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the uploader serialises: torch answers its ENOSPC with a RuntimeError."""
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    (small_disk / "other").write_bytes(bytes(1900 << 10))
    # More than a file's buffer holds, so that the write fails inside torch.save and not when the file is closed.
    large = {**state(10), "model": {"weight": torch.zeros(100_000)}}
    write_snapshot(up.spool.folder, large, meta(10))
    script = Script(up, (small_disk / "other").unlink, DRAIN)
    assert run(up, script, tmp_path) == 0
    assert script.errors == ["[Errno 28] No space left on device", None]
    assert status(up).uploaded == 1


@pytest.fixture
def up_on_full_disk(up: Uploader, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> Uploader:
    """As in a pod: the status lies on the disk that the uploader serialises on, and nothing is left of it."""
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    up.status_file = small_disk / "run" / "uploader.json"
    up.report()
    fill(small_disk)
    return up


def test_a_full_disk_that_holds_the_status_too_ends_no_uploader(
    up_on_full_disk: Uploader, tmp_path: Path, small_disk: Path
) -> None:
    offer(up_on_full_disk, 10)
    script = Script(up_on_full_disk, (small_disk / "other").unlink, DRAIN)
    assert run(up_on_full_disk, script, tmp_path) == 0
    assert (status(up_on_full_disk).uploaded, status(up_on_full_disk).finished) == (1, True)


@pytest.mark.parametrize("verdict", [UploaderExit.NOTHING_TO_PUBLISH, UploaderExit.FENCED])
def test_the_verdict_of_an_uploader_needs_no_room_on_the_disk(
    up_on_full_disk: Uploader, store: Store, tmp_path: Path, verdict: UploaderExit
) -> None:
    if verdict is UploaderExit.FENCED:
        claim_run(store, KEYS, 1, "pod-2")
    assert run(up_on_full_disk, Script(up_on_full_disk, COMPLETE), tmp_path) == verdict


def test_an_unusable_snapshot_is_dropped_not_tried_for_ever(up: Uploader, tmp_path: Path) -> None:
    up.spool.folder.mkdir()
    (up.spool.folder / "00000001.last").write_bytes(b"nonsense")
    script = Script(up, lambda: offer(up, 10), DRAIN)
    assert run(up, script, tmp_path) == 0
    assert script.errors[0] == "Snapshot 00000001.last.taken is unreadable and was dropped."
    assert (script.errors[1], status(up).uploaded) == (None, 1)


def test_a_state_that_no_model_can_be_made_of_is_dropped_too(up: Uploader, tmp_path: Path) -> None:
    write_snapshot(up.spool.folder, {"format": "masktrain-state-v1"}, meta(10))
    assert run(up, Script(up, DRAIN), tmp_path) == 0
    assert status(up).store_error == "No model can be made of a state without ema, model_info, metrics, training."


def test_a_writer_that_was_replaced_gives_up(up: Uploader, store: Store, tmp_path: Path) -> None:
    assert claim_run(store, KEYS, 1, "pod-2").attempt == 1
    assert run(up, Script(up, None), tmp_path) == UploaderExit.FENCED
    assert status(up).store_error == "Run 1.0 of this job writes now; run 0.0 stops writing."


def test_a_writer_that_is_replaced_while_nothing_is_stored_hears_of_it(
    up: Uploader, store: Failing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as twins are made and videos drawn, no checkpoint asks."""
    monkeypatch.setattr(module, "FENCE_SECONDS", 0.0)

    def replace_it() -> None:
        claim_run(store, KEYS, 1, "pod-2")

    assert run(up, Script(up, None, replace_it, None), tmp_path) == UploaderExit.FENCED


def test_a_writer_that_was_replaced_leaves_the_unfinished_uploads_of_the_new_one(store: Store, tmp_path: Path) -> None:
    up = uploader(store, tmp_path, claim_run(store, KEYS, 0, "pod"))
    newer = claim_run(store, KEYS, 1, "pod-2")
    unfinished = tmp_path / "store" / KEYS.checkpoints_of(newer).rpartition("/")[0] / "1.0-1-1-none-abc"
    unfinished.mkdir(parents=True)
    (unfinished / ".masktrain-tmp-state.pt-x").write_bytes(b"half")
    assert run(up, Script(up, None), tmp_path) == UploaderExit.FENCED
    assert [path.name for path in unfinished.iterdir()] == [".masktrain-tmp-state.pt-x"]


@pytest.mark.parametrize(
    ("steps", "second_copy", "best"), [([10, 20, 30, 40], True, 20), ([10, 20], True, 20), ([10, 20], False, 10)]
)
def test_a_checkpoint_that_lost_its_model_stops_neither_uploads_nor_the_end(
    store: Store, tmp_path: Path, steps: list[int], second_copy: bool, best: int
) -> None:
    train(store, tmp_path, claim_run(store, KEYS, 0, "pod"), steps)
    store.delete(next(key for key in newest_files(store, "model.pt") if "-20-0.3-" in key))
    if not second_copy:
        store.delete(KEYS.best)
    up = uploader(store, tmp_path, claim_run(store, KEYS, 1, "pod-2"))
    offer(up, 50)
    assert run(up, Script(up, COMPLETE), artifacts(tmp_path)) == UploaderExit.DONE
    found = status(up)
    assert (found.uploaded, found.finished, found.store_error) == (1, True, None)
    assert found.best is not None
    assert found.best.step == best


def test_a_reconciliation_that_fails_keeps_no_new_checkpoint_from_being_stored(
    up: Uploader, store: Failing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreUnavailable("Copying is not possible.")

    offer(up, 20)
    monkeypatch.setattr(store, "copy", refuse, raising=False)
    script = Script(up, lambda: offer(up, 30), monkeypatch.undo, DRAIN)
    assert run(up, script, tmp_path) == 0
    assert status(up).uploaded == 2
    assert script.errors[1] == "Copying is not possible."


@pytest.mark.parametrize("started_again", [False, True])
def test_a_lost_answer_to_the_last_deletion_is_no_fence(
    up: Uploader, store: Failing, tmp_path: Path, started_again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(key: str) -> None:
        store.store.delete(key)
        if key.startswith(KEYS.runs):
            monkeypatch.undo()
            raise StoreUnavailable("The answer is lost.")

    offer(up, 10)
    monkeypatch.setattr(store, "delete", lose, raising=False)
    if started_again:
        up.store_waiting()
        with pytest.raises(StoreUnavailable):
            up.finish(artifacts(tmp_path))
        up = uploader(store, tmp_path, up.writer.fence)
    assert run(up, Script(up, COMPLETE, None), artifacts(tmp_path)) == UploaderExit.DONE
    found = status(up)
    assert found.finished
    assert sorted(found.outputs) == [store.uri(key) for key in OUTPUTS]


def test_completing_without_any_model_gives_up(up: Uploader, tmp_path: Path) -> None:
    assert run(up, Script(up, COMPLETE), tmp_path) == UploaderExit.NOTHING_TO_PUBLISH
    assert "nothing that best.pt could be made of" in (status(up).store_error or "")
    assert not status(up).finished


def draw_pictures(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("labels.png", "train_batch0.jpg", "results.csv"):
        (folder / name).write_text(name)


def test_pictures_of_the_data_are_stored_as_soon_as_they_are_drawn(up: Uploader, tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    seen: list[list[str]] = []

    def look() -> None:
        seen.append([name for name in objects(up.writer.store) if name.endswith((".png", ".jpg", ".csv"))])

    assert run(up, Script(up, lambda: draw_pictures(folder), None, look, DRAIN), folder) == 0
    assert seen == [[KEYS.root + "labels.png", KEYS.root + "train_batch0.jpg"]]


def test_a_store_that_takes_no_picture_costs_nothing_else(up: Uploader, store: Failing, tmp_path: Path) -> None:
    draw_pictures(tmp_path / "artifacts")
    store.failures = 2
    assert run(up, Script(up, DRAIN), tmp_path / "artifacts") == 0
    assert status(up).store_error is None


def test_a_complete_job_has_its_pictures_beside_the_model_only(up: Uploader, tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    draw_pictures(folder)
    offer(up, 20)
    assert run(up, Script(up, COMPLETE), folder) == 0
    assert [name for name in objects(up.writer.store) if "labels" in name] == [KEYS.output("labels.png")]
