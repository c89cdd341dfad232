"""Small Roboflow exports, good and bad, for tests."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from masktrain_trainer.data.prepared import PreparedDataset
from masktrain_trainer.data.source.verify import verify_split

DATA_YAML = "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n"
GOOD_LABELS = "0 0.5 0.5 0.4 0.3\n1 0.25 0.3 0.2 0.2\n"

Members = dict[str, bytes | str]


def picture(seed: int = 0, *, height: int = 48, width: int = 64) -> bytes:
    """A smooth JPEG, different for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", cv2.resize(coarse, (width, height)), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def export(**changes: bytes | str | None) -> Members:
    """Three training images and two validation images; `changes` replace members, None removes one."""
    members: Members = {"data.yaml": DATA_YAML}
    for split, count in (("train", 3), ("valid", 2)):
        for index in range(count):
            members[f"{split}/images/{split}{index}.jpg"] = picture(index if split == "train" else 100 + index)
            members[f"{split}/labels/{split}{index}.txt"] = GOOD_LABELS
    return changed(members, changes)


def changed(members: Members, changes: Mapping[str, bytes | str | None]) -> Members:
    merged = {**members, **changes}
    return {name: body for name, body in merged.items() if body is not None}


def zipped(members: Mapping[str, bytes | str]) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return body.getvalue()


def unpacked(root: Path, members: Mapping[str, bytes | str]) -> Path:
    for name, content in members.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def prepared_pictures(root: Path, sizes: list[tuple[int, int]], image_size: int) -> PreparedDataset:
    """A prepared data set with one picture per (height, width), in both splits; image i has i % 4 boxes."""
    images = []
    rng = np.random.default_rng(1)
    for index, (height, width) in enumerate(sizes):
        rows = [f"{index % 2} {x:.4f} {y:.4f} {w:.4f} {h:.4f}" for x, y, w, h in rng.uniform(0.2, 0.7, (index % 4, 4))]
        name = f"images/{index:03d}"
        unpacked(root / "export", {f"{name}.jpg": picture(index, height=height, width=width)})
        unpacked(root / "export", {f"labels/{index:03d}.txt": "\n".join(rows)})
        images.append((root / "export" / f"{name}.jpg").resolve())
    splits = {
        split: verify_split(
            split,
            images,
            root=root / "export",
            output=root,
            classes=2,
            image_size=image_size,
            processes=1,
            say=lambda _: None,
        ).split
        for split in ("train", "val")
    }
    return PreparedDataset(names=["cat", "dog"], image_size=image_size, **splits)
