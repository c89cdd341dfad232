"""Checkpoints in real stores: published, killed at every write, restored, finished."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from masktrain_trainer.checkpoint.claim import claim_run
from masktrain_trainer.checkpoint.journal import read_manifests
from masktrain_trainer.checkpoint.keys import Fence, JobKeys
from masktrain_trainer.checkpoint.load import load_model_file, load_state
from masktrain_trainer.checkpoint.publish import Fenced
from masktrain_trainer.checkpoint.restore import restore
from masktrain_trainer.checkpoint.snapshot import SnapshotMeta, write_snapshot
from masktrain_trainer.checkpoint.spool import Spool
from masktrain_trainer.checkpoint.uploader import Uploader
from masktrain_trainer.config import Keep, RunConfig
from masktrain_trainer.stores import ObjectInfo, Store
from masktrain_trainer.stores.errors import PreconditionFailed
from masktrain_trainer.stores.folder import FolderStore

KEYS = JobKeys("team", "masks", "uid-1")
FITNESS = {10: 0.1, 20: 0.3, 30: 0.2, 40: None}
BEST_STEP = 20


def run_config(attempt: int = 0) -> RunConfig:
    document = {
        "namespace": KEYS.namespace,
        "name": KEYS.name,
        "uid": KEYS.uid,
        "attempt": attempt,
        "model": {},
        "dataset": {"uri": "s3://datasets/x.zip"},
        "training": {},
        "checkpoint": {"uri": "s3://checkpoints"},
        "hangTimeoutSeconds": 60,
        "stopGraceSeconds": 30,
    }
    return RunConfig.model_validate(document)


def state(step: int) -> dict[str, Any]:
    weights = {"weight": torch.full((8, 8), float(step)), "count": torch.tensor(step)}
    return {
        "format": "masktrain-state-v1",
        "step": step,
        "model": weights,
        "ema": {"updates": step, "state_dict": weights},
        "model_info": {"architecture": "yolov5n", "names": ["a", "b"], "image_size": 64},
        "metrics": {"mAP50": 0.5},
        "training": {"epochs": 4},
    }


def meta(step: int) -> SnapshotMeta:
    return SnapshotMeta(step // 10, step, FITNESS[step], is_best=step in (10, 20), reason="epoch")


def uploader(store: Store, folder: Path, fence: Fence, keep: Keep = Keep.BEST) -> Uploader:
    return Uploader(store, KEYS, fence, Spool(folder / "spool"), folder / "status.json", keep)


def train(store: Store, folder: Path, fence: Fence, steps: list[int]) -> Uploader:
    """Store a checkpoint of each step as a training process and its uploader would."""
    up = uploader(store, folder, fence)
    for step in steps:
        write_snapshot(folder / "spool", state(step), meta(step))
        while up.store_waiting():
            pass
    return up


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "results.csv").write_text("epoch\n")
    return folder


def objects(store: Store) -> list[str]:
    return sorted(info.key for info in store.list(""))


def test_a_run_keeps_the_best_and_the_newest_two_then_only_the_outputs(
    store: Store, tmp_path: Path, artifacts: Path
) -> None:
    fence = claim_run(store, KEYS, 0, "pod")
    up = train(store, tmp_path, fence, [10, 20, 30, 40])
    assert sorted(found.step for found in read_manifests(store, KEYS)) == [20, 30, 40]
    assert up.best is not None
    assert up.last is not None
    assert (up.best.step, up.last.step) == (BEST_STEP, 40)
    up.finish(artifacts)
    assert objects(store) == ["team/masks/best.pt", "team/masks/result.json", "team/masks/results.csv"]
    store.download("team/masks/best.pt", tmp_path / "best.pt")
    model = load_model_file(tmp_path / "best.pt")
    assert (model.step, model.names, model.metrics) == (BEST_STEP, ["a", "b"], {"mAP50": 0.5})
    assert model.state_dict["weight"].dtype == torch.float16
    again = restore(store, run_config(1), "pod-2", tmp_path / "restore")
    assert again.completed
    assert again.best == up.best
    assert [key for key in objects(store) if "uid-1" in key] == []


def test_resuming_takes_the_newest_state_that_verifies(store: Store, tmp_path: Path) -> None:
    train(store, tmp_path, claim_run(store, KEYS, 0, "pod"), [10, 20, 30, 40])
    damaged, flipped = newest_states(store)[:2]
    store.put(damaged, store.read(damaged)[:-100])
    content = bytearray(store.read(flipped))
    content[len(content) // 2] ^= 1
    store.put(flipped, bytes(content))
    found = restore(store, run_config(1), "pod-2", tmp_path / "restore")
    assert found.restored is not None
    assert found.restored.step == BEST_STEP
    assert [sentence.rpartition(" is ")[2] for sentence in found.skipped] == ["damaged.", "damaged."]
    assert found.file is not None
    assert load_state(Path(found.file))["step"] == BEST_STEP


def newest_states(store: Store) -> list[str]:
    ordered = sorted(read_manifests(store, KEYS), key=lambda found: -found.step)
    return [f"{found.prefix(KEYS)}state.pt" for found in ordered]


def test_a_fenced_writer_neither_publishes_nor_deletes(store: Store, tmp_path: Path, artifacts: Path) -> None:
    old = train(store, tmp_path / "old", claim_run(store, KEYS, 0, "pod"), [10])
    claim_run(store, KEYS, 1, "pod-2")
    before = objects(store)
    write_snapshot(tmp_path / "old/spool", state(20), meta(20))
    with pytest.raises(Fenced):
        old.store_waiting()
    with pytest.raises(Fenced):
        old.finish(artifacts)
    assert objects(store) == before


def test_nothing_to_go_on_from_is_said(store: Store, tmp_path: Path) -> None:
    found = restore(store, run_config(), "pod", tmp_path)
    assert (found.run, found.restored, found.skipped, found.completed) == (0, None, [], False)


class IgnoresConditions:
    """A server that accepts conditional headers and does not look at them, as some do."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def put(self, key: str, body: bytes | Path, *, sha256: str | None = None, **conditions: Any) -> ObjectInfo:
        return self.store.put(key, body, sha256=sha256)

    def honours_conditional_writes(self) -> bool:
        return False


@pytest.mark.parametrize("honoured", [True, False])
def test_every_container_gets_its_own_run_number(store: Store, honoured: bool) -> None:
    server: Store = store if honoured else IgnoresConditions(store)
    claims = [claim_run(server, KEYS, 0, f"pod-{number}") for number in (3, 1, 2)]
    assert claims == [Fence(0, 0), Fence(0, 1), Fence(0, 2)]
    assert claim_run(server, KEYS, 1, "pod-4") == Fence(1, 0)


def test_a_lost_reply_does_not_cost_a_run_number(store: Store) -> None:
    class LosesReply(IgnoresConditions):
        def put(self, key: str, body: bytes | Path, *, sha256: str | None = None, **conditions: Any) -> ObjectInfo:
            self.store.put(key, body, sha256=sha256)
            raise PreconditionFailed("retried by the client after the first reply was lost")

        def honours_conditional_writes(self) -> bool:
            return True

    assert claim_run(LosesReply(store), KEYS, 0, "pod") == Fence(0, 0)


class Killed(BaseException):
    """The process ends here: nothing may catch it."""


class KilledAt(IgnoresConditions):
    """Ends the process right before its n-th change of the store."""

    def __init__(self, store: Store, writes: int) -> None:
        super().__init__(store)
        self.left = writes

    def _count(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    def put(self, key: str, body: bytes | Path, *, sha256: str | None = None, **conditions: Any) -> ObjectInfo:
        self._count()
        return self.store.put(key, body, sha256=sha256, **conditions)

    def copy(self, source: str, destination: str) -> None:
        self._count()
        self.store.copy(source, destination)

    def delete(self, key: str) -> None:
        self._count()
        self.store.delete(key)

    def honours_conditional_writes(self) -> bool:
        return True


def killed_runs(whole: Callable[[Store, Path], None], fresh: Callable[[int], tuple[Store, Path]]) -> Iterator[Store]:
    """The store after a kill before the first, the second, … change, until the run gets through."""
    for writes in range(200):
        store, folder = fresh(writes)
        try:
            whole(KilledAt(store, writes), folder)
        except Killed:
            yield store
        else:
            return
    pytest.fail("the run never ended")


def test_a_kill_between_any_two_writes_loses_nothing(tmp_path: Path) -> None:
    def whole(store: Store, folder: Path) -> None:
        up = train(store, folder, claim_run(store, KEYS, 0, "pod"), [10, 20, 30, 40])
        up.finish(folder / "artifacts")

    def fresh(number: int) -> tuple[Store, Path]:
        folder = tmp_path / str(number)
        (folder / "artifacts").mkdir(parents=True)
        (folder / "artifacts/results.csv").write_text("epoch\n")
        return FolderStore(folder / "store"), folder

    published = 0
    for number, store in enumerate(killed_runs(whole, fresh)):
        folder = tmp_path / str(number)
        steps = [found.step for found in read_manifests(store, KEYS)]
        found = restore(store, run_config(1), "pod-2", folder / "restore")
        assert not found.skipped, "a checkpoint that exists is never torn"
        if not found.completed:
            assert (found.restored.step if found.restored else 0) == max(steps, default=0) >= published
            remaining = [step for step in FITNESS if step > max(steps, default=0)]
            up = train(store, folder / "next", Fence(1, found.run), remaining)
            up.finish(folder / "artifacts")
        assert json.loads(store.read("team/masks/result.json"))["best"]["step"] == BEST_STEP
        left = objects(store)
        assert left == ["team/masks/best.pt", "team/masks/result.json", "team/masks/results.csv"]
    assert number > 30
