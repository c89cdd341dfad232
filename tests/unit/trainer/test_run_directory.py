"""Documents between processes are whole or absent."""

from pathlib import Path

from masktrain_trainer.config import Outcome
from masktrain_trainer.files import reserve, write_reserved, write_text_atomically
from masktrain_trainer.pod.launch import Paths
from masktrain_trainer.pod.outcome import read_outcomes
from masktrain_trainer.run_directory import RunDirectory, read_document
from tests.conftest import fill


def test_a_document_is_replaced_and_nothing_else_stays(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create()
    for reason in ("First", "Second"):
        write_text_atomically(run.outcome(0), Outcome.crashed(reason, "message").to_json())
    found = read_document(run.outcome(0), Outcome)
    assert found is not None
    assert found.reason == "Second"
    assert [path.name for path in run.root.iterdir() if path.is_file()] == ["outcome-0.json"]


def test_how_a_training_ended_is_said_on_a_full_disk_too(small_disk: Path) -> None:
    run = RunDirectory(small_disk / "run")
    run.create()
    for rank in (0, 1):
        reserve(run.outcome(rank))
    fill(small_disk)
    full = Outcome.crashed("OSError", "OSError: [Errno 28] No space left on device")
    for rank in (0, 1):
        write_reserved(run.outcome(rank), full.to_json())
    assert read_outcomes(run, (0, 1)) == [full, full]
    assert sorted(path.name for path in run.root.iterdir()) == ["artifacts", "outcome-0.json", "outcome-1.json"]


def test_without_room_at_the_start_nothing_is_reserved(small_disk: Path) -> None:
    run = RunDirectory(small_disk / "run")
    run.create()
    other = fill(small_disk)
    reserve(run.outcome(0))
    other.unlink()
    stopped = Outcome.stopped("Stopped at step 3.")
    write_reserved(run.outcome(0), stopped.to_json())
    assert read_document(run.outcome(0), Outcome) == stopped


def test_a_missing_or_foreign_document_is_none(tmp_path: Path) -> None:
    assert read_document(tmp_path / "none.json", Outcome) is None
    (tmp_path / "other.json").write_text("{}")
    assert read_document(tmp_path / "other.json", Outcome) is None


def test_a_new_run_starts_empty(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create()
    run.stop.touch()
    run.create()
    assert not run.stop.exists()
    assert run.artifacts.is_dir()


def test_the_environment_moves_every_path() -> None:
    paths = Paths.from_environment({"MASKTRAIN_WORKSPACE": "/a", "MASKTRAIN_SHARED_MEMORY": "/b"})
    assert (str(paths.data), str(paths.run.root), str(paths.spool)) == ("/a/data", "/a/run", "/b/masktrain/spool")
    assert paths.progress_port == 8080
