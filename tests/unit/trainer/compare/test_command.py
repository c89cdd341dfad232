"""`masktrain compare` as a person calls it, on a small film with models that nobody has trained."""

import csv
import zipfile
from pathlib import Path

import cv2
import pytest
import torch
from click.testing import CliRunner, Result

from masktrain_trainer.cli.main import main
from masktrain_trainer.compare.command import megabytes
from masktrain_trainer.compare.videos import read_back, shrunk_to_fit
from tests.conftest import fill

from .models import write_film, write_model

FRAMES = 16


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("compare")
    write_model(folder / "a.pt", ["mask", "no mask"])
    write_model(folder / "b.pt", ["no mask", "visor", "mask"], seed=1, sees=2, objectness=0.0)
    write_model(folder / "cat.pt", ["cat"])
    write_film(folder / "film.mp4", FRAMES)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments), "--device", "cpu"])


@pytest.fixture(scope="module")
def done(place: Path) -> Result:
    films = ("--source", place / "film.mp4", "--output", place / "out", "--frames", 5)
    return run(place / "a.pt", place / "b.pt", *films)


def test_the_verdict_and_the_paths_are_printed(done: Result, place: Path) -> None:
    assert done.exit_code == 0, done.output
    sentence, *paths = done.stdout.splitlines()
    assert "b.pt (yolov5n)" in sentence
    assert sentence.endswith(".")
    assert [path.split()[0] for path in paths][:3] == [
        str(place / "out" / name) for name in ("compare.html", "compare.webm", "counts.csv")
    ]
    assert "Only b.pt (yolov5n) knows visor" in done.stderr
    assert sorted(path.name for path in (place / "out").iterdir()) == [
        ".masktrain-results",
        "compare.html",
        "compare.webm",
        "counts.csv",
        "to-label.zip",
    ]


def test_both_are_side_by_side_in_the_video(done: Result, place: Path) -> None:
    assert done.exit_code == 0
    video = cv2.VideoCapture(str(place / "out" / "compare.webm"))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(10, abs=0.1)
    video.release()
    frames = list(read_back(place / "out" / "compare.webm"))
    assert len(frames) == FRAMES
    assert frames[0].shape == (64 + 36, 2 * 96, 3)
    # The titles are written in light letters on a dark bar.
    assert frames[0][:36].max() > 150
    assert frames[0][:36].mean() < 80


def test_counts_have_a_row_for_each_frame(done: Result, place: Path) -> None:
    assert done.exit_code == 0
    rows = list(csv.DictReader((place / "out" / "counts.csv").read_text(encoding="utf-8").splitlines()))
    assert [int(row["frame"]) for row in rows] == list(range(1, FRAMES + 1))
    assert sum(int(row["A mask"]) for row in rows) > 0
    assert rows[10]["seconds"] == "1.000"


def test_the_frames_to_label_are_a_data_set(done: Result, place: Path) -> None:
    """Which `data check` reads without an objection to its layout."""
    assert done.exit_code == 0
    archive = place / "out" / "to-label.zip"
    with zipfile.ZipFile(archive) as content:
        images = [name for name in content.namelist() if name.endswith(".jpg")]
        labelled = [name for name in content.namelist() if name.endswith(".txt")]
    assert 1 <= len(images) <= 5
    assert len(labelled) == len(images)
    checked = CliRunner().invoke(main, ["data", "check", str(archive), "--output", str(place / "check")])
    assert checked.exit_code == 0, checked.output


def test_the_same_model_twice_is_no_verdict(place: Path) -> None:
    result = run(
        place / "a.pt", place / "a.pt", "--source", place / "film.mp4", "--output", place / "same", "--seconds", 0.5
    )
    assert result.exit_code == 0, result.output
    assert "A: a.pt (yolov5n) and B: a.pt (yolov5n) find the same boxes everywhere" in result.stdout
    assert len(list(read_back(place / "same" / "compare.webm"))) == 5


def test_a_folder_of_pictures_of_several_sizes_is_compared(place: Path) -> None:
    pictures = place / "pictures"
    pictures.mkdir()
    for number, frame in enumerate(read_back(place / "film.mp4")):
        if number < 3:
            cv2.imwrite(str(pictures / f"{number}.png"), frame[: 64 - 20 * number])
    result = run(place / "a.pt", place / "b.pt", "--source", pictures, "--output", place / "folder")
    assert result.exit_code == 0, result.output
    assert [frame.shape for frame in read_back(place / "folder" / "compare.webm")] == [(100, 192, 3)] * 3


@pytest.mark.parametrize(
    ("first", "second", "more", "words"),
    [
        ("a.pt", "cat.pt", (), "no class in common: mask, no mask and cat"),
        ("a.pt", "missing.pt", (), "missing.pt do not exist"),
        ("a.pt", "b.pt", ("--source", "missing.mp4"), "missing.mp4"),
        ("a.pt", "b.pt", ("--device", "gpu7"), "--device gpu7 is no device"),
        ("a.pt", "b.pt", ("--device", "99"), "--device 99 is not there"),
        ("a.pt", "b.pt", ("--output", "film.mp4"), "is a file"),
    ],
)
def test_what_cannot_work_is_one_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str, more: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(place)
    arguments = ["compare", first, second, "--source", "film.mp4", "--output", "refused", *more]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 64, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert not (place / "refused").exists()


def test_videos_are_made_small_enough_for_the_page(done: Result, place: Path) -> None:
    assert done.exit_code == 0
    whole = place / "out" / "compare.webm"
    assert shrunk_to_fit((whole, whole), 10.0, most=1 << 30) == ((whole, whole), None)
    copy = place / "wide.webm"
    copy.write_bytes(whole.read_bytes())
    (small, _), said = shrunk_to_fit((copy, copy), 10.0, most=1)
    assert said is not None
    assert "scaled to 160 pixels" in said
    assert next(read_back(small)).shape[1] == 160


def test_a_full_disk_is_one_sentence(place: Path, small_disk: Path) -> None:
    fill(small_disk)
    films = ("--source", place / "film.mp4", "--output", small_disk / "out", "--frames", 5)
    result = run(place / "a.pt", place / "b.pt", *films)
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert "No space left on device" in last
    assert str(small_disk / "out") in last
    assert "Errno" not in result.output


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_bytes(b"x" * 1_000)
    (tmp_path / "model.bin").write_bytes(b"x" * 999_000)
    assert megabytes(str(tmp_path)) == megabytes(str(tmp_path / "model.xml")) == pytest.approx(1)
    assert megabytes("s3://bucket/best.pt") is None
