"""What is no detector of YOLOv5 gets the sentence that is true of it.

Files are written by the programs that write such files where these are at hand; of others there are the first bytes.
"""

import bz2
import gzip
import io
import json
import lzma
import pickle
import re
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import TensorProto, helper
from PIL import Image
from torch import nn

from masktrain_trainer.errors import InvalidWeights, UnusableWeights
from masktrain_trainer.weights.load import load_weights, read_weights
from masktrain_trainer.weights.other_kinds import refuse_other_formats

from .test_yolov5 import REFUSED
from .traps import called, named, number, traps
from .yolov5_files import as_released, classifier, model, of_layers, save, source, stripped, unstripped

Write = Callable[[Path], object]
WANTED_WORDS, SOURCE_WORDS = "give a best.pt, or a .pt of YOLOv5's train.py", "give the .pt that it was made from"
WANTED, SOURCE = (rf"; {re.escape(words)}\.$" for words in (WANTED_WORDS, SOURCE_WORDS))


def content(*parts: bytes | str) -> Write:
    joined = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    return lambda path: path.write_bytes(joined)


def saved(make: Callable[[], Any], **options: Any) -> Write:
    return lambda path: save(make(), path, **options)


def zipped(*members: str, body: bytes = b"", compression: int = zipfile.ZIP_DEFLATED) -> Write:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", compression) as file:
            for member in members:
                file.writestr(member, body)

    return write


def repacked(prefix: str, compression: int) -> Write:
    """A genuine file, unpacked and packed anew."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(as_released(path.with_name("best.pt"))) as genuine, zipfile.ZipFile(path, "w") as file:
            for name in genuine.namelist():
                file.writestr(f"{prefix}{name}", genuine.read(name), compression)

    return write


def packed(pack: Callable[[bytes], bytes]) -> Write:
    return lambda path: path.write_bytes(pack(as_released(path.with_name("best.pt")).read_bytes()))


def _tar(member: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo(member), io.BytesIO())
    return buffer.getvalue()


def _picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, kind)
    return buffer.getvalue()


def _numpy(save_array: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    save_array(buffer, np.zeros(3))
    return buffer.getvalue()


def _torchscript(path: Path) -> None:
    """As YOLOv5's export.py does."""
    with warnings.catch_warnings():
        # Old, and what people have: a DeprecationWarning, in newer versions of torch a FutureWarning.
        warnings.simplefilter("ignore")
        script = torch.jit.trace(  # type: ignore[no-untyped-call]
            nn.Sequential(nn.Conv2d(3, 8, 1), nn.SiLU()), torch.zeros(1, 3, 4, 4)
        )
        torch.jit.save(script, str(path), _extra_files={"config.txt": json.dumps({"names": {"0": "mask"}})})


def _legacy(path: Path) -> None:
    with warnings.catch_warnings():
        # That the classes have no source, which that format stores.
        warnings.simplefilter("ignore", UserWarning)
        save(stripped(model(source())), path, _use_new_zipfile_serialization=False)


def _onnx(producer: str) -> Write:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "graph", values[:1], values[1:])
    return lambda path: onnx.save(helper.make_model(graph, producer_name=producer), str(path))


def _names(module: str, name: str) -> Write:
    """A torch file whose pickle calls this name."""
    return zipped("x/data.pkl", body=called(named(module, name), number(1)) + b".", compression=zipfile.ZIP_STORED)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 14808437\n"
LOGIN = "\n<!DOCTYPE html>\n<html lang=en><head>\n<title>\n Sign in &middot; GitLab</title></head>"
WARNING = "<!-- saved --><HTML><head><title>Google Drive - Virus scan warning</title>"
DENIED = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>no</Message></Error>'
TENSORS = json.dumps({"model.0.conv.weight": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}})

FORMATS: dict[str, tuple[Write, str]] = {
    "empty": (content(), r"^is empty; download or copy it again\.$"),
    "zeros": (content(bytes(5000)), "^is damaged: it begins with zeros"),
    "noise": (content(bytes(range(1, 256)) * 9), "^is not a file that torch.save writes: it is damaged, or another"),
    "Git LFS": (content(POINTER), r"^is a Git LFS pointer.*git lfs pull\.$"),
    "a login": (
        content(LOGIN),
        r'^is an HTML page \("Sign in · GitLab"\) and no weights: its address asks for a login',
    ),
    "a warning": (content(WARNING), r'^is an HTML page \("Google Drive - Virus scan warning"\)'),
    "a page without title": (content(b"\xef\xbb\xbf  <html>\r\n<body>404"), "^is an HTML page and no weights"),
    "a store's refusal": (content(DENIED), r'^is the answer of a store \("AccessDenied"\)'),
    "an error in JSON": (content('{"message": "Not Found"}'), "^is not a file that torch.save writes but a text"),
    "GitHub's 404": (content("404: Not Found"), "^is not a file that torch.save writes but a text"),
    "a model's yaml": (
        content("# YOLOv5 🚀\nnc: 80\nanchors:\n  - [10,13]\n"),
        "^is not a file that torch.save writes but a text",
    ),
    "ONNX of torch": (_onnx("pytorch"), f"^is an ONNX model, .*{SOURCE}"),
    "ONNX without a producer": (_onnx(""), f"^is an ONNX model, .*{SOURCE}"),
    "OpenVINO": (content('<?xml version="1.0"?>\n<net name="yolov5s" version="11">'), f"^is an OpenVINO.*{SOURCE}"),
    "TensorRT": (content(b"ftrt", bytes(40)), f"^is a TensorRT engine.*{SOURCE}"),
    "TensorRT with metadata": (
        content(struct.pack("<i", 40), '{"description": "Ultralytics YOLO"}'),
        "^is a TensorRT engine",
    ),
    "TensorFlow Lite": (content(b"\x1c\0\0\0TFL3", bytes(40)), f"^is a TensorFlow Lite model.*{SOURCE}"),
    "Core ML": (content(b"\x08\x04\x12\x9a\x03\x0a\x10\x0a\x05image"), "^is a Core ML or TensorFlow model"),
    "SavedModel": (content(b"\x08\x01\x12\xa3\x9a\x4f\x0a\xb1\x0b"), "^is a Core ML or TensorFlow model"),
    "frozen graph": (content(b"\x0a\x3a\x0a\x01x\x12\x0bPlaceholder*\x0b"), "^is a Core ML or TensorFlow model"),
    "safetensors": (
        content(struct.pack("<Q", len(TENSORS)), TENSORS, bytes(2)),
        f"^is a safetensors file, which says neither the classes nor the model{SOURCE}",
    ),
    "Keras": (content(b"\x89HDF\r\n\x1a\n", bytes(40)), f"^is an HDF5 file.*{WANTED}"),
    "Darknet": (content(struct.pack("<iiiQ", 0, 2, 5, 32013312), bytes(100)), f"^is a file of Darknet.*{WANTED}"),
    "NumPy": (content(_numpy(np.save)), "^is an array of NumPy"),
    "PNG": (content(_picture("PNG")), "^is a picture and no weights"),
    "JPEG": (content(_picture("JPEG")), "^is a picture and no weights"),
    "gzip": (packed(gzip.compress), r"^is packed with gzip; unpack it, and give the \.pt inside\.$"),
    "bzip2": (packed(bz2.compress), "^is packed with bzip2"),
    "xz": (packed(lzma.compress), "^is packed with xz"),
    "zstd": (content(b"\x28\xb5\x2f\xfd\x04\x00"), "^is packed with zstd"),
    "7-Zip": (content(b"7z\xbc\xaf\x27\x1c\x00\x04"), "^is packed with 7-Zip"),
    "RAR": (content(b"Rar!\x1a\x07\x01\x00"), "^is packed with RAR"),
    "tar": (content(_tar("runs/train/exp/weights/best.pt")), "^is a tar archive; unpack it"),
    "torch 0.1": (content(_tar("sys_info")), r"format of torch before 1\.6"),
    "torch before 1.6": (
        _legacy,
        r"format of torch before 1\.6.*torch\.save",
    ),
    "torch before 1.6, protocol 4": (
        saved(lambda: {"a": torch.zeros(2)}, _use_new_zipfile_serialization=False, pickle_protocol=4),
        r"format of torch before 1\.6.*torch\.save",
    ),
    "PaddlePaddle": (content(pickle.dumps({"conv.w_0": [0.5]}, 4)), f"^is a pickle of another program.*{WANTED}"),
}
ZIPS: dict[str, tuple[Write, str]] = {
    "an empty one": (zipped(), "^is an empty zip"),
    "TorchScript": (_torchscript, r"^is TorchScript, whose weights are not read; give the \.pt it was made from\.$"),
    "torch.export": (
        zipped("yolov5s/archive_format", "yolov5s/models/model.json", body=b"pt2"),
        f"^is a program of torch.export.*{SOURCE}",
    ),
    "torch.export of torch 2.1": (
        zipped("serialized_exported_program.json", "version"),
        "^is a program of torch.export",
    ),
    "compressed anew": (repacked("", zipfile.ZIP_DEFLATED), "^is a compressed zip, where torch.save writes an unco"),
    "in one more folder": (repacked("best/", zipfile.ZIP_STORED), "^is a file of torch.save that was unpacked and"),
    "without its folder": (zipped("data.pkl", "version", "data/0"), "^is a file of torch.save that was unpacked and"),
    "around weights": (zipped("exp/results.csv", "exp/weights/best.pt"), r"^is a zip that holds best\.pt; unpack it"),
    "a data set": (
        zipped("data.yaml", "train/labels/a.txt"),
        r"^is a zip of pictures or a data set, which dataset\.uri",
    ),
    "pictures": (zipped("photos/IMG_1.JPG"), "^is a zip of pictures or a data set"),
    "SavedModel": (zipped("m/saved_model.pb", "m/variables/variables.index"), f"^is a TensorFlow SavedModel.*{SOURCE}"),
    "Core ML": (zipped("m.mlpackage/Data/com.apple.CoreML/model.mlmodel"), "^is a Core ML package"),
    "Keras": (zipped("config.json", "metadata.json", "model.weights.h5"), f"^is a file of Keras.*{WANTED}"),
    "NumPy": (content(_numpy(np.savez)), "^is a file of NumPy's arrays"),
    "anything": (zipped("notes.txt"), "^is a zip without the one data.pkl"),
    "code that is no TorchScript": (zipped("yolov5/code/train.py"), "^is a zip without the one data.pkl"),
}
MODELS: dict[str, tuple[Write, str]] = {
    "classification": (
        saved(lambda: stripped(classifier().half())),
        r"^is a YOLOv5 classification model; only detectors are taken: give one without -cls\.$",
    ),
    "classification, unstripped": (
        saved(lambda: unstripped(classifier(), classifier())),
        "^is a YOLOv5 classification model",
    ),
    "segmentation": (
        saved(
            lambda: stripped(
                of_layers(
                    *(f"models.common.{name}" for name in ("Conv", "C3", "SPPF", "Concat")),
                    "models.yolo.Segment",
                    root="models.yolo.SegmentationModel",
                )
            )
        ),
        r"^is a YOLOv5 segmentation model; only detectors are taken: give one without -seg\.$",
    ),
    "segmentation of YOLOv9": (
        saved(lambda: of_layers("models.common.RepNCSPELAN4", root="models.yolo.SegmentationModel")),
        r"^has layers of YOLOv9 \(RepNCSPELAN4\)",
    ),
    "YOLOv7": (
        saved(lambda: {"model": of_layers("models.common.MP", "models.common.SPPCSPC", "models.yolo.IDetect")}),
        f"^has layers of YOLOv7 \\(IDetect, MP, SPPCSPC\\), which none of YOLOv5's ten sizes n to x6 has{WANTED}",
    ),
    "YOLOv9": (
        saved(lambda: {"model": None, "ema": of_layers("models.common.ADown", root="models.yolo.DetectionModel")}),
        r"^has layers of YOLOv9 \(ADown\)",
    ),
    "Scaled-YOLOv4": (saved(lambda: {"model": of_layers("models.common.VoVCSP")}), "^has layers of Scaled-YOLOv4 or"),
    "yolov5-face": (saved(lambda: {"model": of_layers("models.common.StemBlock")}), "^has layers of yolov5-face"),
    "YOLOv3 of YOLOv5's": (
        saved(lambda: stripped(of_layers("models.common.Conv", "models.common.Bottleneck", "models.yolo.Detect"))),
        f"^is a YOLOv3, which YOLOv5's repository trains too.*{WANTED}",
    ),
    "a changed YOLOv5": (
        saved(lambda: stripped(of_layers("models.common.C3", "models.common.C3TR", "models.common.CBAM"))),
        r"^has layers that none of the ten sizes n to x6 of YOLOv5 has \(C3TR, CBAM\)",
    ),
    "many layers of its own": (
        saved(lambda: stripped(of_layers(*(f"models.common.L{number}" for number in range(7))))),
        r"\(L0, L1, L2, L3, L4 and others\)",
    ),
    "before v6.0": (
        saved(lambda: stripped(of_layers("models.common.Focus", "models.common.BottleneckCSP", "models.common.SPP"))),
        r"^is from before YOLOv5 v6\.0",
    ),
    "v4's pair of average and updates": (
        saved(lambda: {"model": of_layers("models.common.Focus"), "ema": (of_layers("models.common.Focus"), 10)}),
        r"^is from before YOLOv5 v6\.0",
    ),
    "YOLOv8": (
        saved(lambda: {"model": of_layers("ultralytics.nn.modules.C2f", root="ultralytics.nn.tasks.DetectionModel")}),
        "^is a model of the package ultralytics",
    ),
    "YOLOv6": (
        saved(lambda: {"ema": of_layers(root="yolov6.models.yolo.Model")}),
        r"^is a model of YOLOv6; give a file",
    ),
    "YOLOX, whole": (saved(lambda: of_layers(root="yolox.models.yolox.YOLOX")), "^is a model of YOLOX"),
    "torchvision": (saved(torchvision.models.squeezenet1_1), "^is a model of torchvision"),
    "another program's": (
        saved(lambda: {"model": of_layers(root="other.Net")}),
        r"^names other\.Net, which no file of",
    ),
    "torch.nn's": (saved(lambda: nn.Sequential(nn.Conv2d(3, 8, 1))), "Sequential, which is no YOLOv5 detector"),
    "state dict": (saved(lambda: source().state_dict()), "^is a plain state dict, which says neither the classes nor"),
    "state dict of DDP": (
        saved(lambda: {f"module.{name}": tensor for name, tensor in source().state_dict().items()}),
        "^is a plain state dict, which says neither",
    ),
    "state dict in a checkpoint": (
        saved(lambda: {"epoch": 3, "loss": torch.zeros(()), "model_state_dict": source().state_dict()}),
        "^is a plain state dict, which says neither",
    ),
    "state dict of YOLOX": (
        saved(lambda: {"start_epoch": 1, "model": {"backbone.backbone.stem.conv.conv.weight": torch.zeros(1)}}),
        r"^is a plain state dict of another program: it begins with backbone\.backbone\.stem\.conv\.conv\.",
    ),
    "quantised": (_names("torch.ao.nn.quantized.modules.conv", "Conv2d"), f"^is a quantised model.*{SOURCE}"),
    "quantised tensors": (_names("torch._utils", "_rebuild_qtensor"), "^is a quantised model"),
    "torch.fx": (_names("torch.fx.graph_module", "reduce_graph_module"), "^is a graph of torch.fx"),
    "a Mac's GPU": (
        _names("torch._utils", "_rebuild_device_tensor_from_numpy"),
        "^was saved on a device whose tensors",
    ),
    "dill with code": (
        _names("dill._dill", "_create_type"),
        "^was pickled together with program code.*plain torch.save",
    ),
    "cloudpickle": (_names("cloudpickle.cloudpickle", "_make_function"), "^was pickled together with program code"),
    "a tensor": (saved(lambda: torch.zeros(3)), f"^holds a Tensor and no model{WANTED}"),
    "another format field": (saved(lambda: {"format": "pt"}), f"^holds no model{WANTED}"),
    "a later MaskTrain's": (saved(lambda: {"format": "masktrain-v9"}), "which this version of MaskTrain does not know"),
}
KINDS = {
    f"{table}: {kind}": row
    for table, rows in (("format", FORMATS), ("zip", ZIPS), ("model", MODELS))
    for kind, row in rows.items()
}
DAMAGED = ("format: zeros", "format: noise")


def said_of(write: Write, path: Path) -> str:
    write(path)
    with pytest.raises(UnusableWeights) as caught:
        read_weights(path)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_gets_its_sentence(kind: str, tmp_path: Path) -> None:
    write, sentence = KINDS[kind]
    said = said_of(write, tmp_path / "file.pt")
    assert re.search(sentence, said), said
    assert said.endswith(".")
    assert "\n" not in said
    assert ("damaged" in said) is (kind in DAMAGED)


def test_the_document_has_the_sentences_as_they_are_printed(tmp_path: Path) -> None:
    document = (Path(__file__).parents[4] / "docs/weights.md").read_text(encoding="utf-8")
    section = document.partition("## What is refused, and why")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    shown = {sentence for row in rows for sentence in re.findall("`([^`]+[.])`", row)}
    others = [saved(make) for make, _ in REFUSED.values()]
    malicious = traps(tmp_path / "executed", 0xF0)
    others += [
        zipped("x/data.pkl", "x/data/0", body=malicious["os.system"].content, compression=zipfile.ZIP_STORED),
        saved(lambda: torch.zeros(1).expand(10**9)),
    ]
    written = (write for write, _ in KINDS.values())
    said = {said_of(write, tmp_path / f"{number}.pt") for number, write in enumerate([*written, *others])}
    abbreviated = {sentence.replace(WANTED_WORDS, "WANTED").replace(SOURCE_WORDS, "SOURCE") for sentence in said}
    assert len(shown) >= 30
    assert shown - abbreviated == set()


def test_torch_deflates_the_code_of_torchscript(tmp_path: Path) -> None:
    """So that a file without any compressed member, as tests had it, is not what people have."""
    _torchscript(tmp_path / "a.torchscript")
    with zipfile.ZipFile(tmp_path / "a.torchscript") as file:
        deflated = [member.filename for member in file.infolist() if member.compress_type == zipfile.ZIP_DEFLATED]
    assert any("/code/__torch__" in name for name in deflated)


def test_the_file_is_named_in_front(tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_text(POINTER)
    with pytest.raises(InvalidWeights, match=rf"^{tmp_path}/best\.pt is a Git LFS pointer"):
        load_weights(str(tmp_path / "best.pt"), None)


def test_steering_characters_of_a_page_are_not_printed() -> None:
    with pytest.raises(UnusableWeights, match=r"\(\"a\\x1b\[31mb c\"\)"):
        refuse_other_formats(b"<html><title>a\x1b[31mb\nc</title>")


@pytest.mark.parametrize("start", [b"<!---->" * 290, b"<!--" * 500, b" " * 2048, b"<html" + b"<title>" * 290], ids=repr)
def test_no_start_takes_long(start: bytes) -> None:
    """Each of these could be divided in more ways than there are seconds."""
    with pytest.raises(UnusableWeights):
        refuse_other_formats(start)
