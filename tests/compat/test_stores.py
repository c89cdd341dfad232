"""Checkpoints of an earlier version: gone on from, added to, completed, and trusted only as far as they verify."""

from pathlib import Path

import pytest

from masktrain_trainer.checkpoint.fence import claim_run
from masktrain_trainer.checkpoint.keys import JobKeys
from masktrain_trainer.checkpoint.restore import restore
from masktrain_trainer.checkpoint.snapshot import write_snapshot
from masktrain_trainer.checkpoint.state_files import load_state
from masktrain_trainer.config import Keep, RunConfig
from masktrain_trainer.run_directory import RestoreResult
from masktrain_trainer.stores.folder import FolderStore
from masktrain_trainer.weights.load import load_model_file
from tests.compat.conftest import OpenStore
from tests.ddp.pod import Pod
from tests.ddp.tiny_dataset import write_dataset
from tests.stores import training_run
from tests.stores.training_run import artifacts, meta, objects, state, store_all, uploader

FINISHED = JobKeys("team", "finished", "11111111-0000-4000-8000-000000000001")
INTERRUPTED = JobKeys("team", "interrupted", "11111111-0000-4000-8000-000000000002")


def small(name: str) -> JobKeys:
    return JobKeys("team", name, f"uid-of-{name}")


def restored(folder: Path, keys: JobKeys, scratch: Path, *, attempt: int = 3, keep: str = "Best") -> RestoreResult:
    """What the restore stage of a new attempt finds."""
    document = training_run.run_config(attempt).model_dump(mode="json", by_alias=True, exclude_none=True)
    document |= {"namespace": keys.namespace, "name": keys.name, "uid": keys.uid}
    document["checkpoint"] = {"uri": folder.as_uri(), "keep": keep}
    return restore(FolderStore(folder), RunConfig.model_validate(document), "new-pod", scratch / "restored")


def damage(folder: Path, key: str) -> None:
    """Another content in the same length: a flipped byte in the middle."""
    content = bytearray((folder / key).read_bytes())
    content[len(content) // 2] ^= 255
    (folder / key).unlink()
    (folder / key).write_bytes(content)


def checkpoint_folders(folder: Path, keys: JobKeys) -> list[str]:
    """By the step in their names."""
    names = [path.name for path in (folder / keys.checkpoints).iterdir()]
    return sorted(names, key=lambda name: int(name.split("-")[2]))


def test_a_training_is_gone_on_with_at_its_newest_checkpoint(open_store: OpenStore, tmp_path: Path) -> None:
    found = restored(open_store("store"), INTERRUPTED, tmp_path)
    assert found.restored is not None
    assert found.best is not None
    assert (found.restored.epoch, found.restored.step, found.best.epoch, found.best.step) == (14, 21, 1, 6)
    assert (found.run, found.completed, found.skipped) == (0, False, [])
    document = load_state(Path(str(found.file)))
    assert document["step"] == 21
    assert len(document["model"]) == len(document["ema"]["state_dict"]) > 300


@pytest.mark.parametrize("broken", ["damaged state", "no state", "damaged manifest"])
def test_a_broken_newest_one_is_passed_over(open_store: OpenStore, tmp_path: Path, broken: str) -> None:
    folder = open_store("store")
    newest = INTERRUPTED.checkpoint(checkpoint_folders(folder, INTERRUPTED)[-1])
    if broken == "no state":
        (folder / newest / "state.pt").unlink()
    else:
        damage(folder, newest + ("manifest.json" if broken == "damaged manifest" else "state.pt"))
    found = restored(folder, INTERRUPTED, tmp_path)
    assert found.restored is not None
    assert found.restored.step == 20


def test_a_claim_is_higher_than_every_earlier_one(open_store: OpenStore, tmp_path: Path) -> None:
    assert restored(open_store("store"), INTERRUPTED, tmp_path, attempt=1).run == 1
    assert restored(open_store("small-store"), small("unconditional"), tmp_path, attempt=2).run == 1


@pytest.mark.parametrize(("name", "newest", "best"), [("interrupted", 40, 20), ("unconditional", 40, 20)])
def test_newest_and_best_over_several_fences(
    open_store: OpenStore, tmp_path: Path, name: str, newest: int, best: int
) -> None:
    found = restored(open_store("small-store"), small(name), tmp_path)
    assert found.restored is not None
    assert found.best is not None
    assert (found.restored.step, found.best.step) == (newest, best)


@pytest.mark.parametrize("keep", list(Keep))
def test_a_complete_job_is_not_trained_again(open_store: OpenStore, tmp_path: Path, keep: Keep) -> None:
    name = {Keep.BEST: "best", Keep.BEST_AND_LAST: "best-and-last", Keep.ALL: "all"}[keep]
    folder = open_store("small-store")
    found = restored(folder, small(f"finished-{name}"), tmp_path, keep=keep)
    assert found.completed
    assert found.best is not None
    assert found.best.step == 20
    assert [uri.rpartition("/")[2] for uri in found.outputs] == ["best.pt", "results.csv", "result.json"]


def test_a_complete_job_whose_best_is_gone_is_made_again(open_store: OpenStore, tmp_path: Path) -> None:
    folder = open_store("small-store")
    keys = small("finished-all")
    (folder / keys.output("best.pt")).unlink()
    found = restored(folder, keys, tmp_path, keep="All")
    assert not found.completed
    assert found.restored is not None
    assert found.restored.step == 40
    assert "best.pt is gone" in found.skipped[0]


def test_the_model_of_a_real_training_is_read(open_store: OpenStore, tmp_path: Path) -> None:
    folder = open_store("store")
    assert restored(folder, FINISHED, tmp_path, keep="BestAndLast").completed
    model = load_model_file(folder / FINISHED.output("best.pt"))
    assert (model.architecture, model.names, model.image_size) == ("yolov5n", ["red", "green"], 64)
    assert (model.epoch, model.step) == (1, 6)
    assert model.training["epochs"] == 4


@pytest.mark.parametrize("keep", list(Keep))
@pytest.mark.parametrize("name", ["interrupted", "unconditional"])
def test_checkpoints_are_added_and_the_job_completed(
    open_store: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, keep: Keep
) -> None:
    folder, keys = open_store("small-store"), small(name)
    monkeypatch.setattr(training_run, "KEYS", keys)
    store = FolderStore(folder)
    up = uploader(store, tmp_path, claim_run(store, keys, 3, "new-pod"), keep)
    write_snapshot(up.spool.folder, state(50), meta(50))
    store_all(up)
    assert up.last is not None
    assert up.best is not None
    assert (up.last.step, up.best.step) == (50, 20)
    up.finish(artifacts(tmp_path))
    assert (folder / keys.output("result.json")).exists()
    assert float(load_model_file(folder / keys.output("best.pt")).state_dict["weight"][0, 0]) == 20
    below = [key for key in objects(store) if key.startswith(keys.root)]
    assert all(key.startswith(keys.checkpoints) for key in below), "claims and pointers go with the rest"
    steps = {int(keys.checkpoint_id(key).split("-")[2]) for key in below}
    periodic = {30} if name == "unconditional" else set()
    assert steps >= periodic
    if keep is not Keep.ALL:
        assert steps == periodic | ({20, 50} if keep is Keep.BEST_AND_LAST else set())


def test_a_whole_pod_trains_on(open_store: OpenStore, tmp_path: Path) -> None:
    """The real supervisor, restore stage, ranks and uploader on a store that an earlier version has left."""
    folder = open_store("store")
    pod = Pod(
        folder=tmp_path / "pod",
        store=folder,
        dataset=write_dataset(tmp_path / "tiny.zip"),
        training={"epochs": 400},
        name=INTERRUPTED.name,
        uid=INTERRUPTED.uid,
        attempt=2,
        ranks=1,
    ).start()
    progress = pod.wait_until(lambda said: said.step > 21)
    pod.stop()
    assert pod.wait() == 75, pod.log
    assert progress.resumed_from is not None
    assert (progress.resumed_from.step, progress.skipped_checkpoints) == (21, [])
    assert pod.last_checkpoint.step > 21
    assert checkpoint_folders(folder, INTERRUPTED)[0].startswith("0.0-1-6-"), "the best one stays"
