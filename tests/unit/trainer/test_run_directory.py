"""Documents between processes are whole or absent."""

from pathlib import Path

from masktrain_trainer.config import Outcome
from masktrain_trainer.files import write_text_atomically
from masktrain_trainer.pod.launch import Paths
from masktrain_trainer.run_directory import RunDirectory, read_document


def test_a_document_is_replaced_and_nothing_else_stays(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create()
    for reason in ("First", "Second"):
        write_text_atomically(run.outcome(0), Outcome.crashed(reason, "message").to_json())
    found = read_document(run.outcome(0), Outcome)
    assert found is not None
    assert found.reason == "Second"
    assert [path.name for path in run.root.iterdir() if path.is_file()] == ["outcome-0.json"]


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
