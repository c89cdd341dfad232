"""YOLOv5's files of every version, and those that are changed or damaged."""

import sys
import zipfile
from argparse import Namespace
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, nn

from masktrain_trainer.config import Architecture
from masktrain_trainer.errors import UnusableWeights
from masktrain_trainer.model.yolo import Yolo
from masktrain_trainer.weights.load import read_weights
from masktrain_trainer.weights.torch_file import read_torch_file
from masktrain_trainer.weights.yolov5 import read_yolov5

from .yolov5_files import (
    NAMES,
    class_named,
    expanded_grids,
    model,
    save,
    save_with_dill,
    source,
    stripped,
    unstripped,
)

Make = Callable[[], Any]


def _unstripped() -> dict[str, Any]:
    return unstripped(model(source(1)), model(source(0)))


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


def _named_anew(names: list[str]) -> Any:
    root = model(source())
    root.names = names
    return root


def _wrapped() -> nn.Module:
    return nn.DataParallel(model(source()))


def _from_hub() -> Any:
    """As `torch.hub.load` puts a model of one's own into its wrappers, and somebody saves it."""
    outer: Any = class_named("models.common.AutoShape")()
    inner: Any = class_named("models.common.DetectMultiBackend")()
    inner.model, inner.names, inner.device = model(source()), NAMES, torch.device("cpu")
    outer.model, outer.names = inner, NAMES
    return outer


def _averaging() -> Any:
    found: Any = type("ModelEMA", (), {"__module__": "utils.torch_utils", "__qualname__": "ModelEMA"})()
    found.ema, found.updates = model(source()), 10
    return found


def _with_attributes() -> Any:
    """Of Python, on parameters and buffers."""
    root = model(source())
    for tensor in (*root.parameters(), *root.buffers()):
        tensor.note = "kept by somebody's optimizer"
    return root


def _with_all_that_training_leaves() -> dict[str, Any]:
    options = {
        "weights": Path("yolov5n.pt"),
        "save_dir": PureWindowsPath("runs\\train"),
        "hyp": defaultdict(float, lr0=0.01),
        "imgsz": 640,
        "freeze": [0],
        "device": torch.device("cuda", 0),
        "nested": SimpleNamespace(classes=frozenset(NAMES), counted=Counter(NAMES), last=deque([1, 2], 3)),
        "started": datetime(2022, 11, 22, tzinfo=UTC),
        "size": torch.Size((640, 640)),
    }
    left = {
        "opt": Namespace(**options),
        "training_results": "0/299 1.2G\n",
        "wandb_id": None,
        "fitness": np.float32(0.4),
    }
    return _unstripped() | left


VARIANTS: dict[str, Make] = {
    "stripped, half": lambda: stripped(model(source()).half()),
    "stripped, float": lambda: stripped(model(source())),
    "names as a list": lambda: stripped(model(source(), names=NAMES).half()),
    "before v6.2": lambda: stripped(model(source(), "models.yolo.Model", NAMES).half()),
    "installed from PyPI": lambda: stripped(model(source(), "yolov5.models.yolo.DetectionModel").half()),
    "old buffers": lambda: stripped(_with_old_buffers().half()),
    "unstripped": _unstripped,
    "on several GPUs": lambda: stripped(_wrapped()),
    "from torch.hub": _from_hub,
    "averaging as an object": lambda: {"model": None, "ema": _averaging()},
    "all that training leaves": _with_all_that_training_leaves,
    "tensors with attributes": lambda: stripped(_with_attributes()),
    "saved after a detection, half": lambda: stripped(expanded_grids(model(source())).half()),
    "saved after a detection": lambda: stripped(expanded_grids(model(source()))),
    "bfloat16, half as exact": lambda: stripped(model(source()).bfloat16()),
    "the model alone": lambda: model(source()),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_gives_the_tensors_by_name(variant: str, tmp_path: Path) -> None:
    path = save(VARIANTS[variant](), tmp_path / "yolov5n.pt")
    weights = read_weights(path)
    assert (weights.architecture, weights.names) == (Architecture.YOLOV5N, NAMES)
    _assert_equal(weights.state_dict, source(), tolerance=1e-2 if "half" in variant else 5e-3)
    assert not any(name.partition(".")[0] in ("models", "utils") for name in sys.modules)


def test_a_file_of_a_program_that_has_imported_dill_is_read(tmp_path: Path) -> None:
    path = save_with_dill(unstripped(model(source(1)), model(source(0))), tmp_path / "best.pt")
    assert b"dill._dill\n_load_type" in _pickle(path)
    _assert_equal(read_weights(path).state_dict, source(), tolerance=0)


def test_a_model_that_several_gpus_train_is_read_from_its_wrapper(tmp_path: Path) -> None:
    distributed.init_process_group("gloo", f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        path = save({"model": nn.parallel.DistributedDataParallel(model(source()))}, tmp_path / "last.pt")
    finally:
        distributed.destroy_process_group()
    assert read_weights(path).names == NAMES


def _pickle(path: Path) -> bytes:
    with zipfile.ZipFile(path) as file:
        return file.read(f"{path.stem}/data.pkl")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([True, None, 0.5], ["True", "None", "0.5"]),
        ({2: "c", 0: "a", 1: 7}, ["a", "7", "c"]),
        (("a", "b", "c"), ["a", "b", "c"]),
    ],
)
def test_names_are_shown_as_yolov5_shows_them(names: Any, expected: list[str], tmp_path: Path) -> None:
    assert read_weights(save(stripped(model(source(), names=names)), tmp_path / "best.pt")).names == expected


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
    "fewer names than classes": (
        lambda: stripped(_named_anew(NAMES[:2])),
        r"^names 2 classes, but its model has 3; correct the model's names\.$",
    ),
    "from torch.hub": (
        class_named("models.common.AutoShape"),
        r"^holds a models\.common\.AutoShape, which is no YOLOv5 detector",
    ),
    "no names": (lambda: stripped(model(source(), names=[])), "does not say the names of its classes"),
    "MaskTrain's checkpoint": (lambda: {"format": "masktrain-state-v1"}, "is a checkpoint of MaskTrain, not a best"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_files_get_one_sentence(kind: str, tmp_path: Path) -> None:
    make, sentence = REFUSED[kind]
    path = save(make(), tmp_path / "file.pt")
    _assert_refused(path, sentence)


def test_a_file_cut_off_anywhere_gives_one_sentence(tmp_path: Path) -> None:
    path = save({"model": nn.Conv2d(3, 8, 1)}, tmp_path / "file.pt")
    content = path.read_bytes()
    for length in range(4, len(content), 101):
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
