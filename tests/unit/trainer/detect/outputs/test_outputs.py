"""Pictures, labels, tables and crops: what lies in the folder afterwards."""

import csv
import json
from pathlib import Path, PurePath

import numpy as np
import pytest
from PIL import Image

from masktrain_trainer.data.source.pictures import read_picture
from masktrain_trainer.detect.detector import Detection
from masktrain_trainer.detect.outputs.base import Detected
from masktrain_trainer.detect.outputs.labels import CsvTable, JsonLines, LabelFiles
from masktrain_trainer.detect.outputs.naming import Destination, FreeNames, write_whole
from masktrain_trainer.detect.outputs.pictures import Artist, Crops, PictureFiles, cut_out, picture_names
from masktrain_trainer.detect.sources.base import Frame, Kind, Medium
from masktrain_trainer.errors import InvalidConfiguration, UnwritableResults
from masktrain_trainer.files import make_results_folder
from masktrain_trainer.predict.drawing import BoxStyle
from tests.conftest import fill

NAMES = ["mask", "=no/mask"]
FOUND = (
    Detection(1, NAMES[1], 0.9, (10.0, 20.0, 30.0, 40.0)),
    Detection(0, NAMES[0], 0.5, (0.0, 0.0, 100.0, 50.0)),
    Detection(1, NAMES[1], 0.4, (90.0, 40.0, 100.0, 50.0)),
)


def detected(name: str, kind: Kind = Kind.PICTURE, number: int = 0, found: tuple[Detection, ...] = FOUND) -> Detected:
    medium = Medium(PurePath(name), kind, f"given/{name}")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 100, 3), dtype=np.uint8)
    return Detected(Frame(medium, number, number / 10, pixels), found)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_labels_lie_as_in_yolov5(tmp_path: Path) -> None:
    labels = LabelFiles(tmp_path, confidences=False)
    for one in (
        detected("sub/a.b.jpg"),
        detected("sub/a.b.png"),
        detected("empty.jpg", found=()),
        detected("clip.mp4", Kind.VIDEO, 0),
        detected("clip.mp4", Kind.VIDEO, 16),
        detected("camera.example-8554", Kind.LIVE, 2),
    ):
        labels.write(one)
    assert files(tmp_path / "labels") == [
        "camera.example-8554_3.txt",
        "clip_1.txt",
        "clip_17.txt",
        "sub/a.b.png.txt",
        "sub/a.b.txt",
    ]
    lines = (tmp_path / "labels" / "sub" / "a.b.txt").read_text().splitlines()
    assert lines == ["1 0.2 0.6 0.2 0.4", "0 0.5 0.5 1 1", "1 0.95 0.9 0.1 0.2"]


def test_labels_may_have_confidences(tmp_path: Path) -> None:
    LabelFiles(tmp_path, confidences=True).write(detected("a.jpg"))
    assert (tmp_path / "labels" / "a.txt").read_text().startswith("1 0.2 0.6 0.2 0.4 0.9\n")


def test_the_table_has_a_row_for_each_box_and_no_formula(tmp_path: Path) -> None:
    table = CsvTable(tmp_path)
    table.write(detected("a.jpg"))
    table.write(detected("b.mp4", Kind.VIDEO, 3, FOUND[:1]))
    table.close()
    rows = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["'=no/mask", "mask", "'=no/mask", "'=no/mask"]
    assert rows[3] == {
        "medium": "b.mp4",
        "frame": "4",
        "seconds": "0.300",
        "class": "1",
        "name": "'=no/mask",
        "confidence": "0.9000",
        "x1": "10.00",
        "y1": "20.00",
        "x2": "30.00",
        "y2": "40.00",
        "width": "100",
        "height": "50",
    }


def test_a_line_of_json_tells_of_each_frame_also_of_nothing(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path)
    lines.write(detected("a.jpg"))
    lines.write(detected("b.mp4", Kind.VIDEO, 3, ()))
    lines.close()
    lines.close()
    first, second = map(json.loads, (tmp_path / "predictions.jsonl").read_text().splitlines())
    assert first["detections"][0] == {"class": 1, "name": "=no/mask", "confidence": 0.9, "xyxy": [10, 20, 30, 40]}
    assert second == {"medium": "b.mp4", "frame": 4, "seconds": 0.3, "width": 100, "height": 50, "detections": []}


def test_crops_lie_in_folders_of_their_classes(tmp_path: Path) -> None:
    crops = Crops(tmp_path, NAMES)
    crops.write(detected("a.jpg"))
    crops.write(detected("clip.mp4", Kind.VIDEO, 4, FOUND[:1]))
    assert files(tmp_path / "crops") == ["=no_mask/a-2.jpg", "=no_mask/a.jpg", "=no_mask/clip_5.jpg", "mask/a.jpg"]
    with Image.open(tmp_path / "crops" / "mask" / "a.jpg") as whole:
        assert whole.size == (100, 50)


@pytest.mark.parametrize("name", ["..", "../../up", ".hidden", "", "a/b"])
def test_no_class_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    Crops(folder, [name, name]).write(detected("a.jpg", found=FOUND[:1]))
    (crop,) = tmp_path.rglob("*.jpg")
    assert crop.parent.parent == folder / "crops"


@pytest.mark.parametrize("xyxy", [(0, 0, 0, 0), (100, 50, 100, 50), (-5, -5, -1, -1), (40, 40, 30, 30)])
def test_a_crop_has_at_least_a_pixel(xyxy: tuple[float, float, float, float]) -> None:
    assert min(cut_out(np.zeros((50, 100, 3), np.uint8), xyxy).shape) > 0


def test_pictures_keep_their_names_and_none_takes_that_of_another(tmp_path: Path) -> None:
    pictures = PictureFiles(tmp_path, Artist(NAMES, BoxStyle()))
    paths = []
    for name in ("a.pgm", "a.pgm.png", "a.pgm.png.png", "sub/b.JPG", "c"):
        pictures.write(detected(name))
        assert pictures.path is not None
        paths.append(str(pictures.path.relative_to(tmp_path)))
    assert paths == ["a.pgm.png", "a.pgm.png.png", "a.pgm.png.png.png", "sub/b.JPG", "c.png"]
    for path in paths:
        assert isinstance(read_picture(tmp_path / path), np.ndarray)
    assert (tmp_path / ".masktrain-results").exists()


@pytest.mark.parametrize("name", ["a.webp", "a.jpg", "a.mpo", "a.gif"])
def test_pictures_that_are_too_long_for_their_ending_become_png(name: str) -> None:
    assert picture_names(PurePath(name), (4, 66_000)) == [PurePath(f"{name}.png")]
    assert picture_names(PurePath(name), (4, 6)) == [PurePath(name), PurePath(f"{name}.png")]


def test_names_are_given_once_whatever_their_case() -> None:
    names = FreeNames()
    given = [names.give(PurePath("A.txt")), names.give(PurePath("a.txt"), PurePath("a.jpg.txt"))]
    given += [names.give(PurePath("a.txt"), PurePath("a.jpg.txt")) for _ in range(2)]
    assert [str(name) for name in given] == ["A.txt", "a.jpg.txt", "a.jpg-2.txt", "a.jpg-3.txt"]


def test_what_is_called_as_a_frame_or_a_second_crop_would_be_overwrites_nothing(tmp_path: Path) -> None:
    labels, names = LabelFiles(tmp_path, confidences=False), FreeNames()
    pictures, crops = PictureFiles(tmp_path, Artist(NAMES, BoxStyle()), names), Crops(tmp_path, NAMES, names)
    media = [
        ("clip.mp4", Kind.VIDEO, 16),
        ("clip_17.jpg", Kind.PICTURE, 0),
        ("film_2.jpg", Kind.PICTURE, 0),
        ("film.mkv", Kind.VIDEO, 1),
        ("a/x.jpg", Kind.PICTURE, 0),
        ("b/x.jpg", Kind.PICTURE, 0),
        ("b/x.png", Kind.PICTURE, 0),
        ("b/x-2.jpg", Kind.PICTURE, 0),
        # As the results of another program would lie there.
        ("crops/mask/a.jpg", Kind.PICTURE, 0),
        ("a.jpg", Kind.PICTURE, 0),
    ]
    for name, kind, number in media:
        one = detected(name, kind, number)
        labels.write(one)
        crops.write(one)
        if kind is Kind.PICTURE:
            pictures.write(one)
    drawn = sum(kind is Kind.PICTURE for _, kind, _ in media)
    assert len(files(tmp_path / "labels")) == len(media)
    assert len(files(tmp_path)) == len(media) + len(FOUND) * len(media) + drawn + len([".masktrain-results"])


def test_a_frame_with_many_objects_numbers_them_at_once() -> None:
    names = FreeNames()
    given = {names.give(PurePath("crops/mask/a.jpg")) for _ in range(3000)}
    assert len(given) == 3000
    assert PurePath("crops/mask/a-3000.jpg") in given


def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(UnwritableResults, match=r"a\.jpg cannot be written: No space left on device; what was written"):
        PictureFiles(small_disk / "out", Artist(NAMES, BoxStyle())).write(detected("a.jpg"))
    assert not list(small_disk.rglob("*a.jpg*"))
    with pytest.raises(UnwritableResults, match=r"predictions\.csv cannot be written"):
        CsvTable(small_disk / "out")


def test_what_may_not_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("a file")
    with pytest.raises(UnwritableResults, match="cannot be written"):
        write_whole(tmp_path, tmp_path / "labels" / "a.txt", b"")


def test_results_are_overwritten_only_where_asked_and_only_results(tmp_path: Path) -> None:
    results, others = tmp_path / "exp", tmp_path / "pictures"
    make_results_folder(results)
    others.mkdir()
    (others / "a.jpg").touch()
    with Destination(results).claimed() as folder:
        assert folder == tmp_path / "exp2"
    with Destination(results, overwrite=True).claimed() as folder:
        assert folder == results
    with (
        pytest.raises(InvalidConfiguration, match="holds other things than results"),
        Destination(others, overwrite=True).claimed(),
    ):
        pass
    assert sorted(tmp_path.iterdir()) == [results, others]


def test_no_file_of_the_source_is_overwritten(tmp_path: Path) -> None:
    results = tmp_path / "exp"
    make_results_folder(results)
    (results / "a.jpg").touch()
    (tmp_path / "link.jpg").symlink_to(results / "a.jpg")
    destination = Destination(results, overwrite=True)
    destination.refuse_source_inside([tmp_path / "b.jpg"])
    for files in ([results / "a.jpg"], [tmp_path / "b.jpg", tmp_path / "link.jpg"]):
        with pytest.raises(InvalidConfiguration, match="where --exist-ok would overwrite it"):
            destination.refuse_source_inside(files)


def test_runs_at_the_same_time_have_folders_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        destination = Destination(tmp_path / name)
        with destination.claimed() as first, destination.claimed() as second:
            assert (first, second) == (tmp_path / name, tmp_path / f"{name}2")
            (second / "a.jpg").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "empty2", "new2"]


def test_what_nothing_was_written_to_is_gone_with_the_folders_made_for_it(tmp_path: Path) -> None:
    with Destination(tmp_path / "runs" / "detect" / "exp").claimed() as folder:
        assert folder.is_dir()
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "long").mkdir()
    with (
        pytest.raises(UnwritableResults, match="cannot be written: File name too long"),
        Destination(tmp_path / "long" / ("x" * 300)).claimed(),
    ):
        pass
