"""`masktrain export`: from a best.pt and a format to a file, or OpenVINO's folder of files."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.weights.load import load_weights
from masktrain_trainer.weights.yolov5 import DetectorWeights

from .onnx import OnnxOptions, write_onnx
from .openvino import OpenVinoOptions, folder_of, write_openvino
from .yolov5 import write_yolov5

FORMATS = {"yolov5": "-yolov5.pt", "onnx": ".onnx", "openvino": folder_of("")}
"""Endings of the files that are named after the weights."""


@dataclass(frozen=True)
class ExportRequest:
    """What is to be written: see `OnnxOptions` for image size, half and dynamic."""

    weights: str
    to: str
    output: Path | None
    options: OnnxOptions
    endpoint: str | None = None


def run_export(request: ExportRequest) -> str:
    """Write the file and say what it is. Raises UserError."""
    path = output_of(request)
    file = load_weights(request.weights, request.endpoint)
    options, model = request.options, _described(file)
    if request.to == "yolov5":
        write_yolov5(file, path)
        return f"{path}: {model}, float16, for YOLOv5 v7.0"
    if request.to == "openvino":
        write_openvino(file, path, OpenVinoOptions(options.image_size))
        return f"{path}: {model}, float16, for any images"
    size = write_onnx(file, path, options)
    shape = "any images" if options.dynamic else f"one image of {size} x {size} px"
    return f"{path}: {model}, {'float16' if options.half else 'float32'}, for {shape}"


def output_of(request: ExportRequest, *, mark: str = "") -> Path:
    """Where the export is written; `mark` follows the name of the weights. Raises InvalidConfiguration."""
    if request.to not in FORMATS:
        raise InvalidConfiguration(f"--format {request.to} is not known; take one of {', '.join(FORMATS)}.")
    if request.to == "yolov5" and (request.options.image_size is not None or request.options.dynamic):
        raise InvalidConfiguration(
            "--format yolov5 fixes no image size or batch; leave --image-size and --dynamic out."
        )
    weights = request.weights
    path = request.output or Path(f"{PurePosixPath(weights.partition('?')[0]).stem}{mark}{FORMATS[request.to]}")
    is_wrong_kind = path.is_dir() and request.to != "openvino"
    if is_wrong_kind or ("://" not in weights and path.resolve() == Path(weights).resolve()):
        raise InvalidConfiguration(
            f"--output {path} is a folder or the weights themselves; give the name of another file."
        )
    if request.to == "openvino" and path.is_file():
        raise InvalidConfiguration(f"--output {path} is a file; OpenVINO's are a folder: give the name of one.")
    return path


def _described(file: DetectorWeights) -> str:
    classes = len(file.names)
    return f"{file.architecture.value}, {classes} class{'' if classes == 1 else 'es'}"
