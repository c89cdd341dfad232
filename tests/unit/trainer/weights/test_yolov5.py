"""YOLOv5's files of every version, and what else lies around under the name .pt."""

import sys
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from masktrain_trainer.config import Architecture
from masktrain_trainer.errors import UnusableWeights
from masktrain_trainer.model.yolo import Yolo
from masktrain_trainer.weights.load import read_weights
from masktrain_trainer.weights.torch_file import read_torch_file
from masktrain_trainer.weights.yolov5 import read_yolov5

from .yolov5_files import NAMES, class_named, model, save, source, stripped, unstripped

Make = Callable[[], Any]


def _unstripped() -> dict[str, Any]:
    return unstripped(model(source(1)), model(source(0)))


def _pre_v6() -> Any:
    root = model(source())
    root.get_submodule("model.0").__class__ = class_named("models.common.Focus")
    return root


def _with_old_buffers() -> Any:
    root = model(source(), "models.yolo.Model", NAMES)
    root.get_submodule("model.24").register_buffer("anchor_grid", torch.zeros(3, 1, 3, 1, 1, 2))
    return root


def _without_batch_norm() -> Any:
    root = model(source())
    conv = root.get_submodule("model.0.conv")
    conv.register_parameter("bias", nn.Parameter(torch.zeros(16)))
    return root


def _diverged() -> Any:
    root = model(source())
    with torch.no_grad():
        root.get_submodule("model.0.conv").weight[0, 0, 0, 0] = torch.nan
    return root


def _with_a_layer_of_its_own() -> Any:
    root = model(source())
    root.get_submodule("model.3").add_module("attention", nn.Linear(2, 2))
    return root


def _with_another_activation() -> Any:
    root = model(source())
    for module in root.modules():
        if hasattr(module, "act"):
            module.act = nn.LeakyReLU(0.1)
    return root


def _wrapped() -> nn.Module:
    return nn.DataParallel(model(source()))


VARIANTS: dict[str, Make] = {
    "stripped, half": lambda: stripped(model(source()).half()),
    "stripped, float": lambda: stripped(model(source())),
    "names as a list": lambda: stripped(model(source(), names=NAMES).half()),
    "before v6.2": lambda: stripped(model(source(), "models.yolo.Model", NAMES).half()),
    "installed from PyPI": lambda: stripped(model(source(), "yolov5.models.yolo.DetectionModel").half()),
    "old buffers": lambda: stripped(_with_old_buffers().half()),
    "unstripped": _unstripped,
    "on several GPUs": lambda: stripped(_wrapped()),
    "the model alone": lambda: model(source()),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_gives_the_tensors_by_name(variant: str, tmp_path: Path) -> None:
    path = save(VARIANTS[variant](), tmp_path / "yolov5n.pt")
    weights = read_weights(path)
    assert (weights.architecture, weights.names) == (Architecture.YOLOV5N, NAMES)
    _assert_equal(weights.state_dict, source(), tolerance=1e-2 if "half" in variant else 5e-3)
    assert not any(name.partition(".")[0] in ("models", "utils") for name in sys.modules)


def _assert_equal(found: dict[str, Tensor], expected: Yolo, tolerance: float) -> None:
    own = expected.state_dict()
    assert list(found) == list(own)
    for name, tensor in own.items():
        assert found[name].dtype == tensor.dtype
        assert torch.allclose(found[name], tensor, rtol=tolerance, atol=1e-3), name


def test_the_average_is_preferred_and_described(tmp_path: Path) -> None:
    path = save(_unstripped(), tmp_path / "last.pt")
    found = read_yolov5(read_torch_file(path))
    assert (found.averaged, found.epoch, found.strides) == (True, 41, [8, 16, 32])
    assert found.anchors_LA2.shape == (3, 3, 2)
    assert found.anchors_LA2[0, 0].tolist() == [10 / 8, 13 / 8]


@pytest.mark.parametrize(
    ("options", "size"),
    [({"imgsz": 320}, 320), (Namespace(imgsz=416), 416), ({"imgsz": "big"}, 640), ({"imgsz": 0}, 640), (None, 640)],
)
def test_the_image_size_is_that_of_the_training_if_the_file_says_it(options: Any, size: int, tmp_path: Path) -> None:
    path = save(stripped(model(source())) | {"opt": options}, tmp_path / "file.pt")
    assert read_weights(path).image_size == size


def test_a_finished_file_has_no_epoch(tmp_path: Path) -> None:
    found = read_yolov5(read_torch_file(save(stripped(model(source())), tmp_path / "best.pt")))
    assert (found.averaged, found.epoch) == (False, None)


REFUSED: dict[str, tuple[Make, str]] = {
    "pre-v6": (lambda: stripped(_pre_v6()), r"^is from before YOLOv5 v6\.0"),
    "segmentation": (lambda: stripped(model(source(), "models.yolo.SegmentationModel")), "is a YOLOv5 segmentation"),
    "classification": (lambda: {"model": model(source(), "models.yolo.ClassificationModel")}, "YOLOv5 classification"),
    "YOLOv8": (lambda: {"model": model(source(), "ultralytics.nn.tasks.DetectionModel")}, "of the package ultralytics"),
    "another project": (lambda: {"model": model(source(), "other.Net")}, r"^names other\.Net, which no file of YOLOv5"),
    "another model": (lambda: {"model": nn.Sequential(nn.Conv2d(3, 8, 1))}, "Sequential, which is no YOLOv5 detector"),
    "state dict": (lambda: source().state_dict(), "is a plain state dict"),
    "nested state dict": (lambda: {"state_dict": source().state_dict()}, "is a plain state dict"),
    "a list": (lambda: [1, 2], "holds a list and no model"),
    "a dictionary": (lambda: {"epoch": 3}, "holds no model"),
    "fused": (lambda: stripped(_without_batch_norm()), "was fused for inference"),
    "own layers": (lambda: stripped(_with_a_layer_of_its_own()), "none of the ten sizes"),
    "another activation": (lambda: stripped(_with_another_activation()), "computes with LeakyReLU where"),
    "not a number": (lambda: stripped(_diverged()), r"holds NaN or infinity in model\.0\.conv\.weight.*diverged"),
    "names without number": (
        lambda: stripped(model(source(), names=["a"] * 10_001)),
        r"^has 10,001 classes; more than 10,000 are not taken",
    ),
    "a name without end": (
        lambda: stripped(model(source(), names={0: "a" * 257})),
        "has a class whose name is longer than 256 characters",
    ),
    "a name that is a number without end": (
        lambda: stripped(model(source(), names=[1 << 20_000])),
        "has a class whose name is longer than 256 characters",
    ),
    "names by numbers in quotes": (
        lambda: stripped(model(source(), names={"0": "a"})),
        "does not say the names of its classes",
    ),
    "no names": (lambda: stripped(model(source(), names=[])), "does not say the names of its classes"),
    "MaskTrain's checkpoint": (lambda: {"format": "masktrain-state-v1"}, "is a checkpoint of MaskTrain, not a best"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_files_get_one_sentence(kind: str, tmp_path: Path) -> None:
    make, sentence = REFUSED[kind]
    path = save(make(), tmp_path / "file.pt")
    _assert_refused(path, sentence)


def test_the_format_before_zip_says_how_to_convert(tmp_path: Path) -> None:
    path = save({"model": torch.zeros(3)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    _assert_refused(path, r"format of torch before 1\.6.*torch\.save")


def test_torchscript_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "yolov5n.torchscript"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            file.writestr(f"yolov5n/{name}", b"\x80\x02}.")
    _assert_refused(path, "is TorchScript")


def test_a_file_cut_off_anywhere_gives_one_sentence(tmp_path: Path) -> None:
    path = save({"model": nn.Conv2d(3, 8, 1)}, tmp_path / "file.pt")
    content = path.read_bytes()
    for length in range(0, len(content), 101):
        path.write_bytes(content[:length])
        _assert_refused(path, "damaged")


def test_modules_that_contain_each_other_over_and_over_end(tmp_path: Path) -> None:
    """Two to the power of thirty paths lead through these thirty modules."""
    inner: nn.Module = nn.Identity()
    for _ in range(30):
        outer = nn.Module()
        outer.a, outer.b = inner, inner
        inner = outer
    root: Any = class_named("models.yolo.Model")()
    root.model, root.names = inner, NAMES
    _assert_refused(save({"model": root}, tmp_path / "deep.pt"), "more modules")


def _assert_refused(path: Path, sentence: str) -> None:
    with pytest.raises(UnusableWeights, match=sentence) as caught:
        read_weights(path)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
