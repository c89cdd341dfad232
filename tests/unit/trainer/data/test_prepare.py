"""The preparation stage as the supervisor sees it: exit code and result file, for good input and every kind of bad."""

from __future__ import annotations

import errno
import io
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masktrain_trainer.config import (
    CONFIG_VARIABLE,
    CheckpointSpec,
    DatasetSpec,
    ModelSpec,
    RunConfig,
    SecretRef,
    StoreSpec,
    TrainingSpec,
)
from masktrain_trainer.data import prepare
from masktrain_trainer.data.prepared import CachedImages, create_cache, load_prepared, save_index, store_image
from masktrain_trainer.errors import InvalidDataset

from .exports import DATA_YAML, GOOD_LABELS, Members, export, picture, zipped

IMAGE = "train/images/train0.jpg"
LABEL = "train/labels/train0.txt"
ALL_TRAIN_LABELS = [f"train/labels/train{index}.txt" for index in range(3)]
ALL_VAL_LABELS = [f"valid/labels/valid{index}.txt" for index in range(2)]
ALL_LABELS = ALL_TRAIN_LABELS + ALL_VAL_LABELS


class Stage:
    """Runs the stage on a zip and reads what it leaves."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        self.output = folder / "workspace" / "data"

    def run(
        self,
        body: bytes | None,
        *,
        sha256: str | None = None,
        dataset: DatasetSpec | None = None,
        single_class: bool = False,
        decoded_cache_gib: int = 20,
    ) -> tuple[int, dict[str, Any]]:
        if body is not None:
            (self._folder / "set.zip").write_bytes(body)
        config = RunConfig(
            namespace="vision",
            name="masks",
            uid="1",
            attempt=0,
            model=ModelSpec(),
            dataset=dataset or DatasetSpec(uri=f"file://{self._folder}/set.zip", sha256=sha256),
            training=TrainingSpec(image_size=64, single_class=single_class, decoded_cache_gib=decoded_cache_gib),
            checkpoint=CheckpointSpec(uri="file:///checkpoints"),
            hang_timeout_seconds=60,
            stop_grace_seconds=60,
        )
        self._monkeypatch.setenv(CONFIG_VARIABLE, config.to_json())
        result = self._folder / "run" / "prepare.json"
        code = prepare.main(["--output", str(self.output), "--result", str(result)])
        return code, json.loads(result.read_text()) if result.exists() else {}

    def refusal(self, body: bytes | None, *, sha256: str | None = None) -> str:
        code, result = self.run(body, sha256=sha256)
        assert code == 64
        assert result["failure"]["reason"] == "InvalidDataset"
        return str(result["failure"]["message"])


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def counts(split: str, **numbers: int) -> dict[str, Any]:
    """As the summary has them; what is not given is 0."""
    names = ("labelled", "withoutLabel", "emptyLabel", "labelWithoutImage", "skippedImages", "droppedRows")
    return {"split": split, **dict.fromkeys(names, 0), **numbers}


def test_good_export(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = stage.run(zipped(export()))
    assert code == 0
    assert result["summary"] == {
        "classes": ["cat", "dog"],
        "images": 3,
        "boxes": 6,
        "validationImages": 2,
        "validationBoxes": 4,
        "skippedImages": 0,
        "splits": [counts("train", labelled=3), counts("val", labelled=2)],
        "warnings": [],
    }
    prepared = load_prepared(stage.output)
    assert prepared.names == ["cat", "dog"]
    assert [record.name for record in prepared.train.images] == [f"train/images/train{i}.jpg" for i in range(3)]
    assert {(record.height, record.width) for record in prepared.val.images} == {(48, 64)}
    images = CachedImages(prepared.train.labels, prepared.train.cache)
    assert images.image(0).shape == (48, 64, 3)
    np.testing.assert_allclose(images.targets(2)[0], [0, 0.5, 0.5, 0.4, 0.3], atol=1e-7)
    printed = capsys.readouterr().out
    assert "train: ../train/images -> train/images (3 images)" in printed
    assert "dog" in printed


ODD_BUT_GOOD = {
    "spaces, dashes, unicode": {
        "train/images/-rf my face é.jpg": picture(9),
        "train/labels/-rf my face é.txt": GOOD_LABELS,
    },
    "missing label file": {"train/images/background.jpg": picture(9)},
    "empty label file": {"train/images/background.jpg": picture(9), "train/labels/background.txt": ""},
    "byte order mark and Windows line ends": {
        "train/images/windows.jpg": picture(9),
        "train/labels/windows.txt": "\ufeff0 0.5 0.5 0.4 0.3\r\n".encode(),
    },
    "capital ending": {"train/images/CAMERA.JPG": picture(9)},
    "system clutter": {"train/images/x.jpg": picture(9), "__MACOSX/train/images/._x.jpg": b"junk", ".DS_Store": b"\0"},
}


@pytest.mark.parametrize("changes", ODD_BUT_GOOD.values(), ids=ODD_BUT_GOOD)
def test_odd_but_good(stage: Stage, changes: Members) -> None:
    code, result = stage.run(zipped(export(**changes)))
    assert (code, result["summary"]["images"], result["summary"]["skippedImages"]) == (0, 4, 0)


SKIPPED = {
    "class out of range": (
        {LABEL: "2 .5 .5 .1 .1"},
        "line 1 of its labels has class 2, but data.yaml names classes 0 to 1",
    ),
    "negative class": ({LABEL: "-1 .5 .5 .1 .1"}, "class -1"),
    "class not whole": ({LABEL: "0.5 .5 .5 .1 .1"}, "class 0.5, which is not a whole number"),
    "class not a number": ({LABEL: "nan .5 .5 .1 .1"}, "class nan"),
    "NaN": ({LABEL: "0 nan .5 .1 .1"}, "coordinate nan, outside 0 to 1"),
    "infinite": ({LABEL: "0 inf .5 .1 .1"}, "coordinate inf"),
    "negative": ({LABEL: "0 -.1 .5 .1 .1"}, "coordinate -.1"),
    "above 1": ({LABEL: "0 320 200 50 40"}, "coordinate 320, outside 0 to 1"),
    "text": ({LABEL: "cat .5 .5 .1 .1"}, "the text 'cat' instead of a number"),
    "four columns": ({LABEL: "0 .5 .5 .1"}, "has 4 columns instead of 5"),
    "six columns": ({LABEL: "0 .5 .5 .1 .1 .9"}, "has 6 columns instead of 5"),
    "binary labels": ({LABEL: b"\xff\xfe\x00\x81"}, "its label file is not a text file"),
    "truncated JPEG": ({IMAGE: picture()[:-200]}, "truncated JPEG"),
    "JPEG without its end marker": ({IMAGE: picture()[:-2]}, "truncated JPEG"),
    "not an image": ({IMAGE: b"<html>404</html>"}, "cannot be decoded"),
    "empty image": ({IMAGE: b""}, "it is an empty file"),
    "tiny image": ({IMAGE: picture(height=9)}, "it measures 64 x 9 pixels, less than 10 a side"),
}


@pytest.mark.parametrize(("changes", "reason"), SKIPPED.values(), ids=SKIPPED)
def test_bad_image_is_skipped_and_named(stage: Stage, changes: Members, reason: str) -> None:
    code, result = stage.run(zipped(export(**changes)))
    assert code == 0
    assert (result["summary"]["images"], result["summary"]["skippedImages"]) == (2, 1)
    (warning,) = result["summary"]["warnings"]
    assert warning.startswith(f"{IMAGE} is skipped: ")
    assert reason in warning


DROPPED = {
    "class out of range": ("2 .5 .5 .1 .1", "it has class 2, but data.yaml names classes 0 to 1"),
    "zero size": ("0 .5 .5 0 .1", "it is a box without width or height"),
    "flat polygon": ("0 .1 .1 .2 .1 .3 .1", "it is a box without width or height"),
    "six columns": ("0 .5 .5 .1 .1 .9", "it has 6 columns instead of 5 (class x y w h)"),
    "in pixels": ("0 320 200 50 40", "it has the coordinate 320, outside 0 to 1 (in pixels?)"),
}


@pytest.mark.parametrize(("row", "reason"), DROPPED.values(), ids=DROPPED)
def test_a_bad_row_costs_its_row_and_is_named(stage: Stage, row: str, reason: str) -> None:
    code, result = stage.run(zipped(export(**{LABEL: f"{GOOD_LABELS}{row}\n"})))
    summary = result["summary"]
    assert (code, summary["images"], summary["boxes"], summary["skippedImages"]) == (0, 3, 6, 0)
    assert summary["splits"][0] == counts("train", labelled=3, droppedRows=1)
    assert summary["warnings"] == [f"Line 3 of {LABEL} is dropped: {reason}."]
    assert summary["warnings"] == (stage.output / prepare.SKIPPED).read_text().splitlines()


def corrupt_jpeg() -> bytes:
    """Decodes without an error code, but half of the picture is missing."""
    whole = picture(height=400, width=400)
    return whole[: len(whole) // 2] + b"\xff\xd9"


def test_corrupt_jpeg_that_still_decodes_is_skipped(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    _, result = stage.run(zipped(export(**{IMAGE: corrupt_jpeg()})))
    (warning,) = result["summary"]["warnings"]
    assert warning.startswith(f"{IMAGE} is skipped: ")
    assert "Corrupt JPEG" not in capfd.readouterr().err


def encrypted(body: bytes) -> bytes:
    """Set the encryption flag of the first member, in its own header and in the directory."""
    changed = bytearray(body)
    changed[6] |= 1
    changed[body.index(b"PK\1\2") + 8] |= 1
    return bytes(changed)


def with_link(target: str) -> bytes:
    info = zipfile.ZipInfo("train/images/link.jpg")
    info.external_attr = 0o120777 << 16
    body = io.BytesIO(zipped(export()))
    with zipfile.ZipFile(body, "a") as archive:
        archive.writestr(info, target)
    return body.getvalue()


def bomb() -> bytes:
    return zipped({**export(), "train/images/zeros.bmp": bytes(80 << 20)})


def damaged_member() -> bytes:
    body = bytearray(zipped({"data.yaml": DATA_YAML * 50}))
    body[60] ^= 0xFF
    return bytes(body)


def lying_about_its_directory() -> bytes:
    body = bytearray(zipped(export()))
    struct.pack_into("<I", body, len(body) - 6, 7)
    return bytes(body)


REFUSED_ZIPS = {
    "not a zip": (b"\x1f\x8b not a zip", "is not a zip file"),
    "empty file": (b"", "is not a zip file"),
    "half a zip": (zipped(export())[:-100], "is a damaged zip"),
    "damaged directory": (lying_about_its_directory(), "damaged"),
    "damaged member": (damaged_member(), "its member 'data.yaml' cannot be unpacked"),
    "climbing out": (zipped(export(**{"../../evil.txt": "x"})), "'../../evil.txt' that points outside the zip"),
    "climbing out, the Windows way": (zipped(export(**{"..\\evil.txt": "x"})), "points outside the zip"),
    "absolute": (zipped(export(**{"/etc/evil.txt": "x"})), "'/etc/evil.txt' with an absolute path"),
    "drive": (zipped(export(**{"C:\\evil.txt": "x"})), "with an absolute path"),
    "symbolic link": (
        with_link("/etc/passwd"),
        "'train/images/link.jpg', a link to '/etc/passwd', which is not in the zip",
    ),
    "encrypted": (encrypted(zipped(export())), "is encrypted"),
    "bomb": (bomb(), "more than the limit of 100 times"),
    "folder where a file is": (zipped(export(**{"data.yaml/x": "y"})), "twice"),
    "name too long": (zipped(export(**{"x" * 300: "y"})), "whose name cannot be used here"),
}


@pytest.mark.parametrize(("body", "reason"), REFUSED_ZIPS.values(), ids=REFUSED_ZIPS)
def test_bad_zip_is_refused(stage: Stage, tmp_path: Path, body: bytes, reason: str) -> None:
    message = stage.refusal(body)
    assert reason in message
    assert "\n" not in message
    assert not list(tmp_path.rglob("evil*"))


REFUSED_EXPORTS = {
    "no data.yaml": ({"data.yaml": None}, "The data set has no data.yaml"),
    "a zip in the zip": (
        {**{f"train/images/train{i}.jpg": None for i in range(3)}, "data.yaml": None, "faces/export.zip": b"PK"},
        "The data set has no data.yaml, but the zip faces/export.zip: unpack it, or give that zip itself.",
    ),
    "unreadable yaml": ({"data.yaml": "train: [\nnames: }"}, "data.yaml is not valid YAML (line 2"),
    "yaml with code": ({"data.yaml": "!!python/object/apply:os.system ['true']"}, "data.yaml is not valid YAML"),
    "yaml not text": ({"data.yaml": b"\xff\xfe\x00"}, "not text in UTF-8"),
    "yaml is a list": ({"data.yaml": "- a"}, "holds a list"),
    "yaml is empty": ({"data.yaml": ""}, "holds nothing"),
    "no names": ({"data.yaml": "train: train/images\nval: valid/images"}, "has no class names"),
    "names with a gap": ({"data.yaml": "train: a\nval: b\nnames: {0: cat, 2: dog}"}, "0 to 1 without a gap"),
    "names nested": ({"data.yaml": "train: a\nval: b\nnames: [[cat, dog], [owl]]"}, "'names' has a list ['cat', 'dog'"),
    "names a word": ({"data.yaml": "train: a\nval: b\nnames: cat"}, "'names' must be a list of class names"),
    "a name that YAML takes for nothing": (
        {"data.yaml": "train: a\nval: b\nnames: [mask, null]"},
        "'names' has nothing for class 1",
    ),
    "yaml too large": ({"data.yaml": "#" * (2 << 20)}, "larger than 1 MiB"),
    "split is a mapping": ({"data.yaml": "train: {a: b}\nval: b\nnames: [a]"}, "must be a folder or a list of folders"),
    "split with an impossible name": ({"data.yaml": f"train: {'x' * 300}\nval: b\nnames: [a]"}, "is not in the data"),
    "no val": ({"data.yaml": "train: train/images\nnames: [a, b]"}, "no 'val' entry"),
    "missing folder": (
        {"data.yaml": DATA_YAML.replace("../valid", "../holdout")},
        "The folder '../holdout/images' that data.yaml names for 'val' is not in the data set, which has data.yaml, ",
    ),
    "folder outside": ({"data.yaml": DATA_YAML.replace("../valid/images", "/etc")}, "The folder '/etc'"),
    "no images in folder": ({f"train/images/train{i}.jpg": None for i in range(3)}, "is not in the data set"),
    "folder without images": (
        {**{f"train/images/train{i}.jpg": None for i in range(3)}, "train/images/readme.txt": "x"},
        "holds no images",
    ),
    "all classes beyond the names": (
        dict.fromkeys(ALL_TRAIN_LABELS, "7 .5 .5 .1 .1"),
        "class 7 exceeds nc 2 (line 1 of train/labels/train0.txt), and so it is in 3 of 3 labelled images",
    ),
    "classes numbered from 1": (
        dict.fromkeys(ALL_LABELS, "1 .5 .5 .1 .1\n2 .5 .5 .1 .1"),
        "class 2 exceeds nc 2 (line 2 of train/labels/train0.txt), and class 0 never occurs: numbered from 1?",
    ),
    "all labels in pixels": (
        dict.fromkeys(ALL_TRAIN_LABELS, "0 30 20 9 9"),
        (
            "None of the 3 train images can be used; the first: train/images/train0.jpg is skipped: line 1 of its "
            "labels has the coordinate 30, outside 0 to 1 (in pixels?)"
        ),
    ),
    "all labels in pixels beside backgrounds": (
        {**dict.fromkeys(ALL_TRAIN_LABELS, "0 30 20 9 9"), LABEL: "", "train/images/more.jpg": picture(9)},
        (
            "No training image has a box: 2 of 2 labels are skipped, the first: train/images/train1.jpg is "
            "skipped: line 1 of its labels has the coordinate 30, outside 0 to 1 (in pixels?); 1 of 4 images have no "
            "label file; 1 of 4 images have an empty label file."
        ),
    ),
    "all labels in another encoding": (
        {**dict.fromkeys(ALL_TRAIN_LABELS, GOOD_LABELS.encode("utf-16")), LABEL: ""},
        "the first: train/images/train1.jpg is skipped: its label file is not a text file in UTF-8; save it as UTF-8",
    ),
    "all rows without area": (
        dict.fromkeys(ALL_TRAIN_LABELS, "0 .5 .5 0 0"),
        "No training image has a box: 3 label rows dropped, the first: Line 1 of train/labels/train0.txt is dropped",
    ),
    "no boxes": (
        dict.fromkeys(ALL_TRAIN_LABELS, ""),
        "No training image has a box: 3 of 3 images have an empty label file; the label of train/images/x.jpg belongs",
    ),
    "labels in a folder that is not looked in": (
        {
            **dict.fromkeys(ALL_TRAIN_LABELS),
            **{name.replace("labels", "annotations"): GOOD_LABELS for name in ALL_TRAIN_LABELS},
        },
        "3 of 3 images have no label file; 3 labels without image: train/annotations/train0.txt, ",
    ),
    "validation without labels": (
        dict.fromkeys(ALL_VAL_LABELS, ""),
        (
            "No val image has a box, so that no epoch can be measured: 2 of 2 images have an empty label file; put "
            "their labels right, or set dataset.allowUnlabelledValidation to train without a measure."
        ),
    ),
    "validation's labels in another folder": (
        {
            **dict.fromkeys(ALL_VAL_LABELS),
            **{name.replace("valid/", "val/"): GOOD_LABELS for name in ALL_VAL_LABELS},
        },
        "2 of 2 images have no label file; 2 labels without image: val/labels/valid0.txt, val/labels/valid1.txt; put",
    ),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSED_EXPORTS.values(), ids=REFUSED_EXPORTS)
def test_bad_export_is_refused(stage: Stage, changes: Members, reason: str) -> None:
    message = stage.refusal(zipped(export(**changes)))
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize("labels", ["", None, "0 .5 .5 0 0"], ids=["empty", "none", "rows that show nothing"])
def test_validation_without_labels_is_taken_where_the_job_says_so(
    stage: Stage, tmp_path: Path, labels: str | None
) -> None:
    dataset = DatasetSpec(uri=f"file://{tmp_path}/set.zip", allow_unlabelled_validation=True)
    code, result = stage.run(zipped(export(**dict.fromkeys(ALL_VAL_LABELS, labels))), dataset=dataset)
    assert (code, result["summary"]["validationBoxes"]) == (0, 0)
    assert result["summary"]["warnings"][0].startswith("No val image has a box, so that no epoch can be measured: ")


def test_the_log_has_the_four_counts_of_each_split(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {LABEL: None, "valid/labels/valid0.txt": "", "valid/labels/of-nothing.txt": GOOD_LABELS}
    _, result = stage.run(zipped(export(**changes)))
    printed = capsys.readouterr().out
    assert (
        "train: 3 images: 2 labelled, 1 without label (train/images/train0.jpg), 0 with an empty label; 0 labels "
        "without image\n"
    ) in printed
    assert (
        "val: 2 images: 1 labelled, 0 without label, 1 with an empty label (valid/images/valid0.jpg); 1 label without "
        "image (valid/labels/of-nothing.txt)\n"
    ) in printed
    assert result["summary"]["splits"] == [
        counts("train", labelled=2, withoutLabel=1),
        counts("val", labelled=1, emptyLabel=1, labelWithoutImage=1),
    ]


def test_labels_beside_half_of_the_images_are_found(stage: Stage) -> None:
    """Images in a folder of their own have theirs beside them, the others in the folder `labels`."""
    changes: Members = {f"train/more/{index}.jpg": picture(20 + index) for index in range(3)}
    labels = {f"train/more/{index}.txt": GOOD_LABELS for index in range(3)}
    yaml = DATA_YAML.replace("train: ../train/images", "train: [../train/images, ../train/more]")
    code, result = stage.run(zipped(export(**{**changes, **labels, "data.yaml": yaml})))
    assert (code, result["summary"]["boxes"], result["summary"]["warnings"]) == (0, 12, [])


def test_a_single_class_takes_any_number(stage: Stage) -> None:
    yaml = DATA_YAML.replace("nc: 2", "nc: 1").replace("'cat', 'dog'", "'item'")
    labels = {name: f"{number} .5 .5 .1 .1" for number, name in enumerate(ALL_LABELS)}
    code, result = stage.run(zipped(export(**{**labels, "data.yaml": yaml})), single_class=True)
    assert (code, result["summary"]["classes"], result["summary"]["boxes"]) == (0, ["item"], 3)


def test_missing_object(stage: Stage) -> None:
    message = stage.refusal(None)
    assert message.endswith("set.zip does not exist; upload the zip, or correct dataset.uri.")


def test_another_file_than_asked_for(stage: Stage) -> None:
    assert f"dataset.sha256 asks for {'0' * 64}" in stage.refusal(zipped(export()), sha256="0" * 64)


def test_missing_credentials(stage: Stage) -> None:
    store = StoreSpec(credentials_secret_ref=SecretRef(name="bucket-keys"))
    code, result = stage.run(None, dataset=DatasetSpec(uri="s3://bucket/set.zip", store=store))
    assert (code, result["failure"]["reason"]) == (64, "StoreDenied")
    assert result["failure"]["message"].startswith("Secret 'bucket-keys' does not exist or lacks the key")


def test_a_full_volume(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prepare, "extract", full)
    code, result = stage.run(zipped(export()))
    assert (code, result["failure"]["reason"]) == (64, "InvalidConfiguration")


def test_a_failing_volume_is_worth_another_try(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(prepare, "extract", failing)
    assert stage.run(zipped(export())) == (1, {})


def test_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    result = tmp_path / "result.json"
    assert prepare.main(["--output", str(tmp_path / "data"), "--result", str(result)]) == 64
    assert json.loads(result.read_text())["failure"]["reason"] == "InvalidConfiguration"


def test_oddities_are_said(stage: Stage) -> None:
    changes = {LABEL: "0 .5 .5 .1 .1\n0 .5 .5 .1 .1", "data.yaml": DATA_YAML.replace("'dog'", "'dog', 'fish'")}
    _, result = stage.run(zipped(export(**changes)))
    assert result["summary"]["warnings"] == [
        "No training image shows the class 'fish'.",
        "1 label rows were there twice and are left out.",
    ]


def test_all_classes_become_one(stage: Stage) -> None:
    code, result = stage.run(zipped(export()), single_class=True)
    assert code == 0
    assert (result["summary"]["classes"], result["summary"]["boxes"]) == (["item"], 6)
    prepared = load_prepared(stage.output)
    assert prepared.names == ["item"]
    for split in (prepared.train, prepared.val):
        images = CachedImages(split.labels, split.cache)
        assert {label for index in range(len(images)) for label in images.targets(index)[:, 0]} == {0.0}


def test_a_single_class_keeps_its_name(stage: Stage) -> None:
    labels = {name: "0 0.5 0.5 0.4 0.3" for name in export() if name.endswith(".txt")}
    members = {**export(), **labels, "data.yaml": DATA_YAML.replace("nc: 2", "nc: 1").replace(", 'dog'", "")}
    code, result = stage.run(zipped(members), single_class=True)
    assert (code, result["summary"]["classes"]) == (0, ["cat"])


def test_a_second_run_starts_afresh(stage: Stage) -> None:
    stage.run(zipped(export(**{"test/images/t.jpg": picture()})))
    code, _ = stage.run(zipped(export()))
    assert code == 0
    assert not (stage.output / "export" / "test").exists()


def test_many_processes_find_the_same(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    members = export(**{f"train/images/more{i:02d}.jpg": picture(i) for i in range(40)}, **{LABEL: "x"})
    results = []
    for cpus in (1, 2):
        monkeypatch.setattr(prepare, "cpu_limit", lambda cpus=cpus: cpus)
        code, result = stage.run(zipped(members))
        prepared = load_prepared(stage.output)
        cached = CachedImages(prepared.train.labels, prepared.train.cache)
        results.append((code, result, [cached.image(i).tobytes() for i in range(len(cached))]))
    assert results[0] == results[1]


def test_pictures_that_take_too_much_disk_are_kept_as_jpegs(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.run(zipped(export()))
    exact = load_prepared(stage.output).train
    decoded = CachedImages(exact.labels, exact.cache)
    pixels = [decoded.image(index).copy() for index in range(len(decoded))]
    code, _ = stage.run(zipped(export()), decoded_cache_gib=0)
    assert code == 0
    assert (
        "train: 3 images at 64 px may take more than the 0 GiB of training.decodedCacheGib" in capsys.readouterr().out
    )
    split = load_prepared(stage.output).train
    compressed = CachedImages(split.labels, split.cache)
    for index, exactly in enumerate(pixels):
        picture = compressed.image(index)
        assert picture.shape == exactly.shape
        assert np.abs(picture.astype(int) - exactly).mean() < 3
        np.testing.assert_array_equal(compressed.targets(index), decoded.targets(index))


def test_noise_is_kept_as_it_is_where_a_jpeg_would_be_larger(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    create_cache(tmp_path / "pixels", 1, 16)
    stored = store_image(tmp_path / "pixels", 0, noise, 16, compress=True)
    save_index(
        tmp_path / "index.npz",
        slots_N=np.array([0]),
        sizes_N2=np.array([(16, 16)]),
        bytes_N=np.array([stored]),
        targets=[np.zeros((0, 5), np.float32)],
        image_size=16,
    )
    np.testing.assert_array_equal(CachedImages(tmp_path / "index.npz", tmp_path / "pixels").image(0), noise)


@pytest.mark.parametrize(
    ("images", "gib", "compressed"),
    [
        ({"train": 10_000, "val": 1_000}, 20, []),
        ({"train": 118_287, "val": 5_000}, 20, ["train"]),
        ({"train": 118_287, "val": 5_000}, 200, []),
        ({"train": 118_287, "val": 50_000, "test": 5_000}, 20, ["val", "train"]),
        ({"train": 1, "val": 1}, 0, ["val", "train"]),
    ],
)
def test_what_is_measured_on_stays_exact_first(images: dict[str, int], gib: int, compressed: list[str]) -> None:
    assert prepare.compressed_splits(images, TrainingSpec(decoded_cache_gib=gib)) == compressed


def test_a_fitness_that_is_asked_for_needs_a_box_to_find() -> None:
    nothing, box = np.zeros((0, 5), np.float32), np.full((1, 5), 0.5, np.float32)
    prepare.require_measure([nothing, box])
    for targets in ([], [nothing, nothing]):
        with pytest.raises(InvalidDataset, match=r"^training\.requireFitness .* leave requireFitness out\.$"):
            prepare.require_measure(targets)


def test_never_imports_torch() -> None:
    code = "import sys, masktrain_trainer.data.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
