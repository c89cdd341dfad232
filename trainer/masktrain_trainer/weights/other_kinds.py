"""What else lies around under the name .pt, and the one sentence that is true of each kind.

One table for each thing that tells a kind apart: a file's first bytes, the members of its zip, a name in its pickle,
the layers of its model, the names of its tensors. What no table knows is the caller's to refuse.
"""

import re
from collections.abc import Collection, Iterable, Set
from html import unescape
from typing import Final

from masktrain_trainer.errors import UnusableWeights, printable

BYTES_THAT_TELL: Final = 2048
"""From the start of a file."""
_LONGEST_MEMBER: Final = 300
_MOST_NAMED: Final = 5
WANTED: Final = "give a best.pt, or a .pt of YOLOv5's train.py"
_SOURCE: Final = "give the .pt that it was made from"
_AGAIN: Final = "download or copy it again"

_BEFORE_1_6: Final = (
    "was written in the format of torch before 1.6, which is not read; in an environment that you trust it in, "
    "load it with the program that wrote it and call torch.save on it with a newer torch."
)


def _exported(what: str) -> str:
    return f"is {what}, made to run and not to train on; {_SOURCE}."


def _packed(how: str) -> str:
    return f"is packed with {how}; unpack it, and give the .pt inside."


# Atomic: a file may be made of comments that would be divided in every possible way.
_HTML: Final = (
    rb"(?i:(?:\xef\xbb\xbf)?\s*(?:(?><!--.*?-->)\s*)*+<(?:!doctype\s+html|html|head|body)\b"
    rb"(?:.*?<title[^>]*>([^<]{1,200}))?)"
)
_PAGE: Final = (
    "is an HTML page{} and no weights: its address asks for a login, or leads to a page about the file; "
    "give the address of the file itself."
)
_BY_START: Final = tuple(
    (re.compile(pattern, re.DOTALL), sentence)
    for pattern, sentence in (
        (rb"\Z", f"is empty; {_AGAIN}."),
        # Darknet: the version 0.1, 0.2 or 0.2.5, as three numbers.
        (
            rb"\x00{4}[\x01\x02]\x00{3}[\x00\x05]\x00{3}",
            f"is a file of Darknet (YOLOv4 and before), whose models are not YOLOv5's; {WANTED}.",
        ),
        (rb"\x00+\Z", f"is damaged: it begins with zeros, as a file whose copy broke off does; {_AGAIN}."),
        (
            rb"version https://git-lfs\.github\.com/spec/",
            "is a Git LFS pointer, a text that stands for the file; fetch the file itself with git lfs pull.",
        ),
        (_HTML, _PAGE),
        (
            rb"\s*(?:<\?xml[^>]*>\s*)?<Error\b(?:.*?<Code>([^<]{1,80}))?",
            f"is the answer of a store{{}} that was saved in place of the file; {_AGAIN}.",
        ),
        (rb"\s*(?:<\?xml[^>]*>\s*)?<net\b", _exported("an OpenVINO model")),
        # The magic number of torch's own pickles, after a protocol and perhaps a frame.
        (rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19\.", _BEFORE_1_6),
        (rb"(?=.{257}ustar)(?:sys_info|pickle|storages|tensors)\x00", _BEFORE_1_6),
        (rb".{257}ustar", "is a tar archive; unpack it, and give the .pt inside."),
        (
            rb"\x80[\x02-\x05]",
            f"is a pickle of another program (such as joblib or PaddlePaddle) and no file of YOLOv5; {WANTED}.",
        ),
        (rb"\x1f\x8b", _packed("gzip")),
        (rb"BZh[1-9]", _packed("bzip2")),
        (rb"\xfd7zXZ\x00", _packed("xz")),
        (rb"\x28\xb5\x2f\xfd", _packed("zstd")),
        (rb"7z\xbc\xaf\x27\x1c", _packed("7-Zip")),
        (rb"Rar!\x1a\x07", _packed("RAR")),
        (rb"PK\x05\x06", "is an empty zip; give a .pt file."),
        (rb"[fp]trt|.{4}\{\"description\"", _exported("a TensorRT engine")),
        (rb".{4}\x00{4}\{", f"is a safetensors file, which says neither the classes nor the model; {_SOURCE}."),
        (rb".{4}TFL3", _exported("a TensorFlow Lite model")),
        # The second field is the producer's name here, and a message of fields in the other two.
        (rb"\x08.(?:\x12(?:\x00|[\x01-\x7f][ -~])|[\x1a\x22\x28\x32\x3a\x42])", _exported("an ONNX model")),
        (rb"\x08.\x12.{1,4}\x0a|\x0a.{1,4}\x0a.{1,80}\x12.Placeholder", _exported("a Core ML or TensorFlow model")),
        (rb"\x89HDF\r\n", f"is an HDF5 file, as Keras writes them, and no file of YOLOv5; {WANTED}."),
        (rb"\x93NUMPY", f"is an array of NumPy and no model; {WANTED}."),
        (rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF.{4}WEBP", f"is a picture and no weights; {WANTED}."),
        # No control characters: a text, which is not shown, for nobody knows what it is.
        (
            rb"[^\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]{5,}\Z",
            f"is not a file that torch.save writes but a text, a server's error message perhaps; {WANTED}.",
        ),
    )
)


def refuse_other_formats(start: bytes) -> None:
    """`start`: the first BYTES_THAT_TELL of a file that is no zip."""
    for pattern, sentence in _BY_START:
        if found := pattern.match(start):
            raise UnusableWeights(sentence.format(*map(_in_brackets, found.groups())))
    raise UnusableWeights(
        "is not a file that torch.save writes: it is damaged, or another program's; download it again, or give a .pt."
    )


def _in_brackets(said: bytes | None) -> str:
    """What a page says of itself, behind what it is."""
    words = " ".join(unescape((said or b"").decode(errors="replace")).split())
    return f' ("{printable(words[:80])}")' if words else ""


_TORCHSCRIPT: Final = re.compile(r"^[^/\n]+/(?:constants\.pkl|code/__torch__)", re.MULTILINE)
_BY_MEMBER: Final = tuple(
    (re.compile(pattern, re.MULTILINE | re.IGNORECASE), sentence)
    for pattern, sentence in (
        (r"(?:^|/)(?:serialized_exported_program\.json|archive_format)$", _exported("a program of torch.export")),
        (
            r"(?:^|/)data\.pkl$",
            "is a file of torch.save that was unpacked and packed anew in other folders; give the .pt as it was.",
        ),
        (r"(?:^|/)([^/\n]+\.pth?)$", "is a zip that holds {}; unpack it, and give that file."),
        (
            r"(?:^|/)data\.ya?ml$|\.(?:jpe?g|png|bmp|webp|tiff?)$",
            f"is a zip of pictures or a data set, which dataset.uri takes, and no weights; {WANTED}.",
        ),
        (r"(?:^|/)saved_model\.pb$", _exported("a TensorFlow SavedModel")),
        (r"com\.apple\.CoreML", _exported("a Core ML package")),
        (r"(?:^|/)model\.weights\.h5$", f"is a file of Keras and none of YOLOv5; {WANTED}."),
        (r"\.npy$", f"is a file of NumPy's arrays and no model; {WANTED}."),
    )
)


def refuse_other_zips(members: Iterable[str], *, torch: bool) -> None:
    """`members`: names in a zip; `torch`: it has the pickle of torch.save where that writes it."""
    names = "\n".join(name for name in members if len(name) <= _LONGEST_MEMBER)
    if _TORCHSCRIPT.search(names):
        raise UnusableWeights("is TorchScript, whose weights are not read; give the .pt it was made from.")
    for pattern, sentence in () if torch else _BY_MEMBER:
        if found := pattern.search(names):
            raise UnusableWeights(sentence.format(*map(printable, found.groups())))


def _not_from(program: str) -> str:
    return f"is a model of {program}; give a file of YOLOv5 itself."


_NUMPY_TENSORS: Final = (
    "was saved on a device whose tensors torch writes in another way (a TPU, or a Mac's GPU with torch before 2.0); "
    "move the model to the CPU there and save it again."
)
_CLASSIFICATION: Final = "is a YOLOv5 classification model; only detectors are taken: give one without -cls."
_BY_NAME: Final = {
    # Known by its name and not by its layers: train.py leaves the transforms of another package in it.
    "models.yolo.ClassificationModel": _CLASSIFICATION,
    "yolov5.models.yolo.ClassificationModel": _CLASSIFICATION,
    "torch._utils._rebuild_device_tensor_from_numpy": _NUMPY_TENSORS,
    "torch._utils._rebuild_xla_tensor": _NUMPY_TENSORS,
    "torch._utils._rebuild_qtensor": _exported("a quantised model"),
}
_BY_PACKAGE: Final = {
    "ultralytics": _not_from("the package ultralytics (YOLOv8 and newer, YOLOv5u)"),
    "yolov6": _not_from("YOLOv6"),
    "yolox": _not_from("YOLOX"),
    **dict.fromkeys(("mmcv", "mmdet", "mmengine"), _not_from("OpenMMLab")),
    "detectron2": _not_from("Detectron2"),
    "super_gradients": _not_from("SuperGradients (YOLO-NAS)"),
    "transformers": _not_from("Hugging Face's transformers"),
    "timm": _not_from("timm"),
    "effdet": _not_from("EfficientDet"),
    "rfdetr": _not_from("RF-DETR"),
    **dict.fromkeys(("lightning", "pytorch_lightning"), _not_from("PyTorch Lightning")),
    "fastai": _not_from("fastai"),
    "torchvision.models": _not_from("torchvision"),
    "torch.fx": _exported("a graph of torch.fx"),
    **dict.fromkeys(("torch.ao", "torch.quantization"), _exported("a quantised model")),
    **dict.fromkeys(
        ("dill", "cloudpickle"),
        "was pickled together with program code (by dill or cloudpickle), which is never run; "
        "save it again with plain torch.save.",
    ),
}
"""By the package that a name is in, or by that and the one in it."""


def refuse_by_name(module: str, name: str) -> None:
    """For a name of a pickle that tells what the whole file is."""
    package, *inner = module.split(".", 2)
    known = (
        _BY_NAME.get(f"{module}.{name}"),
        _BY_PACKAGE.get(package),
        _BY_PACKAGE.get(".".join([package, *inner[:1]])),
    )
    for sentence in filter(None, known):
        raise UnusableWeights(sentence)


_FAMILIES: Final = (
    ("yolov5-face", {"StemBlock"}),
    ("YOLOv9", {"RepNCSPELAN4", "ELAN1", "SPPELAN", "ADown", "DDetect", "DualDetect", "DualDDetect", "TripleDDetect"}),
    ("Scaled-YOLOv4 or YOLOR", {"BottleneckCSP2", "BottleneckCSPF", "VoVCSP", "SPPCSP"}),
    ("YOLOv7", {"MP", "SP", "SPPCSPC", "ReOrg", "RepConv", "IDetect", "IAuxDetect", "IBin", "IKeypoint"}),
)
"""Layers that YOLOv5 lacks. The root of the checkpoints is the same, since all of these began as copies of YOLOv5."""
_OWN_LAYERS: Final = frozenset({"Conv", "C3", "Bottleneck", "SPPF", "Concat", "Detect"})
_YOLOV3_LAYERS: Final = frozenset({"Conv", "Bottleneck", "SPP", "Concat", "Detect"})


def refuse_other_families(layers: Set[str]) -> None:
    """`layers`: names of the classes in a model whose root could be YOLOv5's, but for torch's own."""
    for family, only in _FAMILIES:
        if found := only & layers:
            raise UnusableWeights(
                f"has layers of {family} ({_listed(found)}), which none of YOLOv5's ten sizes n to x6 has; {WANTED}."
            )
    if "Focus" in layers:
        raise UnusableWeights(
            "is from before YOLOv5 v6.0, whose models have other layers (Focus, SPP); files from v6.0 on are read."
        )


def layers_objection(layers: Set[str]) -> str:
    """What is to be said of a model that is none of the ten sizes. `layers`: as above."""
    if "Bottleneck" in layers and layers <= _YOLOV3_LAYERS:
        return f"is a YOLOv3, which YOLOv5's repository trains too, and none of YOLOv5's ten sizes n to x6; {WANTED}."
    if others := layers - _OWN_LAYERS:
        return (
            f"has layers that none of the ten sizes n to x6 of YOLOv5 has ({_listed(others)}); "
            "other families and models with layers of their own are not known here."
        )
    return (
        "is a YOLOv5 detector whose layers are those of none of the ten sizes n to x6; "
        "models with layers of their own are not known here."
    )


def _listed(names: Collection[str]) -> str:
    named = ", ".join(sorted(names)[:_MOST_NAMED])
    return f"{named} and others" if len(names) > _MOST_NAMED else named


_TENSOR: Final = re.compile(r"(?:module\.)?model\.\d+\.")


def state_dict_objection(tensors: Iterable[str]) -> str:
    """`tensors`: the names in a plain state dict, of YOLOv5's or of something else."""
    first = next(iter(tensors), "")
    if _TENSOR.match(first):
        return (
            "is a plain state dict, which says neither the classes nor the model; "
            "give the .pt that YOLOv5 wrote, with the whole model in it."
        )
    return (
        f"is a plain state dict of another program: it begins with {printable(first[:80])}, "
        f"where YOLOv5's tensors are named model.0.conv.weight; {WANTED}."
    )
