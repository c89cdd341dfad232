"""A best.pt as OpenVINO's files, in floats or, calibrated on pictures, in eight bits: the fast twin on CPUs.

Input, output and the YAML beside them are those of YOLOv5's own export, so that its detect.py and val.py take
them, too. Any number of images, of any size that suits the stride.
"""

import contextlib
import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import yaml
from torch import Tensor, nn

from masktrain_trainer.data.loader import val_batches
from masktrain_trainer.data.prepared import PreparedDataset
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.model.yolo import Yolo
from masktrain_trainer.predict.exported import import_openvino
from masktrain_trainer.predict.predictor import load_yolo
from masktrain_trainer.weights.yolov5 import DetectorWeights

from .onnx import side_for

MOST_CALIBRATED: Final = 300
"""NNCF's own number; more pictures change the ranges little."""
_BATCH, _SIDE = 2, 64
"""Of the pictures of nothing that the model is traced with."""

Pictures = Iterable[npt.NDArray[np.float32]]
"""(1, 3, H, W) in 0..1; may be gone through again."""


@dataclass(frozen=True)
class OpenVinoOptions:
    """`image_size` in pixels that readers take without being told another, None as trained."""

    image_size: int | None = None


def folder_of(stem: str) -> str:
    """As YOLOv5 names it."""
    return f"{stem}_openvino_model"


def write_openvino(
    file: DetectorWeights, folder: Path, options: OpenVinoOptions, *, calibration: Pictures | None = None
) -> Path:
    """Write `<stem>.xml`, `.bin` and `.yaml` into `<stem>_openvino_model`, replacing such a folder; returns the .xml.

    Floats are stored as float16, as in best.pt itself. With `calibration` the convolutions get eight bits.
    Raises InvalidConfiguration if packages are missing, or `folder` holds something else.
    """
    require_packages(int8=calibration is not None)
    stem = folder.name.removesuffix(folder_of("")) or folder.name
    refuse_other_folder(folder)
    model = load_yolo(file).fuse()
    stride = max(model.strides)
    said = {
        "stride": stride,
        "names": dict(enumerate(file.names)),
        "imgsz": [side_for(options.image_size, file.image_size, stride)] * 2,
    }
    document = _converted(model)
    if calibration is not None:
        document = _in_eight_bits(document, calibration)
    for key, value in said.items():
        document.set_rt_info(repr(value), ["framework", key])
    with _finished_folder(folder) as unfinished:
        import_openvino().save_model(document, str(unfinished / f"{stem}.xml"), compress_to_fp16=True)
        text = yaml.safe_dump(said, allow_unicode=True, sort_keys=False)
        (unfinished / f"{stem}.yaml").write_text(text, encoding="utf-8")
    return folder / f"{stem}.xml"


def calibration_pictures(prepared: PreparedDataset, stride: int) -> Pictures:
    """At most 300 of the training split, letterboxed as in validation, over all aspects: always the same."""
    return _Calibration(prepared, stride)


def require_packages(*, int8: bool) -> None:
    """Raises InvalidConfiguration if some are missing."""
    needed = ("openvino", "nncf") if int8 else ("openvino",)
    if missing := [name for name in needed if find_spec(name) is None]:
        raise InvalidConfiguration(
            f"--format openvino needs {' and '.join(missing)}; install with: pip install 'masktrain[trainer,export]'."
        )


@dataclass(frozen=True)
class _Calibration:
    prepared: PreparedDataset
    stride: int

    def __iter__(self) -> Iterator[npt.NDArray[np.float32]]:
        # The batches are in the order of their aspects: every so many-th shows all of them.
        step = -(-len(self.prepared.train.images) // MOST_CALIBRATED)
        size = self.prepared.image_size
        for batch in val_batches(
            self.prepared, self.prepared.train, image_size=size, batch_size=1, stride=self.stride, world_size=step
        ):
            yield (batch.images_BCHW.float() / 255).contiguous().numpy()


class _Boxes(nn.Module):
    """`Yolo.decode` as one polynomial of the sigmoids, a p^2 + b p + c, for all values alike.

    Cut into parts and joined again, they would be copied twice by a runtime that fuses arithmetic alone.
    """

    def __init__(self, model: Yolo) -> None:
        super().__init__()
        self.model = model
        self.strides = model.strides
        anchors_LA2 = model.anchors * torch.tensor(model.strides).view(-1, 1, 1)
        levels, anchors, _ = anchors_LA2.shape
        classes = model.num_classes
        square_LAP = torch.zeros(levels, anchors, 5 + classes)
        square_LAP[:, :, 2:4] = 4 * anchors_LA2
        self.square = square_LAP.view(levels, 1, anchors, 1, 1, -1)
        self.column, self.row = torch.zeros(5 + classes), torch.zeros(5 + classes)
        self.column[0] = self.row[1] = 1
        self.probability = torch.ones(5 + classes)
        self.probability[:4] = 0

    def forward(self, images: Tensor) -> Tensor:
        raws = self.model(images)
        return torch.cat([self._level(raws[level], level) for level in range(len(self.strides))], dim=1)

    def _level(self, raw_BAHWP: Tensor, level: int) -> Tensor:
        stride = self.strides[level]
        p_BAHWP = raw_BAHWP.sigmoid()
        # Where a cell's box is if its sigmoid is nought.
        x_WP = (torch.arange(raw_BAHWP.shape[3], dtype=torch.float32) - 0.5)[:, None] * self.column * stride
        y_H1P = (torch.arange(raw_BAHWP.shape[2], dtype=torch.float32) - 0.5)[:, None, None] * self.row * stride
        slope_P = (self.column + self.row) * (2 * stride) + self.probability
        return ((self.square[level] * p_BAHWP + slope_P) * p_BAHWP + y_H1P + x_WP).flatten(1, 3)


def _converted(model: Yolo) -> Any:
    openvino = import_openvino()
    with warnings.catch_warnings(), torch.no_grad():
        # The tracer's, and torch's about its own tracer: nothing that a user could change.
        warnings.simplefilter("ignore")
        document = openvino.convert_model(
            _Boxes(model).eval(),
            example_input=torch.zeros(_BATCH, 3, _SIDE, _SIDE),
            input=[openvino.PartialShape([-1, 3, -1, -1])],
        )
    document.inputs[0].set_names({"images"})
    document.outputs[0].set_names({"output0"})
    return document


def _in_eight_bits(document: Any, calibration: Pictures) -> Any:
    """All convolutions but those of the head: a pixel's position needs more than 256 steps.

    Symmetrically: zero points cost the matrix units of today's CPUs more than eight bits save.
    """
    import_openvino()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nncf  # noqa: PLC0415 - an extra, and seconds to import

        nncf.set_log_level(logging.ERROR)
        # Its bars go where a command's own lines go.
        with contextlib.redirect_stdout(io.StringIO()):
            return nncf.quantize(
                document,
                nncf.Dataset(calibration),
                # SiLU goes below zero: symmetric levels would lie idle there (NNCF's own advice for such networks).
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=MOST_CALIBRATED,
                ignored_scope=nncf.IgnoredScope(names=_head(document)),
            )


def _head(document: Any) -> list[str]:
    """Names of all operations from the last convolutions to the boxes."""
    found: dict[str, None] = {}
    waiting = [document.outputs[0].get_node()]
    while waiting:
        node = waiting.pop()
        name = node.get_friendly_name()
        if name in found:
            continue
        if node.get_type_name() not in ("Result", "Constant", "Parameter"):
            found[name] = None
        if node.get_type_name() not in ("Convolution", "ShapeOf"):
            waiting += [port.get_source_output().get_node() for port in node.inputs()]
    return list(found)


def refuse_other_folder(folder: Path) -> None:
    """Only an export is ever replaced. Raises InvalidConfiguration."""
    endings = {".xml", ".bin", ".yaml"}
    if folder.is_dir() and any(path.suffix not in endings for path in folder.iterdir()):
        raise InvalidConfiguration(f"{folder} holds other files than an export of OpenVINO; give the name of another.")


def replace_export(source: Path, target: Path) -> None:
    """Move a folder to where another export may lie, on another file system, too."""
    with _finished_folder(target) as unfinished:
        shutil.copytree(source, unfinished, dirs_exist_ok=True)


@contextlib.contextmanager
def _finished_folder(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to write to; it replaces `folder` at the end, or is gone after an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield unfinished
        # Made for its owner alone.
        unfinished.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
