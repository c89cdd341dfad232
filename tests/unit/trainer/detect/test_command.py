"""`masktrain detect` as a person calls it: pictures and films in, lines and files out."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from masktrain_trainer.checkpoint.spool import SnapshotMeta
from masktrain_trainer.checkpoint.state_files import slim_model
from masktrain_trainer.cli.detect import _repeated, _without_quotes
from masktrain_trainer.cli.main import main
from masktrain_trainer.config import Architecture
from masktrain_trainer.data.geometry import plan_letterbox
from masktrain_trainer.data.source.pictures import read_picture
from masktrain_trainer.detect.detector import Detection, DetectionOptions, Detector
from masktrain_trainer.detect.outputs.video import usual_format
from masktrain_trainer.detect.progress import summarise
from masktrain_trainer.export.yolov5 import write_yolov5
from masktrain_trainer.model.blocks import Detect
from masktrain_trainer.model.yolo import build_yolo
from masktrain_trainer.predict.drawing import class_colour
from masktrain_trainer.predict.models import load_model, torch_model
from masktrain_trainer.weights.load import load_weights
from masktrain_trainer.weights.yolov5 import DetectorWeights
from tests.media.films import FRAMES, HEIGHT, RATE, WIDTH, Films

NAMES = ["mask", "no mask"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model, biased towards seeing class 1 everywhere."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = build_yolo(Architecture.YOLOV5N, len(NAMES))
    with torch.no_grad():
        detect = model.model[-1]
        assert isinstance(detect, Detect)
        for head in detect.m:
            assert isinstance(head, torch.nn.Conv2d)
            assert head.bias is not None
            head.bias.view(3, -1)[:, 4] = 3
            head.bias.view(3, -1)[:, 6] = 3
    state = {
        "ema": {"state_dict": model.state_dict()},
        "model_info": {"architecture": "yolov5n", "names": NAMES, "image_size": 64},
        "metrics": {},
        "training": {},
    }
    meta = SnapshotMeta(epoch=3, step=9, fitness=0.5, is_best=True, reason="final")
    path = tmp_path_factory.mktemp("weights") / "best.pt"
    torch.save(slim_model(state, meta), path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "sub folder").mkdir(parents=True)
    for name, size in [("-a b.jpg", (90, 60)), ("sub folder/c.PNG", (33, 120))]:
        Image.new("RGB", size, "grey").save(folder / name)
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not an image")
    return folder


def detect(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["detect", *arguments])


def run(weights: Path, source: Path, output: Path, *more: str) -> list[str]:
    """The lines that a run that works prints, without its table."""
    result = detect("--weights", str(weights), "--source", str(source), "--output", str(output), *more)
    assert result.exit_code == 0, result.output
    return [
        line for line in result.output.splitlines() if line[0] not in "┏┃┡│└" and " frames/s; the results" not in line
    ]


def detector_weights(names: tuple[str, ...] = ("mask",), image_size: int = 64) -> DetectorWeights:
    model = build_yolo(Architecture.YOLOV5N, len(names))
    return DetectorWeights(Architecture.YOLOV5N, list(names), image_size, model.state_dict())


@pytest.mark.parametrize("size", [(64, 64), (30, 200), (500, 40), (11, 2400), (2400, 11), (1, 3000), (1, 1)])
def test_boxes_lie_in_the_picture_as_it_was_given(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    detector = Detector(
        torch_model(detector_weights(), "w.pt", torch.device("cpu")), DetectionOptions(confidence=1e-6, iou=0.9)
    )
    (found,) = detector([np.full((*size, 3), 90, np.uint8)])
    assert found
    assert [d.confidence for d in found] == sorted((d.confidence for d in found), reverse=True)
    for detection in found:
        x1, y1, x2, y2 = detection.xyxy
        assert 0 <= x1 <= x2 <= size[1]
        assert 0 <= y1 <= y2 <= size[0]


sides = st.integers(1, 5_000)


@given(sides, sides, st.booleans())
def test_no_side_of_a_letterbox_rounds_to_nothing(height: int, width: int, enlarge: bool) -> None:
    plan = plan_letterbox((height, width), (64, 64), stride=32, enlarge=enlarge)
    assert 1 <= plan.height <= 64
    assert 1 <= plan.width <= 64
    assert all(side in (32, 64) for side in plan.output)


def test_pictures_of_several_shapes_are_detected_as_if_each_came_alone(weights: Path) -> None:
    """Whatever shares a batch, in the order in which they were given."""
    detector = Detector(load_model(str(weights), device=torch.device("cpu")), DetectionOptions())
    chance = np.random.default_rng(0)
    shapes = [(64, 64), (30, 64), (64, 64), (90, 41), (32, 64), (64, 64)]
    pictures = [chance.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    for together, picture in zip(detector(pictures), pictures, strict=True):
        (alone,) = detector([picture])
        assert len(alone) == len(together) > 0
        for one, other in zip(alone, together, strict=True):
            assert (one.class_index, one.confidence) == pytest.approx((other.class_index, other.confidence), abs=1e-5)
            assert one.xyxy == pytest.approx(other.xyxy, abs=1e-3)


def test_a_folder_is_detected_and_drawn(weights: Path, pictures: Path, tmp_path: Path) -> None:
    lines = run(weights, pictures, tmp_path / "out")
    assert len(lines) == 3
    assert any("no mask" in line and "-a b.jpg" in line for line in lines)
    assert any(line.startswith("skipped:") and "broken.jpg" in line for line in lines)
    drawn = read_picture(tmp_path / "out" / "sub folder" / "c.PNG")
    assert isinstance(drawn, np.ndarray)
    assert drawn.shape == (120, 33, 3)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 1


def test_a_file_of_yolov5_detects_what_the_best_pt_does(weights: Path, pictures: Path, tmp_path: Path) -> None:
    """Without an image size of its own, it takes that of its architecture."""
    theirs = tmp_path / "yolov5.pt"
    write_yolov5(load_weights(str(weights), None), theirs)
    assert load_weights(str(theirs), None).image_size == 640
    options = DetectionOptions(image_size=64)
    one, other = (Detector(load_model(str(path)), options) for path in (weights, theirs))
    picture = read_picture(pictures / "-a b.jpg")
    assert isinstance(picture, np.ndarray)
    (found,) = one([picture])
    assert found == other([picture])[0] != []


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ({"source": "nothing.jpg"}, "nothing.jpg does not exist; give an image or a video"),
        ({"source": "pictures/sub folder/none"}, "none does not exist; give"),
        ({"source": "pictures/broken.jpg"}, "broken.jpg is not a readable image"),
        ({"source": "pictures", "data": "three.yaml"}, "three.yaml names 3 classes, and best.pt (yolov5n) knows 2"),
        ({"source": "pictures", "data": "none.yaml"}, "none.yaml"),
        ({"source": "pictures", "classes": "2"}, "--classes 2 is not one of the model's 2 classes"),
        ({"source": "pictures", "device": "0,1"}, "--device 0,1 names several devices"),
        ({"source": "pictures", "project": "p"}, "--output names the folder of the results, and so does --project"),
        ({"weights": ""}, "The name of the weights is empty"),
        ({"weights": "nothing.pt"}, "The weights nothing.pt do not exist."),
        ({"weights": "pictures"}, "pictures is a folder with 0 models (.xml); give the .xml of one."),
        ({"weights": "pictures/broken.jpg"}, "broken.jpg is not a file that torch.save writes"),
        ({"weights": "ftp://host/best.pt"}, "must start with oci://, s3:// or file:///"),
    ],
)
@pytest.mark.usefixtures("pictures")
def test_bad_input_is_one_sentence_and_exit_code_64(
    broken: dict[str, str],
    sentence: str,
    weights: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "three.yaml").write_text("names: [a, b, c]")
    arguments = {"weights": str(weights), "source": "pictures", "output": "out", **broken}
    result = CliRunner().invoke(main, ["detect", *(part for k, v in arguments.items() for part in (f"--{k}", v))])
    assert result.exit_code == 64
    assert sentence in result.output
    assert result.output.count("\n") == 1
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["out/*.jpg", "list.txt"])
def test_pictures_among_results_are_not_overwritten_however_they_are_named(
    source: str, weights: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    picture = pictures / "-a b.jpg"
    run(weights, picture, tmp_path / "out")
    (tmp_path / "out" / "a.jpg").write_bytes(picture.read_bytes())
    (tmp_path / "list.txt").write_text("out/a.jpg\n")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    arguments = ["--weights", str(weights), "--source", source, "--output", "out", "--exist-ok"]
    result = CliRunner().invoke(main, ["detect", *arguments])
    assert result.exit_code == 64
    assert "where --exist-ok would overwrite it" in result.output
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_the_command_prints_a_line_per_picture(weights: Path, pictures: Path, tmp_path: Path) -> None:
    arguments = ["--weights", weights.as_uri(), "--source", str(pictures / "-a b.jpg"), "--output", str(tmp_path / "o")]
    result = CliRunner().invoke(main, ["detect", *arguments, "--confidence", "0.3", "--image-size", "40"])
    assert result.exit_code == 0, result.output
    assert result.output.count("\n") == 1
    assert (tmp_path / "o" / "-a b.jpg").exists()


def test_the_summary_counts_by_class_in_the_models_order() -> None:
    found = [Detection(i, name, 0.5, (0, 0, 1, 1)) for i, name in [(1, "no mask"), (0, "mask"), (1, "no mask")]]
    assert summarise("a.jpg", found) == "a.jpg: 1 mask, 2 no mask"
    assert summarise("a.jpg", []) == "a.jpg: nothing"


def test_pictures_that_are_not_read_are_named_and_not_passed_over(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (90, 60), "grey").save(folder / "a.jfif", "JPEG")
    Image.new("RGB", (90, 60), "grey").save(folder / "b.NEF", "TIFF")
    Image.new("P", (90, 60)).save(folder / "c.GIF")
    lines = run(weights, folder, tmp_path / "out")
    assert [line.split(":")[0] for line in lines] == [str(folder / "a.jfif"), "skipped", str(folder / "c.GIF")]
    assert lines[1].endswith("b.NEF is of a kind that is not read; save it as JPEG or PNG.")
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == ["a.jfif", "c.GIF"]


@pytest.mark.parametrize("name", ["a.dng", "a.pfm", "a", "a.heic"])
def test_a_picture_whose_ending_is_never_written_is_drawn_as_png(name: str, weights: Path, tmp_path: Path) -> None:
    Image.new("RGB", (90, 60), "grey").save(tmp_path / name, "TIFF")
    (line,) = run(weights, tmp_path / name, tmp_path / "out")
    assert line.endswith(f" -> {tmp_path / 'out' / name}.png")
    assert isinstance(read_picture(tmp_path / "out" / f"{name}.png"), np.ndarray)


@pytest.mark.parametrize("output", [".", "sub folder", "sub folder/../"])
def test_no_picture_is_overwritten_by_its_own_result(
    output: str, weights: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in pictures.rglob("*") if path.is_file()}
    monkeypatch.chdir(pictures)
    result = detect("--weights", str(weights), "--source", ".", "--output", output)
    assert result.exit_code == 0, result.output
    assert {path: path.read_bytes() for path in before} == before
    assert "is not empty: the pictures go to" in result.output


def test_a_second_run_leaves_the_first_ones_pictures_and_does_not_look_at_them(weights: Path, pictures: Path) -> None:
    arguments = ("--weights", str(weights), "--source", str(pictures), "--output", str(pictures / "out"))
    first, second = detect(*arguments), detect(*arguments)
    assert first.exit_code == second.exit_code == 0, second.output
    drawn = sorted(path.relative_to(pictures / "out") for path in (pictures / "out").rglob("*.*"))
    again = sorted(path.relative_to(pictures / "out2") for path in (pictures / "out2").rglob("*.*"))
    assert drawn == again
    assert second.output.count(" -> ") == first.output.count(" -> ") == 2


@pytest.mark.parametrize("output", ["pictures/notes.txt", "pictures/notes.txt/below"])
def test_a_file_in_the_place_of_the_output_is_said_before_anything_is_detected(
    output: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures.parent)
    result = detect("--weights", "no such.pt", "--source", "pictures", "--output", output)
    assert result.exit_code == 64
    assert "notes.txt is a file; --output is the folder for the pictures with boxes." in result.output


@pytest.mark.parametrize("name", ["my data #1", "100%", "a?b", "[x](y)", "a%20b", "口罩"])
def test_the_paths_that_are_printed_are_those_that_exist(name: str, weights: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), "grey").save(tmp_path / "a.png")
    result = detect("--weights", str(weights), "--source", str(tmp_path / "a.png"), "--output", str(tmp_path / name))
    printed = Path(result.output.rstrip("\n").rpartition(" -> ")[2])
    assert printed == tmp_path / name / "a.png"
    assert printed.exists()


@pytest.mark.parametrize("output", ["/", ".", ".."])
def test_the_top_of_the_file_system_is_no_folder_for_pictures(
    output: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's working folder may be `/`, and nothing can be numbered beside it."""
    monkeypatch.chdir("/")
    result = detect("--weights", "no such.pt", "--source", str(pictures), "--output", output)
    assert result.exit_code == 64
    assert result.output == (
        f"masktrain detect: --output {output} is the top of the file system; give a folder below it.\n"
    )


@pytest.mark.parametrize("ending", ["webp", "jpg", "mpo", "gif", "avif"])
def test_a_picture_that_is_too_long_for_its_ending_becomes_a_png(ending: str, weights: Path, tmp_path: Path) -> None:
    """A PNG under another name: what it is, its first bytes say, also where its ending's format has shorter sides."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in (f"a.{ending}", "b.png"):
        Image.new("RGB", (4, 66_000), "grey").save(folder / name, "PNG")
    lines = run(weights, folder, tmp_path / "out")
    assert [line.rpartition(" -> ")[2] for line in lines] == [
        str(tmp_path / "out" / f"a.{ending}.png"),
        str(tmp_path / "out" / "b.png"),
    ]
    assert isinstance(read_picture(tmp_path / "out" / f"a.{ending}.png"), np.ndarray)


def test_the_command_lines_of_the_article_run(
    weights: Path, films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With thin lines, without confidences, with the names of a yaml and no folder for the results."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "example_video.mp4").write_bytes(films("h264.mp4").read_bytes())
    (tmp_path / "data.yaml").write_text("train: ../train/images\nnc: 2\nnames: [with, without]\n")
    arguments = [f"--weights=\u201c{weights}\u201d", '--source="example_video.mp4"', "--line-thickness", "1"]
    for folder in ("exp", "exp2"):
        result = detect(*arguments, "--hide-conf", "--data=data.yaml", "--max-det", "1")
        assert result.exit_code == 0, result.output
        assert f"example_video.mp4: {FRAMES} frames, {FRAMES} without -> runs/detect/{folder}/" in result.output
        assert f"the results are in runs/detect/{folder}" in result.output
    size, rate, frames = film(tmp_path / "runs/detect/exp" / f"example_video.{usual_format()}")
    assert (size, rate, len(frames)) == ((WIDTH, HEIGHT), RATE, FRAMES)


def film(path: Path) -> tuple[tuple[int, int], float, list[np.ndarray]]:
    capture = cv2.VideoCapture(str(path))
    size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    rate, frames = capture.get(cv2.CAP_PROP_FPS), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    return size, rate, frames


def test_thickness_and_hidden_confidences_are_seen_in_pixels(weights: Path, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200)).save(tmp_path / "a.png")
    coloured = []
    styles = ("1 --hide-labels", "5 --hide-labels", "1 --hide-conf", "1")
    for number, style in enumerate(styles):
        more = ("--max-det", "1", "--line-thickness", *style.split())
        run(weights, tmp_path / "a.png", tmp_path / str(number), *more)
        drawn = read_picture(tmp_path / str(number) / "a.png")
        assert isinstance(drawn, np.ndarray)
        coloured.append(int((drawn == class_colour(1)).all(axis=2).sum()))
    thin, thick, named, full = coloured
    assert 0 < thin < thick
    assert thin < named < full


def test_all_that_can_be_saved_is_saved(weights: Path, films: Films, tmp_path: Path) -> None:
    more = ["--save-txt", "--save-conf", "--save-csv", "--save-jsonl", "--save-crop", "--nosave", "--vid-stride", "5"]
    lines = run(
        weights, films("h264.mp4"), tmp_path / "out", *more, "--max-det", "2", "--classes", "0", "1", "--augment"
    )
    assert lines == [f"{films('h264.mp4')}: 4 frames, 8 no mask"]
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == [
        *("crops", "labels", "predictions.csv", "predictions.jsonl")
    ]
    assert sorted(path.name for path in (tmp_path / "out/labels").iterdir()) == [
        f"h264_{number}.txt" for number in (1, 11, 16, 6)
    ]
    assert len((tmp_path / "out/predictions.csv").read_text().splitlines()) == 1 + 8


def test_nothing_is_written_where_nothing_is_to_be_saved(weights: Path, pictures: Path, tmp_path: Path) -> None:
    lines = run(weights, pictures / "-a b.jpg", tmp_path / "out", "--nosave", "--classes", "0")
    assert lines == [f"{pictures / '-a b.jpg'}: nothing"]
    assert not (tmp_path / "out").exists()


def test_a_folder_of_pictures_and_videos_ends_with_a_table(weights: Path, films: Films, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    Image.new("RGB", (64, 48)).save(folder / "a.png")
    (folder / "b.mp4").write_bytes(films("h264.mp4").read_bytes())
    (folder / "c.avi").write_bytes(b"no film")
    result = detect(
        "--weights", str(weights), "--source", str(folder), "--output", str(tmp_path / "o"), "--max-det", "1"
    )
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == f"{folder / 'a.png'}: 1 no mask -> {tmp_path / 'o' / 'a.png'}"
    assert f"{folder / 'b.mp4'}: 20 frames, 20 no mask -> {tmp_path / 'o' / f'b.{usual_format()}'}" in lines
    assert any(line.startswith(f"skipped: {folder / 'c.avi'}") for line in lines)
    assert "│ no mask │    21 │             21 │" in lines
    assert lines[-1].startswith("21 frames in ")


def test_results_are_overwritten_with_exist_ok(weights: Path, pictures: Path, tmp_path: Path) -> None:
    for _ in range(2):
        (line,) = run(weights, pictures / "-a b.jpg", tmp_path / "o", "--exist-ok")
        assert line.endswith(f" -> {tmp_path / 'o' / '-a b.jpg'}")
    result = detect("--weights", str(weights), "--source", str(pictures), "--output", str(pictures), "--exist-ok")
    assert (result.exit_code, result.output.count("\n")) == (64, 1)
    assert "holds other things than results" in result.output


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--half", "--float32"], "--half and --float32 exclude each other."),
        (["--save-conf"], "--save-conf adds confidences to the files of --save-txt; give that, too."),
        (["--serve", "--save-txt"], "--serve shows what is found and writes nothing; leave --save-txt out."),
        (["--view-img", "--save-crop"], "--view-img shows what is found and writes nothing; leave --save-crop out."),
        (["--weights", "b.pt"], "--weights takes one model; masktrain compare runs two."),
        (["--imgsz", "64", "64", "64"], "--img takes the longer side, or height and width, and no more."),
    ],
)
def test_options_that_exclude_each_other_are_told(options: list[str], sentence: str) -> None:
    result = detect("--weights", "a.pt", "--source", "a.jpg", *options)
    assert (result.exit_code, result.output) == (64, f"masktrain detect: {sentence}\n")


def test_options_of_yolov5_that_mean_nothing_here_are_told_and_do_no_harm(
    weights: Path, pictures: Path, tmp_path: Path
) -> None:
    lines = run(weights, pictures / "-a b.jpg", tmp_path / "o", "--visualize", "--update", "--dnn")
    assert [line.split(" has ")[0] for line in lines[:3]] == ["--visualize", "--update", "--dnn"]
    assert len(lines) == 4


def test_several_values_may_follow_an_option() -> None:
    arguments = ["--classes", "0", "2", "--source", "a", "b", "--imgsz=640", "480", "--classes", "3"]
    expected = [
        "--classes",
        "0",
        "--classes",
        "2",
        "--source",
        "a",
        "b",
        "--imgsz=640",
        "--imgsz",
        "480",
        "--classes",
        "3",
    ]
    assert list(_repeated(arguments)) == expected


@pytest.mark.parametrize(
    ("given_text", "meant"),
    [
        ('"a b"', "a b"),
        ("\u201ca\u201d", "a"),
        ("'a'", "a"),
        ("\u201da\u201d", "\u201da\u201d"),
        ('"', '"'),
        ("a", "a"),
        ("", ""),
    ],
)
def test_quotes_that_no_shell_took_off_are_taken_off(given_text: str, meant: str) -> None:
    assert _without_quotes(given_text) == meant


def test_a_full_disk_is_one_sentence_and_exit_code_1(weights: Path, pictures: Path, small_disk: Path) -> None:
    with (small_disk / "other").open("wb") as file:
        file.truncate(0)
        os.posix_fallocate(file.fileno(), 0, (2 << 20) - (16 << 10))
    (small_disk / "more").write_bytes(bytes(8 << 10))
    Image.effect_noise((300, 300), 90).convert("RGB").save(pictures / "noise.png")
    result = detect(
        "--weights", str(weights), "--source", str(pictures / "noise.png"), "--output", str(small_disk / "o")
    )
    assert result.exit_code == 1, result.output
    assert result.output.startswith("masktrain detect: ")
    assert "noise.png cannot be written: No space left on device; what was written before it is kept." in result.output


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_cleanly_with_a_video_that_can_be_played(
    weights: Path, tmp_path: Path, sign: signal.Signals, code: int
) -> None:
    frames = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(frames), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 64))
    for number in range(3000):
        writer.write(np.full((64, 64, 3), number % 256, np.uint8))
    writer.release()
    command = [
        sys.executable,
        "-m",
        "masktrain_trainer.cli.main",
        "detect",
        "--weights",
        str(weights),
        "--source",
        str(frames),
    ]
    process = subprocess.Popen(
        [*command, "--output", str(tmp_path / "o"), "--save-csv", "--max-det", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    table = tmp_path / "o/predictions.csv"
    try:
        _wait_until(lambda: process.poll() is not None or (table.exists() and _lines(table) > 10))
        process.send_signal(sign)
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code, errors
    assert errors == "Stopped; what was written until then is whole.\n"
    assert " no mask -> " in output
    _, _, shown = film(tmp_path / "o" / f"long.{usual_format()}")
    assert 10 <= len(shown) < 3000
    assert len(shown) >= _lines(tmp_path / "o/predictions.csv") - 1


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 240  # torch alone takes half a minute to import on a busy machine
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
