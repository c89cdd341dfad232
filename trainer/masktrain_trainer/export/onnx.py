"""A best.pt as an ONNX file with the input, the output and the metadata of YOLOv5's own export.

`images` is (B, 3, H, W), RGB in 0..1; `output0` is (B, N, 5 + classes): centre x, y, w, h in pixels, objectness and
class probabilities, before non-maximum suppression.
"""

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.files import finished_whole
from masktrain_trainer.model.yolo import Yolo
from masktrain_trainer.predict.predictor import load_yolo, round_up
from masktrain_trainer.weights.yolov5 import DetectorWeights

OPSET: Final = 18
"""The oldest that PyTorch's exporter writes without conversion."""
_NEEDED: Final = ("onnx", "onnxscript")


@dataclass(frozen=True)
class OnnxOptions:
    """`image_size` in pixels of both sides, None as trained.

    `half`: float16 weights and input; the output stays float32.
    `dynamic`: any number of images, and sides of any multiple of the stride.
    """

    image_size: int | None = None
    half: bool = False
    dynamic: bool = False


class _Decoded(nn.Module):
    def __init__(self, model: Yolo) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.decode(self.model(images))


def write_onnx(file: DetectorWeights, path: Path, options: OnnxOptions) -> int:
    """Write `file` with its batch norms folded; returns the side in pixels. Replaces `path` as a whole.

    Raises UserError if the packages are missing or the image size does not suit the model.
    """
    _require_packages()
    import onnx  # noqa: PLC0415 - an extra

    model = load_yolo(file).fuse()
    stride = max(model.strides)
    image_size = side_for(options.image_size, file.image_size, stride)
    document = _exported(_Decoded(model).eval(), image_size, stride, options)
    # YOLOv5's detect.py evaluates both, so the names must be a Python literal and not JSON.
    names = repr(dict(enumerate(file.names)))
    said = {"stride": str(stride), "names": names, "imgsz": str([image_size, image_size])}
    onnx.helper.set_model_props(document, said)
    onnx.checker.check_model(document)
    with finished_whole(path) as unfinished:
        # By name, since the unfinished file's ending says nothing of its format.
        onnx.save_model(document, str(unfinished), format="protobuf")
    return image_size


def _require_packages() -> None:
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise InvalidConfiguration(
            f"--format onnx needs {' and '.join(missing)}; install with: pip install 'masktrain[trainer,export]'.",
        )


def side_for(asked: int | None, trained: int, stride: int) -> int:
    """The side in pixels, `asked` or as trained. Raises InvalidConfiguration if it does not suit the model."""
    size = round_up(trained, stride) if asked is None else asked
    if size % stride:
        raise InvalidConfiguration(
            f"--image-size {size} is not a multiple of the model's stride {stride}; take {round_up(size, stride)}.",
        )
    return size


def _exported(model: nn.Module, image_size: int, stride: int, options: OnnxOptions) -> Any:
    """The ONNX document, not yet with our metadata."""
    # The tracer takes a dimension of 1 for a constant, so two images stand for any number of them.
    images = torch.zeros(2 if options.dynamic else 1, 3, image_size, image_size)
    with warnings.catch_warnings():
        # torch 2.10's exporter calls what torch 2.10 has itself declared old: nothing that a user could change.
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*LeafSpec.* is deprecated")
        program = torch.onnx.export(
            model.half() if options.half else model,
            (images.half() if options.half else images,),
            input_names=["images"],
            output_names=["output0"],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=(_any_shape(stride),) if options.dynamic else None,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _any_shape(stride: int) -> dict[int, Any]:
    rows, columns = torch.export.Dim("rows", min=1, max=1024), torch.export.Dim("columns", min=1, max=1024)
    return {0: torch.export.Dim("batch", min=1, max=4096), 2: stride * rows, 3: stride * columns}
