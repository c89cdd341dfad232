"""Detection from a model file on pictures: no trained model needed, only one whose answers are known to be the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from masktrain_trainer.checkpoint.spool import SnapshotMeta
from masktrain_trainer.checkpoint.state_files import slim_model
from masktrain_trainer.cli.main import main
from masktrain_trainer.config import Architecture
from masktrain_trainer.data.geometry import plan_letterbox
from masktrain_trainer.data.source.pictures import read_picture
from masktrain_trainer.detect.command import list_images, output_names, run_detection, summarise
from masktrain_trainer.detect.detector import Detection, DetectionOptions, Detector
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.export.yolov5 import write_yolov5
from masktrain_trainer.model.blocks import Detect
from masktrain_trainer.model.yolo import build_yolo
from masktrain_trainer.predict.models import load_model, torch_model
from masktrain_trainer.weights.load import load_weights
from masktrain_trainer.weights.yolov5 import DetectorWeights

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
    lines = list(run_detection(str(weights), pictures, tmp_path / "out", DetectionOptions()))
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
        ({"source": "nothing.jpg"}, "nothing.jpg does not exist."),
        ({"source": "pictures/sub folder/none"}, "none does not exist."),
        ({"source": "pictures/broken.jpg"}, "broken.jpg is not a readable image"),
        ({"weights": "nothing.pt"}, "The weights nothing.pt do not exist."),
        ({"weights": "pictures"}, "pictures cannot be read: Is a directory"),
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
    arguments = {"weights": str(weights), "source": "pictures", "output": "out", **broken}
    result = CliRunner().invoke(main, ["detect", *(part for k, v in arguments.items() for part in (f"--{k}", v))])
    assert result.exit_code == 64
    assert sentence in result.output
    assert result.output.count("\n") == 1
    assert "Traceback" not in result.output


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
    lines = list(run_detection(str(weights), folder, tmp_path / "out", DetectionOptions()))
    assert [line.split(":")[0] for line in lines] == [str(folder / "a.jfif"), "skipped", str(folder / "c.GIF")]
    assert lines[1].endswith("b.NEF is of a kind that is not read; save it as JPEG or PNG.")
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == ["a.jfif", "c.GIF"]


@pytest.mark.parametrize("name", ["a.dng", "a.pfm", "a", "a.heic"])
def test_a_picture_whose_ending_is_never_written_is_drawn_as_png(name: str, weights: Path, tmp_path: Path) -> None:
    Image.new("RGB", (90, 60), "grey").save(tmp_path / name, "TIFF")
    (line,) = run_detection(str(weights), tmp_path / name, tmp_path / "out", DetectionOptions())
    assert line.endswith(f" -> {tmp_path / 'out' / name}.png")
    assert isinstance(read_picture(tmp_path / "out" / f"{name}.png"), np.ndarray)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=r"holds no image \(.apng, .avif"):
        list_images(tmp_path)
    (tmp_path / "a.heic").touch()
    with pytest.raises(InvalidConfiguration, match=r"a\.heic is one of 1 of other kinds: save them as JPEG or PNG\."):
        list_images(tmp_path)
    with pytest.raises(InvalidConfiguration, match="holds no image"):
        next(run_detection("x.pt", tmp_path, tmp_path / "out", DetectionOptions()))


def detect(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["detect", *arguments])


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


def test_no_result_takes_the_name_of_another_one(tmp_path: Path) -> None:
    names = ["a.pgm", "a.pgm.png", "a.pgm.png.png"]
    for name in names:
        Image.new("L", (64, 48)).save(tmp_path / name)
    named = dict(output_names(list_images(tmp_path), tmp_path))
    assert named == {
        tmp_path / "a.pgm": Path("a.pgm.png.png.png"),
        tmp_path / "a.pgm.png": Path("a.pgm.png"),
        tmp_path / "a.pgm.png.png": Path("a.pgm.png.png"),
    }


@pytest.mark.parametrize("ending", ["webp", "jpg", "mpo", "gif", "avif"])
def test_a_picture_that_is_too_long_for_its_ending_becomes_a_png(ending: str, weights: Path, tmp_path: Path) -> None:
    """A PNG under another name: what it is, its first bytes say, also where its ending's format has shorter sides."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in (f"a.{ending}", "b.png"):
        Image.new("RGB", (4, 66_000), "grey").save(folder / name, "PNG")
    lines = list(run_detection(str(weights), folder, tmp_path / "out", DetectionOptions()))
    assert [line.rpartition(" -> ")[2] for line in lines] == [
        str(tmp_path / "out" / f"a.{ending}.png"),
        str(tmp_path / "out" / "b.png"),
    ]
    assert isinstance(read_picture(tmp_path / "out" / f"a.{ending}.png"), np.ndarray)


def test_links_are_followed_once_and_those_to_nothing_are_named(tmp_path: Path) -> None:
    there, source = tmp_path / "elsewhere", tmp_path / "source"
    there.mkdir()
    source.mkdir()
    Image.new("RGB", (64, 48)).save(there / "a.png")
    (source / "images").symlink_to(there)
    (source / "the same").symlink_to(there)
    (source / "around").symlink_to(tmp_path)
    (source / "b.png").symlink_to("nothing.png")
    (there / "back").symlink_to(source)
    assert list_images(source) == [source / "b.png", source / "images" / "a.png"]
