"""`masktrain export`: from a best.pt and a format to a file."""

from pathlib import Path

from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.weights.load import load_weights

from .onnx import OnnxOptions, write_onnx
from .yolov5 import write_yolov5

FORMATS = {"yolov5": "-yolov5.pt", "onnx": ".onnx"}
"""Endings of the files that are named after the weights."""


def run_export(weights: str, to: str, output: Path | None, options: OnnxOptions, endpoint: str | None = None) -> str:
    """Write the file and say what it is. Raises UserError."""
    if to not in FORMATS:
        raise InvalidConfiguration(f"--format {to} is not known; take one of {', '.join(FORMATS)}.")
    if to == "yolov5" and (options.image_size is not None or options.dynamic):
        raise InvalidConfiguration(
            "--format yolov5 fixes no image size or batch; leave --image-size and --dynamic out."
        )
    path = output or Path(Path(weights).stem + FORMATS[to])
    if path.is_dir() or ("://" not in weights and path.resolve() == Path(weights).resolve()):
        raise InvalidConfiguration(
            f"--output {path} is a folder or the weights themselves; give the name of another file."
        )
    file = load_weights(weights, endpoint)
    classes = len(file.names)
    model = f"{file.architecture.value}, {classes} class{'' if classes == 1 else 'es'}"
    if to == "yolov5":
        write_yolov5(file, path)
        return f"{path}: {model}, float16, for YOLOv5 v7.0"
    size = write_onnx(file, path, options)
    shape = "any images" if options.dynamic else f"one image of {size} x {size} px"
    return f"{path}: {model}, {'float16' if options.half else 'float32'}, for {shape}"
