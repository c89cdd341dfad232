"""Sample media after a training: what is done in time is kept, and what cannot be read costs itself only."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masktrain_trainer.config import EvaluationSpec
from masktrain_trainer.detect.job import evaluate_media
from masktrain_trainer.run_directory import RunDirectory
from tests.unit.trainer.export.conftest import write_best

NOWHERE = Path("/nowhere")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_best(tmp_path_factory.mktemp("weights") / "best.pt")


@pytest.fixture
def run(tmp_path: Path, weights: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.create()
    directory.best_model.write_bytes(weights.read_bytes())
    return directory


def media(folder: Path, *names: str) -> list[str]:
    for name in names:
        Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(folder / name)
    return [(folder / name).as_uri() for name in names]


def test_each_source_has_a_folder_of_its_own(run: RunDirectory, tmp_path: Path) -> None:
    spec = EvaluationSpec(sources=media(tmp_path, "a.png", "b.jpg"))
    result = evaluate_media(spec, run, NOWHERE)
    assert (result.done, result.reason) == (True, "Evaluated")
    found = sorted(str(path.relative_to(run.evaluated_media)) for path in run.evaluated_media.rglob("*.[pj]*g"))
    assert found == ["1-a/a.png", "2-b/b.jpg"]
    assert not list(run.root.glob("media-*"))


def test_a_source_that_is_not_there_costs_itself_only(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "no film.mp4").write_bytes(b"text")
    gone = (tmp_path / "gone.mp4").as_uri()
    spec = EvaluationSpec(sources=[gone, (tmp_path / "no film.mp4").as_uri(), *media(tmp_path, "a.png")])
    result = evaluate_media(spec, run, NOWHERE)
    assert (result.done, result.reason) == (False, "SourceUnusable")
    assert result.message.startswith(f"{gone} does not exist; correct evaluation.sources.")
    assert result.message.endswith("1 more could not be used; the log has them.")
    assert (run.evaluated_media / "3-a" / "a.png").exists()


def test_time_that_is_up_ends_it_with_what_was_done(run: RunDirectory, tmp_path: Path) -> None:
    spec = EvaluationSpec.model_construct(sources=media(tmp_path, "a.png", "b.png"), store=None, time_limit_seconds=0)
    result = evaluate_media(spec, run, NOWHERE)
    assert (result.done, result.reason) == (False, "TimeLimit")
    assert result.message == (
        "After 0 s (evaluation.timeLimitSeconds) 0 sources of 2 were done; what was begun plays up to there."
    )
