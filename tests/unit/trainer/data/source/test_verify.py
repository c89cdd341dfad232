"""Four counts for each split, what was not taken with its reason, and the shapes of a data set that are refused."""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masktrain_trainer.data.source.account import SplitAccount, UnnamedClasses, class_problem
from masktrain_trainer.data.source.file_list import list_files
from masktrain_trainer.data.source.verify import VerifiedSplit, verify_splits
from masktrain_trainer.errors import InvalidDataset

from ..exports import GOOD_LABELS, Members, changed, picture, unpacked

Changes = Mapping[str, bytes | str | None]

FOLDERS = {"train": "train", "val": "valid", "test": "test"}
SPLITS = {"train": 5, "val": 3}


def members(**changes: bytes | str | None) -> Members:
    """Five training and three validation images, all labelled and all different."""
    found: Members = {}
    for number, (split, count) in enumerate(SPLITS.items()):
        for index in range(count):
            found[f"{FOLDERS[split]}/images/{index}.jpg"] = picture(100 * number + index)
            found[f"{FOLDERS[split]}/labels/{index}.txt"] = GOOD_LABELS
    return changed(found, changes)


class Checked:
    """The splits of a folder, and what was said."""

    def __init__(
        self,
        root: Path,
        output: Path,
        *,
        classes: int = 2,
        single_class: bool = False,
        keypoint_columns: int | None = None,
        processes: int = 1,
    ) -> None:
        output.mkdir()
        self.said: list[str] = []
        folders = {split: root.resolve() / folder / "images" for split, folder in FOLDERS.items()}
        self.splits: dict[str, VerifiedSplit] = verify_splits(
            {split: _existing(folder) for split, folder in folders.items() if folder.is_dir()},
            list_files(root),
            output=output,
            classes=classes,
            image_size=64,
            single_class=single_class,
            keypoint_columns=keypoint_columns,
            processes=processes,
            say=self.said.append,
        )

    def account(self, split: str = "train") -> SplitAccount:
        return self.splits[split].account


def _existing(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.jpg") if path.is_file() and not path.name.startswith("."))


def check(folder: Path, changes: Changes | None = None, *, classes: int = 2) -> Checked:
    return Checked(unpacked(folder / "set", members(**changes or {})), folder / "out", classes=classes)


def test_a_clean_data_set_has_four_counts_and_no_oddity(tmp_path: Path) -> None:
    checked = check(tmp_path)
    four = "{}: {} images: {} labelled, 0 without label, 0 with an empty label; 0 labels without image"
    assert [line for line in checked.said if "labelled" in line] == [
        four.format("train", 5, 5),
        four.format("val", 3, 3),
    ]
    assert [account.oddities() for account in map(checked.account, SPLITS)] == [[], []]


MAC, WINDOWS = (unicodedata.normalize(form, "Übung") for form in ("NFD", "NFC"))
FOUND: dict[str, Changes] = {
    "a capital ending": {"train/labels/0.TXT": GOOD_LABELS, "train/labels/0.txt": None},
    "a doubled ending": {"train/labels/0.jpg.txt": GOOD_LABELS, "train/labels/0.txt": None},
    "beside the image": {"train/images/0.txt": GOOD_LABELS, "train/labels/0.txt": None},
    "another form of Unicode": {
        f"train/images/{MAC}.jpg": picture(9),
        f"train/labels/{WINDOWS}.txt": GOOD_LABELS,
        "train/images/0.jpg": None,
        "train/labels/0.txt": None,
    },
}


@pytest.mark.parametrize("changes", FOUND.values(), ids=FOUND)
def test_a_label_is_found_where_it_is_meant(tmp_path: Path, changes: Changes) -> None:
    account = check(tmp_path, changes).account()
    assert (account.labelled, account.unlabelled, account.orphans) == (5, [], [])


def test_what_is_not_a_labelled_image_is_counted_and_named(tmp_path: Path) -> None:
    changes: Changes = {
        "train/labels/0.txt": None,
        "train/labels/1.txt": "",
        "train/labels/2.txt": "\n \n",
        "train/labels/orphan.txt": GOOD_LABELS,
        # No labels, whatever their folder.
        "train/labels/classes.txt": "cat\ndog\n",
        "train/list.txt": "./images/0.jpg\n",
        "README.txt": "Exported with care.",
        "train/labels/blank.txt": "",
    }
    checked = check(tmp_path, changes)
    account = checked.account()
    assert (account.labelled, account.unlabelled) == (2, ["train/images/0.jpg"])
    assert account.empty == ["train/images/1.jpg", "train/images/2.jpg"]
    assert account.orphans == ["train/labels/orphan.txt"]
    assert (
        "train: 5 images: 2 labelled, 1 without label (train/images/0.jpg), 2 with an empty label (train/images/1.jpg, "
        "train/images/2.jpg); 1 label without image (train/labels/orphan.txt)"
    ) in checked.said
    assert account.oddities() == [
        "1 of 5 train images have no label file and count as images without objects: train/images/0.jpg.",
        "1 label of train without image: train/labels/orphan.txt.",
    ]
    counts = account.counts()
    assert (counts.labelled, counts.without_label, counts.empty_label, counts.label_without_image) == (2, 1, 2, 1)


ELSEWHERE = {
    "val's in a folder of another name": ("valid/labels", "val/labels", "val"),
    "val's in a folder for all": ("valid/labels", "annotations/valid", "val"),
    "train's in a folder of another name": ("train/labels", "train/annotations", "train"),
    "in a folder that names no split": ("train/labels", "annotations/first", "train"),
}


@pytest.mark.parametrize(("place", "moved_to", "split"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_labels_in_another_folder_belong_to_the_split_that_they_are_of(
    tmp_path: Path, place: str, moved_to: str, split: str
) -> None:
    moved: Changes = {f"{moved_to}/{index}.txt": GOOD_LABELS for index in range(SPLITS[split])}
    gone: Changes = {f"{place}/{index}.txt": None for index in range(SPLITS[split])}
    account = check(tmp_path, {**moved, **gone}).account(split)
    assert (account.labelled, len(account.unlabelled)) == (0, SPLITS[split])
    assert account.orphans == sorted(moved)


def test_a_long_list_is_named_by_its_first(tmp_path: Path) -> None:
    said = check(tmp_path, {f"train/labels/{index}.txt": None for index in range(5)}).said
    assert any(
        "5 without label (train/images/0.jpg, train/images/1.jpg, train/images/2.jpg and 2 more)" in line
        for line in said
    )


def test_files_that_look_like_images_and_are_not_read_are_named(tmp_path: Path) -> None:
    changes: Changes = {
        "train/images/phone.heic": b"x",
        "train/labels/phone.txt": GOOD_LABELS,
        "train/images/drawing.psd": b"x",
        "train/images/noending": b"x",
        "train/images/notes.json": "{}",
        "docs/logo.svg": "<svg/>",
    }
    account = check(tmp_path, changes).account()
    assert account.unread == [
        "train/images/drawing.psd (the ending .psd is not read)",
        "train/images/noending (it has no ending)",
        "train/images/phone.heic (the ending .heic is not read)",
    ]
    # Its picture is there, though it is not read.
    assert account.orphans == []
    assert account.oddities() == [f"3 files of train not read: {', '.join(account.unread)}."]


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    root = unpacked(tmp_path / "set", members())
    (root / "train" / "images" / "gone.jpg").symlink_to("nowhere.jpg")
    (root / "train" / "images" / ".hidden.jpg").write_bytes(b"x")
    assert Checked(root, tmp_path / "out").account().unread == ["train/images/gone.jpg (is a link to nothing)"]


def test_a_bad_row_is_named_with_its_file_and_its_picture_stays(tmp_path: Path) -> None:
    changes: Changes = {
        "train/labels/0.txt": f"{GOOD_LABELS}0 .5 .5 0 0\n",
        "train/labels/1.txt": f"1 .3 .3 .3 .3 .3 .3 .3 .3\n{GOOD_LABELS}",
        "train/labels/2.txt": f"{GOOD_LABELS}{GOOD_LABELS}1 .2 .2 .4 .2 .3\n",
        "train/labels/3.txt": "0 .5 .5 1.005 1\n",
        "train/labels/4.txt": "0 .5 .5 0 0\n",
    }
    checked = check(tmp_path, changes)
    account = checked.account()
    assert (account.skipped, [len(rows) for rows in checked.splits["train"].targets]) == ([], [2, 2, 2, 1, 0])
    assert (account.dropped, account.duplicates, account.clipped) == (4, 2, 1)
    assert account.dropped_rows == [
        "Line 3 of train/labels/0.txt is dropped: it is a box without width or height.",
        "Line 1 of train/labels/1.txt is dropped: it is a box without width or height.",
        "Line 5 of train/labels/2.txt is dropped: it has 6 columns instead of 5 (class x y w h).",
        "Line 1 of train/labels/4.txt is dropped: it is a box without width or height.",
    ]
    assert {"train: 4 label rows dropped", "train: 1 box clipped at the edges of the picture"} <= set(checked.said)


def test_a_picture_none_of_whose_rows_can_be_read_is_skipped(tmp_path: Path) -> None:
    account = check(tmp_path, {"train/labels/0.txt": "0 320 200 50 40\n1 100 100 50 40\n"}).account()
    sentence = (
        "train/images/0.jpg is skipped: line 1 of its labels has the coordinate 320, outside 0 to 1 (in pixels?), "
        "and none of the 2 rows can be used."
    )
    assert account.skipped == [sentence]
    assert account.without_usable_row == account.skipped
    assert (account.labelled, account.dropped) == (5, 0)


def test_many_processes_give_the_same_account(tmp_path: Path) -> None:
    more = {f"train/images/more{index:02d}.jpg": picture(200 + index) for index in range(20)}
    root = unpacked(tmp_path / "set", members(**more, **{"train/labels/0.txt": "x"}))
    one, two = (Checked(root, tmp_path / f"out{number}", processes=number) for number in (1, 2))
    assert one.account() == two.account()


def numbered_from(first: int, classes: int = 5) -> Members:
    """Labels of all classes."""
    numbers = [first + index % classes for index in range(2 * sum(SPLITS.values()))]
    rows = iter(f"{number} .5 .5 .{1 + place % 8} .1" for place, number in enumerate(numbers))
    return {name: "\n".join((next(rows), next(rows))) for name in members() if name.endswith(".txt")}


def test_classes_numbered_from_1_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset) as caught:
        check(tmp_path, numbered_from(1), classes=5)
    assert str(caught.value) == (
        "The labels do not fit data.yaml, which names classes 0 to 4: class 5 exceeds nc 5 (line 1 of "
        "train/labels/2.txt), and class 0 never occurs: numbered from 1? Subtract 1 from the class of each label row, "
        "or correct 'names'."
    )
    check(tmp_path / "right", numbered_from(0), classes=5)


def test_the_only_class_numbered_1_is_refused(tmp_path: Path) -> None:
    labels = {name: "1 .5 .5 .1 .1" for name in members() if name.endswith(".txt")}
    with pytest.raises(InvalidDataset, match=r"class 0 only: class 1 exceeds nc 1 .*: numbered from 1\?"):
        check(tmp_path, labels, classes=1)


@pytest.mark.parametrize("highest", [2, 7])
def test_a_class_without_name_in_several_images_is_refused(tmp_path: Path, highest: int) -> None:
    changes = {f"train/labels/{index}.txt": f"{GOOD_LABELS}{highest} .1 .1 .1 .1" for index in (1, 3)}
    with pytest.raises(InvalidDataset) as caught:
        check(tmp_path, changes)
    assert f"class {highest} exceeds nc 2 (line 3 of train/labels/1.txt), and so it is in 2 of 8 labelled" in str(
        caught.value
    )


def test_classes_are_compared_over_all_splits(tmp_path: Path) -> None:
    """Class 0 is in one split, the class without a name in the other, once: a slip."""
    labels = {f"train/labels/{index}.txt": "1 .5 .5 .1 .1" for index in range(5)}
    account = check(tmp_path, {**labels, "train/labels/0.txt": "1 .5 .5 .1 .1\n2 .5 .5 .1 .1"}).account()
    assert account.dropped_rows == [
        "Line 2 of train/labels/0.txt is dropped: it has class 2, but data.yaml names classes 0 to 1."
    ]


def test_a_slip_in_one_of_a_hundred_images_is_dropped() -> None:
    def account(images: int, labelled: int) -> SplitAccount:
        unnamed = UnnamedClasses(7, "line 1 of a.txt", images)
        return SplitAccount("train", labelled=labelled, classes=frozenset({0}), unnamed=unnamed)

    assert class_problem([account(2, 200)], 5) is None
    assert class_problem([account(3, 200)], 5) is not None
    assert class_problem([account(1, 1)], 5) is None


def test_one_class_takes_any_number(tmp_path: Path) -> None:
    root = unpacked(tmp_path / "set", members(**numbered_from(0)))
    checked = Checked(root, tmp_path / "out", classes=1, single_class=True)
    assert checked.account().classes == {0}
    assert sum(map(len, checked.splits["train"].targets)) == 10
    with pytest.raises(InvalidDataset, match=r"class 4 exceeds nc 1 .*\(training\.singleClass takes any number"):
        Checked(root, tmp_path / "again", classes=1)


def test_key_points_are_said(tmp_path: Path) -> None:
    labels = {f"train/labels/{index}.txt": "1 .5 .5 .25 .5 .4 .4 .6 .4" for index in range(5)}
    root = unpacked(tmp_path / "set", members(**labels))
    checked = Checked(root, tmp_path / "out", keypoint_columns=4)
    assert checked.splits["train"].targets[0].tolist() == [[1, 0.5, 0.5, 0.25, 0.5]]
    assert "train: 5 label rows with key points, of which the box is taken" in checked.said


def test_images_that_are_in_two_splits_are_said(tmp_path: Path) -> None:
    changes: Changes = {
        "valid/images/1.jpg": picture(0),
        "test/images/a.jpg": picture(3),
        "test/images/b.jpg": picture(101),
    }
    checked = check(tmp_path, changes)
    sentence = (
        "1 of {} {} images are train images, too, byte for byte ({}): scores on them say little about new images."
    )
    assert [checked.account(split).shared for split in ("train", "val", "test")] == [
        [],
        [sentence.format(3, "val", "valid/images/1.jpg = train/images/0.jpg")],
        [sentence.format(2, "test", "test/images/a.jpg = train/images/3.jpg")],
    ]


def test_one_list_of_images_for_two_splits_is_said(tmp_path: Path) -> None:
    root = unpacked(tmp_path / "set", members())
    (tmp_path / "out").mkdir()
    images = sorted((root.resolve() / "train" / "images").iterdir())
    verified = verify_splits(
        {"train": images, "val": images},
        list_files(root),
        output=tmp_path / "out",
        classes=2,
        image_size=64,
        processes=1,
        say=lambda _: None,
    )
    assert (
        verified["val"]
        .account.shared[0]
        .startswith("5 of 5 val images are train images, too, byte for byte (train/images/0.jpg, train/images/1.jpg, ")
    )


ROWS = st.sampled_from(["0 .5 .5 .1 .1", "1 .3 .3 .2 .2", "0 .5 .5 0 0", "0 48 32 9 9", "-1 .5 .5 .1 .1", "x", "", "0"])
LABELS = st.none() | st.lists(ROWS, max_size=5).map("\n".join)


@settings(max_examples=40, deadline=None)
@given(labels=st.lists(LABELS, min_size=1, max_size=6))
def test_every_image_and_every_row_is_in_one_count(labels: list[str | None]) -> None:
    # An image that can be used whatever the others are, or the split would be refused.
    texts = ["", *labels]
    with tempfile.TemporaryDirectory() as folder:
        found: Members = {f"train/images/{index}.jpg": picture(index) for index in range(len(texts))}
        rows = {f"train/labels/{index}.txt": text for index, text in enumerate(texts) if text is not None}
        split = Checked(unpacked(Path(folder) / "set", {**found, **rows}), Path(folder) / "out").splits["train"]
    account = split.account
    assert account.images == len(texts)
    assert len(account.unlabelled) == texts.count(None)
    assert len(split.targets) + len(account.skipped) == len(texts)
    used = [index for index in range(len(texts)) if f"train/images/{index}.jpg" in {i.name for i in split.split.images}]
    written = sum(bool(row) for index in used for row in (texts[index] or "").split("\n"))
    assert sum(map(len, split.targets)) + account.duplicates + account.dropped == written
