"""What looks like a mistake without a training. Pictures are textures, so that only copies are alike."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from masktrain_trainer.data.source.verify import verify_split
from masktrain_trainer.local.findings import (
    MOST_ALIKE,
    Fingerprints,
    Kind,
    Picture,
    alike,
    duplicates,
    fingerprints,
    groups_of,
    odd_boxes,
    odd_classes,
    pictures_of,
    same_source,
)

NAMES = ["mask", "no mask"]


def texture(seed: int, side: int = 160) -> NDArray[np.uint8]:
    """Smooth and irregular, as photographs are."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def write(root: Path, split: str, name: str, image: NDArray[np.uint8], quality: int = 90) -> Path:
    path = root / split / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


def groups(root: Path, **splits: Sequence[Path]) -> tuple[list[Picture], list[int]]:
    verified = {
        name: verify_split(
            name,
            list(paths),
            root=root,
            output=root,
            classes=len(NAMES),
            image_size=64,
            processes=1,
            say=lambda _: None,
        ).split
        for name, paths in splits.items()
    }
    pictures = pictures_of(verified)
    return pictures, groups_of(len(pictures), list(alike(fingerprints(verified))))


CHANGES: dict[str, Callable[[NDArray[np.uint8]], object]] = {
    "the same": lambda image: image,
    "smaller": lambda image: cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA),
    "brighter": lambda image: cv2.convertScaleAbs(image, alpha=1.0, beta=25),
    "mirrored": lambda image: image[:, ::-1],
    "of less contrast": lambda image: cv2.convertScaleAbs(image, alpha=0.8, beta=20),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_in_another_split_is_found_however_it_was_changed(change: str, tmp_path: Path) -> None:
    train = [write(tmp_path, "train", f"{seed}.jpg", texture(seed)) for seed in range(6)]
    copy = write(tmp_path, "valid", "copy.jpg", np.asarray(CHANGES[change](texture(2)), np.uint8), quality=50)
    other = write(tmp_path, "valid", "other.jpg", texture(100))
    pictures, grouped = groups(tmp_path, train=train, val=[copy, other])
    (found,) = duplicates(pictures, grouped)
    assert found.kind is Kind.LEAK
    assert found.sentence == "train/images/2.jpg, valid/images/copy.jpg look the same."


def test_copies_within_a_split_are_another_kind_and_their_labels_are_compared(tmp_path: Path) -> None:
    train = [write(tmp_path, "train", name, texture(1)) for name in ("a.jpg", "b.jpg", "c.jpg")]
    labels = tmp_path / "train" / "labels" / "c.txt"
    labels.parent.mkdir()
    labels.write_text("1 0.5 0.5 0.2 0.2\n")
    pictures, grouped = groups(tmp_path, train=[*train, write(tmp_path, "train", "d.jpg", texture(2))])
    (found,) = duplicates(pictures, grouped)
    assert found.kind is Kind.DUPLICATE
    assert found.sentence.endswith("c.jpg look the same, but are labelled differently.")


def test_a_copy_is_found_among_more_pictures_whose_hashes_are_near_than_are_looked_at() -> None:
    unlike = MOST_ALIKE + 10
    hashes = np.array([0, *[0b1111111] * unlike, 0], np.uint64)
    grey = np.random.default_rng(0).normal(size=(unlike + 1, 1024))
    grey /= np.linalg.norm(grey, axis=1, keepdims=True)
    prints = Fingerprints(hashes, np.full_like(hashes, 2**64 - 1), np.vstack([grey, grey[:1]]).astype(np.float16))
    assert list(alike(prints)) == [(0, unlike + 1)]


def picture(name: str, *rows: tuple[float, ...], split: str = "train", side: int = 640) -> Picture:
    return Picture(split, name, Path(name), side, side, np.array(rows, np.float32).reshape(-1, 5))


def test_versions_of_one_picture_that_roboflow_made_are_told_by_their_names() -> None:
    pictures = [
        picture("train/images/a_jpg.rf.01.jpg"),
        picture("train/images/a_jpg.rf.02.jpg"),
        picture("valid/images/a_jpg.rf.03.jpg", split="val"),
        picture("valid/images/b_jpg.rf.04.jpg", split="val"),
        picture("valid/images/plain.jpg", split="val"),
    ]
    assert list(same_source(pictures)) == [(0, 2)]


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_groups_are_what_hangs_together(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    number, pairs = drawn
    found = groups_of(number, pairs)
    assert all(found[first] == found[second] for first, second in pairs)
    assert all(found[root] == root <= index for index, root in enumerate(found))
    assert len(set(found)) >= number - len(pairs)


USUAL = (0, 0.5, 0.5, 0.2, 0.2)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ((0, 0.5, 0.5, 0.001, 0.2), "is narrower than 3 pixels"),
        ((0, 0.5, 0.5, 1.0, 1.0), "covers the whole picture"),
        ((0, 0.5, 0.5, 0.9, 0.9), "is 20 times larger than its class's usual one"),
        ((0, 0.5, 0.5, 0.01, 0.01), "times smaller than its class's usual one"),
    ],
)
def test_a_box_of_a_size_that_no_other_has(row: tuple[float, ...], words: str) -> None:
    sizes = np.linspace(0.15, 0.25, 40)
    usual = [picture(f"{index}.jpg", (0, 0.5, 0.5, size, size)) for index, size in enumerate(sizes)]
    (found,) = odd_boxes([*usual, picture("odd.jpg", row)], NAMES)
    assert found.kind is Kind.SIZE
    assert found.sentence.startswith("odd.jpg: the box 'mask' at x ")
    assert words in found.sentence


def test_pictures_that_are_covered_by_their_class_are_no_finding() -> None:
    assert not list(odd_boxes([picture(f"{index}.jpg", (0, 0.5, 0.5, 1, 1)) for index in range(30)], NAMES))


@pytest.mark.parametrize(("second", "words"), [(0, "is labelled twice as 'mask'"), (1, "as 'mask' and as 'no mask'")])
def test_boxes_that_cover_each_other(second: int, words: str) -> None:
    (found,) = odd_boxes([picture("a.jpg", USUAL, (second, 0.5, 0.5, 0.2, 0.19))], NAMES)
    assert found.kind is Kind.OVERLAP
    assert words in found.sentence


def test_classes_that_another_split_has_the_other_way_round() -> None:
    train = picture("a.jpg", *[USUAL] * 9, (1, 0.1, 0.1, 0.1, 0.1))
    swapped = picture("b.jpg", USUAL, *[(1, 0.1, 0.1, 0.1, 0.1)] * 9, split="val")
    (found,) = odd_classes([train, swapped], NAMES)
    assert found.sentence == (
        "'mask' has 90% of the boxes in train and 10% in val, 'no mask' 10% and 90%: were the two swapped?"
    )
    assert not list(odd_classes([train, picture("b.jpg", *[USUAL] * 5, split="val")], NAMES))
