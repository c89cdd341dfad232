"""One run's writes: no change after a look at the fence that fails, no file too old, one result of two writers."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from masktrain_trainer.checkpoint.catalog import Result, read_catalog, read_result
from masktrain_trainer.checkpoint.fence import claim_run
from masktrain_trainer.checkpoint.keys import Fence
from masktrain_trainer.checkpoint.manifest import LocalFile, Manifest
from masktrain_trainer.checkpoint.selection import LONGEST_UPLOAD, SWEEP_AGE
from masktrain_trainer.checkpoint.spool import SnapshotMeta
from masktrain_trainer.checkpoint.writer import CheckpointWriter
from masktrain_trainer.config import Keep, StepResult, Steps
from masktrain_trainer.errors import ConditionsUnsupported, Fenced, ObjectMissing, PreconditionFailed, StoreUnavailable
from masktrain_trainer.files import sha256_of
from masktrain_trainer.stores import Store
from masktrain_trainer.stores.folder import FolderStore
from tests.stores.training_run import KEYS, Wrapped, artifacts, objects

FITNESS = {10: 0.1, 20: 0.3, 30: 0.2}


@dataclass
class Clock:
    ahead: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Noticed(Wrapped):
    """Something happens once, right after the first operation of this name on a key with this end."""

    def __init__(self, store: Store, operation: str, end: str, happening: Callable[[], object]) -> None:
        super().__init__(store)
        self.operation, self.end, self.happenings = operation, end, [happening]

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        if name != self.operation:
            return found

        def noticed(key: str, *arguments: Any, **options: Any) -> Any:
            try:
                return found(key, *arguments, **options)
            finally:
                if key.endswith(self.end) and self.happenings:
                    self.happenings.pop()()

        return noticed


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writer(store: FolderStore, clock: Clock) -> CheckpointWriter:
    return CheckpointWriter(store, KEYS, claim_run(store, KEYS, 0, "pod"), clock)


def files(folder: Path, step: int) -> list[LocalFile]:
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name in ("state.pt", "model.pt"):
        path = folder / f"{step}-{name}"
        path.write_text(path.name)
        found.append(LocalFile(name, path, sha256_of(path), path.stat().st_size))
    return found


def publish(writer: CheckpointWriter, folder: Path, *steps: int) -> list[Manifest]:
    """Checkpoints whose files hold their own names."""
    return [
        writer.publish(files(folder, step), SnapshotMeta(step // 10, step, FITNESS[step], is_best=True, reason="epoch"))
        for step in steps
    ]


def metrics(path: Path) -> dict[str, float]:
    return {"step": float(path.read_text().partition("-")[0])}


def overtake(writer: CheckpointWriter) -> Callable[[], object]:
    return lambda: claim_run(writer.store, KEYS, 1, "pod-2")


def noticed(writer: CheckpointWriter, operation: str, end: str, happening: Callable[[], object]) -> CheckpointWriter:
    return replace(writer, store=Noticed(writer.store, operation, end, happening))


def test_a_fenced_writer_sends_no_file(writer: CheckpointWriter, store: Store, tmp_path: Path) -> None:
    overtake(writer)()
    before = objects(store)
    with pytest.raises(Fenced):
        publish(writer, tmp_path, 10)
    assert objects(store) == before


def test_a_writer_that_is_fenced_while_it_sends_writes_no_manifest(writer: CheckpointWriter, tmp_path: Path) -> None:
    with pytest.raises(Fenced):
        publish(noticed(writer, "put", "model.pt", overtake(writer)), tmp_path, 10)
    assert read_catalog(writer.store, KEYS).manifests == []


def test_what_took_longer_than_a_sweep_waits_is_no_checkpoint(
    writer: CheckpointWriter, clock: Clock, tmp_path: Path
) -> None:
    def stall() -> None:
        clock.ahead += LONGEST_UPLOAD + timedelta(seconds=1)

    with pytest.raises(StoreUnavailable, match="took longer than"):
        publish(noticed(writer, "put", "state.pt", stall), tmp_path, 10)
    assert read_catalog(writer.store, KEYS).manifests == []


@pytest.mark.parametrize(("hours", "taken_over"), [(0.9, True), (1.1, False), (-0.9, True), (-1.1, False)])
def test_files_of_an_earlier_try_are_taken_over_while_no_sweep_may_take_them(
    writer: CheckpointWriter, store: Store, tmp_path: Path, hours: float, taken_over: bool
) -> None:
    (manifest,) = publish(writer, tmp_path, 10)
    prefix = manifest.prefix(KEYS)
    store.delete(prefix + "manifest.json")
    stored = tmp_path / "store" / prefix / "state.pt"
    moment = (datetime.now(UTC) - timedelta(hours=hours)).timestamp()
    os.utime(stored, (moment, moment))
    publish(writer, tmp_path, 10)
    assert (stored.stat().st_mtime == pytest.approx(moment)) == taken_over


def complete(writer: CheckpointWriter, folder: Path, keep: Keep = Keep.BEST) -> Result:
    return writer.complete(artifacts(folder), keep, metrics)


def outputs(store: Store) -> list[str]:
    return [key for key in objects(store) if not key.startswith(KEYS.root)]


def test_a_fenced_writer_cleans_nothing_up(writer: CheckpointWriter, store: Store, tmp_path: Path) -> None:
    manifests = publish(writer, tmp_path, 10)
    result = complete(writer, tmp_path, Keep.ALL)
    claim_run(store, KEYS, 0, "pod")
    overtake(writer)()
    before = objects(store)
    with pytest.raises(Fenced):
        writer.clean_up(result, manifests, Keep.BEST)
    assert objects(store) == before


@pytest.mark.parametrize(
    ("operation", "end", "left"),
    [
        pytest.param("copy", "model.pt", [], id="before its copy is published"),
        pytest.param("download", "best.pt", ["best.pt"], id="before an artifact is published"),
        pytest.param("put", "results.csv", ["best.pt", "results.csv"], id="before the result is written"),
    ],
)
def test_a_writer_that_is_fenced_while_it_completes_goes_no_further(
    writer: CheckpointWriter, store: Store, tmp_path: Path, operation: str, end: str, left: list[str]
) -> None:
    publish(writer, tmp_path, 10)
    with pytest.raises(Fenced):
        complete(noticed(writer, operation, end, overtake(writer)), tmp_path)
    assert outputs(store) == [KEYS.output(name) for name in left]


@pytest.mark.parametrize("second_copy", [True, False])
def test_a_writer_that_is_fenced_copies_no_model(
    writer: CheckpointWriter, store: Store, tmp_path: Path, second_copy: bool
) -> None:
    publish(writer, tmp_path, 10)
    if second_copy:
        writer.reconcile(read_catalog(store, KEYS), Keep.BEST)
    with pytest.raises(Fenced):
        complete(noticed(writer, "read_with_etag", "result.json", overtake(writer)), tmp_path)
    assert outputs(store) == []
    assert (KEYS.best in objects(store)) == second_copy


def test_a_late_copy_to_the_outputs_finds_no_source(writer: CheckpointWriter, store: Store, tmp_path: Path) -> None:
    """The writer that completes the job has taken it away."""
    publish(writer, tmp_path, 10)
    with pytest.raises(ObjectMissing):
        complete(noticed(writer, "copy", "model.pt", lambda: store.delete(KEYS.best)), tmp_path, Keep.ALL)
    assert outputs(store) == []


def test_a_writer_whose_models_another_one_has_deleted_is_fenced(
    writer: CheckpointWriter, store: Store, tmp_path: Path
) -> None:
    (manifest,) = publish(writer, tmp_path, 10)

    def complete_elsewhere() -> None:
        claim_run(store, KEYS, 1, "pod-2")
        store.delete(manifest.prefix(KEYS) + "model.pt")

    with pytest.raises(Fenced):
        complete(noticed(writer, "read_with_etag", "result.json", complete_elsewhere), tmp_path)


def test_a_model_copy_that_is_replaced_between_two_steps_is_made_again(
    writer: CheckpointWriter, store: Store, tmp_path: Path
) -> None:
    publish(writer, tmp_path, 10, 20)
    late = noticed(writer, "copy", "model.pt", lambda: store.put(KEYS.best, b"10-model.pt"))
    assert complete(late, tmp_path).best.step == 20


def test_a_result_that_another_writer_has_written_meanwhile_stays(
    writer: CheckpointWriter, store: Store, tmp_path: Path
) -> None:
    """Of two that both pass the last look at the fence, the later one loses."""
    publish(writer, tmp_path, 10)
    theirs = b'{"of": "another run"}'
    late = noticed(writer, "put", "results.csv", lambda: store.put(KEYS.output("result.json"), theirs))
    with pytest.raises(PreconditionFailed):
        complete(late, tmp_path)
    assert store.read(KEYS.output("result.json")) == theirs


def test_a_server_without_conditions_gets_a_plain_result(writer: CheckpointWriter, tmp_path: Path) -> None:
    class Plain(Wrapped):
        def put(self, key: str, body: bytes | Path, **options: Any) -> Any:
            if options.get("if_absent") or options.get("if_match"):
                raise ConditionsUnsupported("The server does not support conditional writes.")
            return self.store.put(key, body, **options)

    publish(writer, tmp_path, 10)
    complete(replace(writer, store=Plain(writer.store)), tmp_path)
    assert read_result(writer.store, KEYS) is not None


def test_an_output_that_is_replaced_before_the_clean_up_is_published_anew(
    writer: CheckpointWriter, store: Store, tmp_path: Path
) -> None:
    publish(writer, tmp_path, 10)
    target = KEYS.output("best.pt")
    replaced = noticed(writer, "delete", KEYS.best, lambda: store.put(target, b"of the writer before"))
    with pytest.raises(StoreUnavailable, match="published anew"):
        complete(replaced, tmp_path)
    result = complete(writer, tmp_path)
    assert sha256_of(store.read(target)) == result.best.sha256


def test_a_job_without_a_claim_is_finished_if_its_outputs_are_in_place(
    writer: CheckpointWriter, store: Store, tmp_path: Path
) -> None:
    publish(writer, tmp_path, 10)
    assert writer.finished_before() is None

    def lose() -> None:
        raise StoreUnavailable("The answer is lost.")

    with pytest.raises(StoreUnavailable):
        complete(noticed(writer, "delete", f"/{writer.fence}", lose), tmp_path)
    assert list(store.list(KEYS.root)) == []
    found = writer.finished_before()
    assert found is not None
    assert found.best.step == 10
    store.delete(KEYS.output("best.pt"))
    assert writer.finished_before() is None


def test_a_model_that_does_not_load_gives_way_to_the_next_best(writer: CheckpointWriter, tmp_path: Path) -> None:
    publish(writer, tmp_path, 10, 20, 30)

    def read(path: Path) -> dict[str, float]:
        found = metrics(path)
        if found["step"] == 20:
            raise ValueError("It is of format masktrain-model-v9.")
        return found | {"lost": float("nan")}

    result = writer.complete(artifacts(tmp_path), Keep.BEST, read)
    assert (result.best.step, result.metrics) == (30, {"step": 30.0})


def test_a_finished_result_needs_no_model_that_this_version_loads(writer: CheckpointWriter, tmp_path: Path) -> None:
    publish(writer, tmp_path, 10, 20)

    def stop() -> None:
        raise StoreUnavailable("The store is away.")

    with pytest.raises(StoreUnavailable):
        complete(noticed(writer, "delete", KEYS.best, stop), tmp_path)

    def refuse(_: Path) -> dict[str, float]:
        raise ValueError("It is of format masktrain-model-v9.")

    assert writer.complete(artifacts(tmp_path), Keep.BEST, refuse).best.step == 20


@pytest.mark.parametrize("lost", [["state.pt"], ["model.pt"], ["state.pt", "model.pt"]])
def test_the_best_model_outlives_what_else_its_checkpoint_had(
    writer: CheckpointWriter, store: Store, tmp_path: Path, lost: list[str]
) -> None:
    _, best, _ = publish(writer, tmp_path, 10, 20, 30)
    store.copy(best.prefix(KEYS) + "model.pt", KEYS.best)
    for name in lost:
        store.delete(best.prefix(KEYS) + name)
    found = writer.reconcile(read_catalog(store, KEYS), Keep.ALL)
    assert found.best is not None
    assert found.last is not None
    assert (found.best.step, found.last.step) == (20, 30)
    assert store.read(KEYS.best) == b"20-model.pt"
    assert complete(writer, tmp_path).best.step == 20


def test_a_fast_clock_makes_no_live_writers_files_old(
    writer: CheckpointWriter, store: Store, clock: Clock, tmp_path: Path
) -> None:
    publish(writer, tmp_path, 10)
    file = KEYS.checkpoint("0.0-2-20-0.3-abc") + "state.pt"
    store.put(file, b"of an upload that goes on")
    clock.ahead = 8 * SWEEP_AGE
    replace(writer, fence=Fence(1, 0)).reconcile(read_catalog(store, KEYS), Keep.BEST)
    assert file in objects(store)


def test_a_manifest_that_lost_all_its_files_goes_when_it_is_old(
    writer: CheckpointWriter, store: Store, clock: Clock, tmp_path: Path
) -> None:
    lost, _ = publish(writer, tmp_path, 10, 20)
    for file in lost.files:
        store.delete(lost.prefix(KEYS) + file.name)
    key = lost.prefix(KEYS) + "manifest.json"
    later = replace(writer, fence=claim_run(store, KEYS, 1, "pod-2"))
    for one in (writer, later):
        if one is later:
            moment = (datetime.now(UTC) - SWEEP_AGE - timedelta(minutes=1)).timestamp()
            os.utime(tmp_path / "store" / key, (moment, moment))
        one._delete_superseded(read_catalog(store, KEYS), Keep.BEST)
        assert (key in objects(store)) == (one is writer)


def put_all(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_nothing_hidden_is_published_however_deep(writer: CheckpointWriter, store: Store, tmp_path: Path) -> None:
    publish(writer, tmp_path, 10)
    hidden = (".twins/best.onnx", ".tmp/a/b.png", "evaluation/.half/c.webm", "evaluation/1-a/.d", ".e")
    put_all(artifacts(tmp_path), *hidden, "evaluation/1-a/a.png")
    complete(writer, tmp_path)
    published = ("best.pt", "evaluation/1-a/a.png", "result.json", "results.csv")
    assert outputs(store) == [KEYS.output(name) for name in published]


@pytest.mark.parametrize("lost", ["size", "checksum"])
def test_an_artifact_that_arrives_as_another_one_is_sent_again(
    writer: CheckpointWriter, store: Store, tmp_path: Path, lost: str
) -> None:
    """Artifacts are verified as checkpoints are."""

    class Damaging(Wrapped):
        def put(self, key: str, body: bytes | Path, **options: Any) -> Any:
            found = self.store.put(key, body, **options)
            if not key.endswith(".csv"):
                return found
            return replace(found, size=found.size - 1) if lost == "size" else replace(found, sha256="0" * 64)

    publish(writer, tmp_path, 10)
    with pytest.raises(StoreUnavailable, match=r"results\.csv was uploaded, but the store shows another file"):
        complete(replace(writer, store=Damaging(store)), tmp_path)
    assert read_result(store, KEYS) is None
    assert complete(writer, tmp_path).outputs


def test_what_an_earlier_jobs_model_left_goes_before_a_new_model_comes(
    writer: CheckpointWriter, store: Store, tmp_path: Path
) -> None:
    earlier = replace(
        writer, keys=replace(KEYS, uid="uid-0"), fence=claim_run(store, replace(KEYS, uid="uid-0"), 0, "p")
    )
    publish(earlier, tmp_path / "earlier", 20)
    put_all(artifacts(tmp_path / "earlier"), "best.onnx", "evaluation/1-old/old.webm", "evaluation/2-both/a.png")
    complete(earlier, tmp_path / "earlier")
    notes = (KEYS.output("notes.txt"), KEYS.output("evaluation/mine.txt"), "team/masks/uid-9/best.pt")
    for key in notes:
        store.put(key, b"of somebody else")
    publish(writer, tmp_path, 10)
    put_all(artifacts(tmp_path), "evaluation/2-both/a.png")
    beside: list[str] = []
    target = KEYS.output("best.pt")
    watched = noticed(writer, "copy", "uid-1/best.pt", lambda: beside.extend(outputs(store)))
    complete(watched, tmp_path)
    assert sorted({target, KEYS.output("result.json"), *notes}) == sorted(beside)
    new = (target, KEYS.output("evaluation/2-both/a.png"), KEYS.output("result.json"), KEYS.output("results.csv"))
    assert outputs(store) == sorted([*new, *notes])


def test_a_fenced_writer_takes_no_earlier_output_away(writer: CheckpointWriter, store: Store, tmp_path: Path) -> None:
    publish(writer, tmp_path, 10)
    put_all(artifacts(tmp_path), "best.onnx")
    complete(writer, tmp_path, Keep.ALL)
    store.delete(KEYS.output("best.pt"))
    again = replace(writer, fence=claim_run(store, KEYS, 0, "pod"))
    with pytest.raises(Fenced):
        complete(noticed(again, "list", KEYS.output(""), overtake(writer)), tmp_path)
    assert KEYS.output("best.onnx") in objects(store)


def test_what_followed_the_training_stands_in_the_result(
    writer: CheckpointWriter, store: Store, tmp_path: Path
) -> None:
    publish(writer, tmp_path, 10)
    steps = Steps(exported=StepResult(done=False, reason="AccuracyLoss", message="best.onnx is refused."))
    writer.complete(artifacts(tmp_path), Keep.BEST, metrics, lambda: steps)
    found = read_result(store, KEYS)
    assert found is not None
    assert found.steps == steps
