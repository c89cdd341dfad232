"""Checkpoints in real stores: kept, resumed from, damaged, finished."""

import json
from pathlib import Path

import pytest
import torch

from masktrain_trainer.checkpoint.catalog import read_manifests
from masktrain_trainer.checkpoint.fence import claim_run
from masktrain_trainer.checkpoint.keys import Fence
from masktrain_trainer.checkpoint.restore import restore
from masktrain_trainer.checkpoint.snapshot import write_snapshot
from masktrain_trainer.checkpoint.spool import SnapshotMeta
from masktrain_trainer.checkpoint.state_files import load_state
from masktrain_trainer.config import Keep, StepResult, Steps
from masktrain_trainer.errors import Fenced, NothingToPublish
from masktrain_trainer.stores import Store
from masktrain_trainer.weights.load import load_model_file
from tests.stores.training_run import (
    BEST_STEP,
    KEYS,
    OUTPUTS,
    IgnoresConditions,
    artifacts,
    meta,
    newest_files,
    objects,
    run_config,
    state,
    store_all,
    train,
    uploader,
)


def damage(store: Store, key: str) -> None:
    """Flip one bit in the middle, and keep everything that the store says of the object."""
    content, info = bytearray(store.read(key)), store.head(key)
    assert info is not None
    content[len(content) // 2] ^= 1
    store.put(key, bytes(content), sha256=info.sha256)


def test_a_run_keeps_the_best_and_the_newest_two_then_only_the_outputs(store: Store, tmp_path: Path) -> None:
    fence = claim_run(store, KEYS, 0, "pod")
    up = train(store, tmp_path, fence, [10, 20, 30, 40])
    assert sorted(found.step for found in read_manifests(store, KEYS)) == [20, 30, 40]
    assert up.best is not None
    assert up.last is not None
    assert (up.best.step, up.last.step) == (BEST_STEP, 40)
    up.finish(artifacts(tmp_path))
    assert objects(store) == OUTPUTS
    store.download("team/masks/best.pt", tmp_path / "best.pt")
    model = load_model_file(tmp_path / "best.pt")
    assert (model.step, model.names, model.metrics) == (BEST_STEP, ["a", "b"], {"mAP50": 0.2})
    assert model.state_dict["weight"].dtype == torch.float16
    assert json.loads(store.read("team/masks/result.json"))["metrics"] == model.metrics
    again = restore(store, run_config(1), "pod-2", tmp_path / "restore")
    assert again.completed
    assert again.best == up.best
    assert objects(store) == OUTPUTS


@pytest.mark.parametrize(
    ("keep", "steps"), [(Keep.BEST, []), (Keep.BEST_AND_LAST, [20, 40]), (Keep.ALL, [10, 20, 30, 40])]
)
def test_the_policy_decides_what_stays(store: Store, tmp_path: Path, keep: Keep, steps: list[int]) -> None:
    up = train(store, tmp_path, claim_run(store, KEYS, 0, "pod"), [10, 20, 30, 40], keep)
    up.finish(artifacts(tmp_path))
    assert sorted(found.step for found in read_manifests(store, KEYS)) == steps
    assert [key for key in objects(store) if "/ckpt/" not in key] == OUTPUTS
    assert (up.last is None) == (keep is Keep.BEST)


def test_another_job_of_the_same_name_is_neither_read_nor_touched(store: Store, tmp_path: Path) -> None:
    other = ["team/masks/uid-10/ckpt/0.0-1-2-abc/state.pt", "team/masks-2/uid-1/best.pt", "team/masks/uid-1x/runs/9.9"]
    for key in (*other, "team/masks/result.json"):
        store.put(key, b'{"uid": "uid-0"}')
    assert restore(store, run_config(), "pod", tmp_path / "restore").run == 0
    train(store, tmp_path, Fence(0, 0), [10, 20, 30]).finish(artifacts(tmp_path))
    assert objects(store) == sorted([*OUTPUTS, *other])


def test_resuming_takes_the_newest_state_that_verifies(store: Store, tmp_path: Path) -> None:
    train(store, tmp_path, claim_run(store, KEYS, 0, "pod"), [10, 20, 30, 40])
    truncated, flipped = newest_files(store, "state.pt")[:2]
    store.put(truncated, store.read(truncated)[:-100])
    damage(store, flipped)
    found = restore(store, run_config(1), "pod-2", tmp_path / "restore")
    assert found.restored is not None
    assert found.restored.step == BEST_STEP
    assert [sentence.rpartition(" is ")[2] for sentence in found.skipped] == ["damaged.", "damaged."]
    assert found.file is not None
    assert load_state(Path(found.file))["step"] == BEST_STEP


def test_nothing_that_is_damaged_is_passed_over_in_silence(store: Store, tmp_path: Path) -> None:
    train(store, tmp_path, claim_run(store, KEYS, 0, "pod"), [10, 20, 30, 40])
    states, manifests = newest_files(store, "state.pt"), newest_files(store, "manifest.json")
    damage(store, manifests[0])
    store.delete(states[1])
    store.put(manifests[2], b"")
    found = restore(store, run_config(1), "pod-2", tmp_path / "restore")
    assert (found.restored, found.file) == (None, None)
    assert sorted(sentence.partition(": ")[2] for sentence in found.skipped) == [
        "its manifest is damaged.",
        "its manifest is damaged.",
        "its state.pt is gone.",
    ]


def test_a_fenced_writer_neither_publishes_nor_deletes(store: Store, tmp_path: Path) -> None:
    old = train(store, tmp_path / "old", claim_run(store, KEYS, 0, "pod"), [10])
    claim_run(store, KEYS, 1, "pod-2")
    before = objects(store)
    write_snapshot(tmp_path / "old/spool", state(20), meta(20))
    for forbidden in (old.store_waiting, lambda: old.finish(artifacts(tmp_path))):
        with pytest.raises(Fenced, match=r"Run 1\.0 of this job writes now"):
            forbidden()
    assert objects(store) == before


def test_a_writer_that_outlives_its_job_stops(store: Store, tmp_path: Path) -> None:
    old = train(store, tmp_path / "old", claim_run(store, KEYS, 0, "pod"), [10])
    found = restore(store, run_config(1), "pod-2", tmp_path / "restore")
    train(store, tmp_path / "new", Fence(1, found.run), [20]).finish(artifacts(tmp_path))
    write_snapshot(tmp_path / "old/spool", state(30), meta(30))
    with pytest.raises(Fenced, match="finished or deleted"):
        old.store_waiting()
    assert objects(store) == OUTPUTS


def test_nothing_to_go_on_from_is_said(store: Store, tmp_path: Path) -> None:
    found = restore(store, run_config(), "pod", tmp_path)
    assert (found.run, found.restored, found.skipped, found.completed) == (0, None, [], False)


def test_without_any_validation_the_final_model_is_the_best(store: Store, tmp_path: Path) -> None:
    up = uploader(store, tmp_path, claim_run(store, KEYS, 0, "pod"))
    for step, reason in ((41, "interval"), (42, "final")):
        write_snapshot(tmp_path / "spool", state(step), meta(step, reason))
        store_all(up)
    assert not store.head(KEYS.best)
    up.finish(artifacts(tmp_path))
    assert up.best is not None
    assert (up.best.step, up.best.fitness) == (42, None)
    assert objects(store) == OUTPUTS


def test_without_any_model_completing_says_so_and_deletes_nothing(store: Store, tmp_path: Path) -> None:
    up = train(store, tmp_path, claim_run(store, KEYS, 0, "pod"), [40])
    before = objects(store)
    with pytest.raises(NothingToPublish, match="there is nothing that best"):
        up.finish(artifacts(tmp_path))
    assert objects(store) == before


def test_a_damaged_best_model_is_replaced_by_its_second_copy(store: Store, tmp_path: Path) -> None:
    up = train(store, tmp_path, claim_run(store, KEYS, 0, "pod"), [10, 20, 40])
    damage(store, next(key for key in newest_files(store, "model.pt") if f"-{BEST_STEP}-" in key))
    up.finish(artifacts(tmp_path))
    assert up.best is not None
    assert up.best.step == BEST_STEP


def test_with_both_copies_damaged_the_next_best_is_published(store: Store, tmp_path: Path) -> None:
    up = train(store, tmp_path, claim_run(store, KEYS, 0, "pod"), [10, 20])
    damage(store, next(key for key in newest_files(store, "model.pt") if f"-{BEST_STEP}-" in key))
    damage(store, KEYS.best)
    up.finish(artifacts(tmp_path))
    assert up.best is not None
    assert up.best.step == 10


def test_a_new_uploader_repairs_best_and_status(store: Store, tmp_path: Path) -> None:
    fence = claim_run(store, KEYS, 0, "pod")
    first = train(store, tmp_path, fence, [10, 20])
    store.delete(KEYS.best)
    orphan = f"{KEYS.checkpoints}0.0-3-30-none-abcdefabcdef/state.pt"
    store.put(orphan, b"an upload that was cut off")
    second = uploader(store, tmp_path, fence)
    second.recover()
    assert (second.best, second.last) == (first.best, first.last)
    assert second.best is not None
    assert store.head(KEYS.best) is not None
    assert orphan not in objects(store)


def test_what_training_calls_best_never_replaces_a_better_stored_one(store: Store, tmp_path: Path) -> None:
    """Training resumed from an older checkpoint knows nothing of the best that came after it."""
    up = train(store, tmp_path, claim_run(store, KEYS, 0, "pod"), [20])
    write_snapshot(tmp_path / "spool", state(25), SnapshotMeta(2, 25, 0.29, is_best=True, reason="epoch"))
    store_all(up)
    assert up.best is not None
    assert up.best.step == BEST_STEP


def test_a_fitness_that_is_no_number_is_none(store: Store, tmp_path: Path) -> None:
    up = uploader(store, tmp_path, claim_run(store, KEYS, 0, "pod"))
    write_snapshot(tmp_path / "spool", state(5), SnapshotMeta(0, 5, float("nan"), is_best=True, reason="epoch"))
    store_all(up)
    assert [found.fitness for found in read_manifests(store, KEYS)] == [None]
    assert up.best is None


def test_a_deleted_output_of_a_complete_job_is_noticed(store: Store, tmp_path: Path) -> None:
    train(store, tmp_path, claim_run(store, KEYS, 0, "pod"), [10], Keep.ALL).finish(artifacts(tmp_path))
    store.delete("team/masks/best.pt")
    found = restore(store, run_config(1), "pod-2", tmp_path / "restore")
    assert not found.completed
    assert "complete once" in found.skipped[0]
    assert found.restored is not None


@pytest.mark.parametrize("honoured", [True, False])
def test_every_container_gets_its_own_run_number(store: Store, honoured: bool) -> None:
    server: Store = store if honoured else IgnoresConditions(store)
    claims = [claim_run(server, KEYS, 0, f"pod-{number}") for number in (3, 1, 2)]
    assert claims == [Fence(0, 0), Fence(0, 1), Fence(0, 2)]
    assert claim_run(server, KEYS, 1, "pod-4") == Fence(1, 0)
    store.put(f"{KEYS.runs}notes.txt", b"somebody else's file")
    assert claim_run(server, KEYS, 1, "pod-5") == Fence(1, 1)


def test_a_container_that_finds_the_job_complete_hears_what_followed_the_training(store: Store, tmp_path: Path) -> None:
    up = train(store, tmp_path, claim_run(store, KEYS, 0, "pod"), [10])
    said = Steps(evaluated=StepResult(done=False, reason="TimeLimit", message="After 600 s 1 source of 2 was done."))
    up.steps = lambda: said
    video = artifacts(tmp_path) / "evaluation" / "1-street" / "street.webm"
    video.parent.mkdir(parents=True)
    video.write_bytes(b"a video")
    up.finish(artifacts(tmp_path))
    assert store.read("team/masks/evaluation/1-street/street.webm") == b"a video"
    found = restore(store, run_config(1), "pod-2", tmp_path / "restore")
    assert (found.completed, found.steps) == (True, said)


def test_videos_of_an_earlier_model_are_gone_beside_the_next_one(store: Store, tmp_path: Path) -> None:
    earlier = train(store, tmp_path / "earlier", claim_run(store, KEYS, 0, "pod"), [10])
    video = artifacts(tmp_path / "earlier") / "evaluation" / "1-street" / "my street.webm"
    video.parent.mkdir(parents=True)
    video.write_bytes(b"a video")
    earlier.finish(artifacts(tmp_path / "earlier"))
    store.delete("team/masks/best.pt")
    restore(store, run_config(1), "pod-2", tmp_path / "restore")
    train(store, tmp_path, Fence(1, 0), [20]).finish(artifacts(tmp_path))
    assert objects(store) == OUTPUTS
