"""`masktrain export --data`: an export that is measured beside its original, and refused if it lost too much."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from masktrain_trainer.data.prepare import SINGLE_CLASS
from masktrain_trainer.data.prepared import PreparedDataset
from masktrain_trainer.errors import InvalidConfiguration, InvalidDataset
from masktrain_trainer.export.command import ExportRequest, output_of
from masktrain_trainer.export.onnx import side_for
from masktrain_trainer.export.openvino import refuse_other_folder, replace_export, require_packages
from masktrain_trainer.export.twin import OPENVINO, TwinOptions, export_twins
from masktrain_trainer.weights.load import load_weights
from masktrain_trainer.weights.yolov5 import DetectorWeights

from .datasets import check_dataset, open_dataset, scratch_folder
from .evaluate import compare_names

Say = Callable[[str], None]


def export_measured(request: ExportRequest, data: str | None, most: float, *, int8: bool, say: Say) -> str:
    """Write OpenVINO's files and say how they and the original score. Raises UserError or StoreError.

    `most`: of mAP50 that it may lose. Nothing is left of a twin that is refused.
    """
    path = output_of(request, mark="-int8" if int8 else "")
    if request.to != "openvino":
        raise InvalidConfiguration(f"--int8 and --data are for --format openvino; leave them out with {request.to}.")
    if data is None:
        raise InvalidConfiguration(
            "--int8 needs --data: eight bits are calibrated on training pictures and measured on the validation split."
        )
    require_packages(int8=int8)
    refuse_other_folder(path)
    file = load_weights(request.weights, request.endpoint)
    size = side_for(request.options.image_size, file.image_size, file.architecture.max_stride)
    with scratch_folder() as scratch:
        root = open_dataset(data, request.endpoint, scratch, say)
        prepared = _prepared(file, root, size, scratch, say)
        options = TwinOptions((OPENVINO,), int8=int8, floats=not int8, max_accuracy_loss=most)
        stem = PurePosixPath(request.weights.partition("?")[0]).stem
        (twin,) = export_twins(file, prepared, options, scratch / "twin", say, stem=stem)
        if twin.refused is not None:
            raise InvalidConfiguration(f"{twin.refused} Allow more with --max-accuracy-loss, or leave --int8 out.")
        # What lies there stays until the new one is accepted.
        replace_export(twin.path, path)
    return str(twin) if path.name == twin.path.name else f"{path}: {twin}"


def _prepared(file: DetectorWeights, root: Path, size: int, scratch: Path, say: Say) -> PreparedDataset:
    single = file.names == [SINGLE_CLASS]
    checked = check_dataset(root, scratch, say, image_size=size, splits=("train", "val"), single_class=single)
    for split in ("train", "val"):
        if split not in checked.splits:
            raise InvalidDataset(f"The data set has no {split!r} split; its data.yaml names none that exists.")
    if not single:
        compare_names(file.names, checked.names, say)
    train, val = checked.splits["train"].split, checked.splits["val"].split
    return PreparedDataset(names=file.names, image_size=size, train=train, val=val)
