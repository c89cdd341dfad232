"""Pictures are found by what an export calls them, and splits by names."""

from pathlib import PurePosixPath

import pytest

from masktrain_trainer.data.convert.picture_search import Pictures, split_of, split_of_folders

PICTURES = Pictures(
    map(
        PurePosixPath,
        [
            "train/a.jpg", "valid/a.jpg", "images/Train/b c.JPG", "images/Val/b c.JPG", "d.png", "x/d/e.jpg",
            "y/d/e.jpg", "val2017/f.jpg", "train2017/f.jpg", "cafe\u0301.jpg", "0a1b2c3d-g.jpg",
            "h.jpg", "VOC/JPEGImages/i.jpeg",
        ],
    )
)  # fmt: skip


@pytest.mark.parametrize(
    ("said", "near", "split", "found"),
    [
        ("a.jpg", "train/_annotations.coco.json", None, "train/a.jpg"),
        ("a.jpg", "valid/_annotations.coco.json", None, "valid/a.jpg"),
        ("a.jpg", "annotations/x.json", None, None),
        ("valid/a.jpg", "x.json", None, "valid/a.jpg"),
        ("Train/b c.jpg", "annotations.xml", "train", "images/Train/b c.JPG"),
        ("b c.jpg", "annotations.xml", "val", "images/Val/b c.JPG"),
        ("b%20c.jpg", "annotations.xml", "val", "images/Val/b c.JPG"),
        ("C:\\data\\d.png", "x.json", None, "d.png"),
        ("../../../d.png", "x.json", None, "d.png"),
        ("s3://bucket/x/d.png", "x.json", None, "d.png"),
        ("https://host/d.png?X-Amz-Signature=1", "x.json", None, "d.png"),
        ("/data/local-files/?d=y/d/e.jpg", "x.json", None, "y/d/e.jpg"),
        ("/data/local-files/?d=y%2Fd%2Fe.jpg", "x.json", None, "y/d/e.jpg"),
        ("d/e.jpg", "x.json", None, None),
        ("f.jpg", "annotations/instances_val2017.json", "val", "val2017/f.jpg"),
        ("café.jpg", "x.json", None, "cafe\u0301.jpg"),
        ("/data/upload/3/0a1b2c3d-g.jpg", "x.json", None, "0a1b2c3d-g.jpg"),
        ("/data/upload/3/0a1b2c3d-h.jpg", "x.json", None, "h.jpg"),
        ("D.png", "x.json", None, None),
        ("", "x.json", None, None),
        ("/", "x.json", None, None),
        ("..", "x.json", None, None),
        ("\0", "x.json", None, None),
        ("a/" * 3000 + "d.png", "x.json", None, None),
    ],
)
def test_a_picture_is_found_by_the_longest_end_of_its_path(
    said: str, near: str, split: str | None, found: str | None
) -> None:
    path, problem = PICTURES.find(said, near=PurePosixPath(near), split=split)
    assert (None if path is None else str(path)) == found
    assert bool(problem) == (found is None)


def test_two_pictures_that_fit_alike_are_both_named() -> None:
    assert PICTURES.find("d/e.jpg", near=PurePosixPath("x.json")) == (None, "may be x/d/e.jpg or y/d/e.jpg")


def test_a_picture_is_found_without_its_ending() -> None:
    found = PICTURES.find("i", near=PurePosixPath("VOC/Annotations/i.xml"), without_ending=True)
    assert found == (PurePosixPath("VOC/JPEGImages/i.jpeg"), "")
    assert PICTURES.find("JPEGImages/i", near=PurePosixPath("annotations.xml")) == found
    assert PICTURES.find("i.png", near=PurePosixPath("annotations.xml")) == (None, "is not there")
    assert PICTURES.find("e", near=PurePosixPath("x.json")) == (None, "may be x/d/e.jpg or y/d/e.jpg")


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("train", "train"), ("Train", "train"), ("train2017", "train"), ("instances_val2017", "val"),
        ("Validation", "val"), ("obj_train_data", "train"), ("trainval", "train"), ("valid", "val"), ("TEST", "test"),
        ("images", None),
        ("constraint", None), ("latest", None), ("values", None),
    ],
)  # fmt: skip
def test_splits_are_words_of_names(text: str, split: str | None) -> None:
    assert split_of(text) == split


def test_the_innermost_folder_says_the_split() -> None:
    assert split_of_folders(PurePosixPath("test project/train/x.jpg")) == "train"
    assert split_of_folders(PurePosixPath("a/b/train.jpg")) is None
