"""What Pascal VOC, CVAT and Darknet files say, in the forms that their tools write."""

from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from masktrain_trainer.data.convert.annotations import Export
from masktrain_trainer.data.convert.picture_search import Pictures
from masktrain_trainer.data.convert.xml_exports import load_xml, read_cvat, read_darknet, read_pascal_voc
from masktrain_trainer.data.source.file_list import list_files
from masktrain_trainer.errors import InvalidDataset
from tests.unit.trainer.data.convert.drawn import NAMES, Drawn, cvat_meta, voc_document
from tests.unit.trainer.data.exports import Members, unpacked

PICTURE = Drawn("a.jpg", "train", 200, 100, [(0, 10, 20, 30, 40)])
PART = "<part><name>head</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
READERS = {"xml": read_pascal_voc, "cvat": read_cvat, "names": read_darknet}


def read(root: Path, members: Members, reader: str = "xml") -> Export:
    files = list_files(unpacked(root, members))
    ending = ".names" if reader == "names" else ".xml"
    names = [name for name in files.files if name.suffix == ending]
    return READERS[reader](files, names, Pictures(name for name in files.files if name.suffix in (".jpg", ".PNG")))


def boxes(export: Export) -> list[Any]:
    """Names and edges; of any type, so that they compare with pytest's approximations."""
    return [(box.name, box[1:]) for picture in export.pictures for box in picture.boxes]


def voc_object(inner: str) -> str:
    return f"<annotation><filename>a.jpg</filename><object><name>cat</name>{inner}</object></annotation>"


@pytest.mark.parametrize(
    ("inner", "edges"),
    [
        ("<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3.5</xmax><ymax>4</ymax></bndbox>", (1, 2, 3.5, 4)),
        ("<bndbox>\n <ymax> 4 </ymax><xmax>3</xmax><ymin>2</ymin><xmin>1</xmin></bndbox>", (1, 2, 3, 4)),
        (
            f"<difficult>1</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>{PART}",
            (1, 2, 3, 4),
        ),
        (
            "<robndbox><cx>10</cx><cy>20</cy><w>8</w><h>4</h><angle>1.5707963267948966</angle></robndbox>",
            (8, 16, 12, 24),
        ),
        ("<polygon><x1>1</x1><y1>2</y1><x2>5</x2><y2>1</y2><x3>3</x3><y3>9</y3></polygon>", (1, 1, 5, 9)),
    ],
)
def test_forms_of_a_box(inner: str, edges: tuple[float, ...], tmp_path: Path) -> None:
    export = read(tmp_path, {"a.xml": voc_object(inner), "a.jpg": ""})
    assert boxes(export) == [("cat", pytest.approx(edges))]
    assert export.ledger.source == {"cat": 1}


@pytest.mark.parametrize(
    "inner", ["", "<bndbox><xmin>1</xmin></bndbox>", "<bndbox><xmin>x</xmin></bndbox>", "<polygon/>"]
)
def test_an_object_without_a_box_is_left_out(inner: str, tmp_path: Path) -> None:
    export = read(tmp_path, {"a.xml": voc_object(inner), "a.jpg": ""})
    assert boxes(export) == []
    assert export.ledger.left_out["have no four numbers for their edges"].classes == {"cat": 1}


def test_a_size_of_zero_is_none(tmp_path: Path) -> None:
    zero = voc_document(PICTURE).replace(">200<", ">0<").replace(">100<", ">0<")
    assert read(tmp_path, {"a.xml": zero, "a.jpg": ""}).pictures[0].size is None


def test_a_renamed_picture_is_found_by_the_files_own_name(tmp_path: Path) -> None:
    document = voc_document(PICTURE).replace("a.jpg", "before.jpg")
    export = read(tmp_path, {"Annotations/b.xml": document, "JPEGImages/b.jpg": "", "JPEGImages/before.PNG": ""})
    assert export.pictures[0].path == PurePosixPath("JPEGImages/b.jpg")
    export = read(tmp_path / "2", {"Annotations/001.xml": document, "JPEGImages/before.jpg": ""})
    assert export.pictures[0].path == PurePosixPath("JPEGImages/before.jpg")


def test_lists_of_pictures_say_the_splits(tmp_path: Path) -> None:
    documents = {f"VOC/Annotations/{name}.xml": voc_document(PICTURE) for name in ("a", "b", "c", "d", "sub/e")}
    pictures = {f"VOC/JPEGImages/{name}.jpg": "" for name in ("a", "b", "c", "d", "sub/e")}
    lists = {"trainval": "a\nb\nsub/e\n", "train": "a\nsub/e\n", "val": "b\n", "test": "c\n", "cat_val": "d -1\n"}
    mains = {f"VOC/ImageSets/Main/{name}.txt": text for name, text in lists.items()}
    export = read(tmp_path, {**documents, **pictures, **mains})
    assert [picture.split for picture in export.pictures] == ["train", "val", "test", None, "train"]
    assert [bool(picture.problem) for picture in export.pictures] == [False, False, False, True, False]


def test_names_with_spaces_are_listed_whole(tmp_path: Path) -> None:
    """As CVAT writes them, in quotes, and as scripts do, without; some lists have a mark of presence behind."""
    names = ("my photo", "my other", "my third 1", "frame 0", "frame 1")
    documents = {f"Annotations/{name}.xml": voc_document(PICTURE) for name in names}
    pictures = {f"JPEGImages/{name}.jpg": "" for name in names}
    lists = {"train": '"my photo"\nmy third 1  1\nframe 0\n', "val": '"my other" 1\nframe 1\n'}
    mains = {f"ImageSets/Main/{name}.txt": text for name, text in lists.items()}
    export = read(tmp_path, {**documents, **pictures, **mains})
    assert not any(picture.problem for picture in export.pictures)
    assert {picture.path.stem: picture.split for picture in export.pictures if picture.path} == {
        "my photo": "train",
        "my other": "val",
        "my third 1": "train",
        "frame 0": "train",
        "frame 1": "val",
    }


def test_trainval_alone_is_for_training(tmp_path: Path) -> None:
    mains = {"ImageSets/Main/trainval.txt": "a\n", "ImageSets/Main/test.txt": "b\n"}
    documents = {f"Annotations/{name}.xml": voc_document(PICTURE) for name in "ab"}
    export = read(tmp_path, {**mains, **documents, "JPEGImages/a.jpg": "", "JPEGImages/b.jpg": ""})
    assert [picture.split for picture in export.pictures] == ["train", "test"]


def test_a_picture_in_two_lists_is_refused(tmp_path: Path) -> None:
    mains = {"ImageSets/Main/train.txt": "a\n", "ImageSets/Main/val.txt": "a\n"}
    with pytest.raises(InvalidDataset, match=r"val.txt lists 'a', as another list of it does"):
        read(tmp_path, {**mains, "Annotations/a.xml": voc_document(PICTURE)})


def test_cvats_map_of_colours_orders_the_classes(tmp_path: Path) -> None:
    labels = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nzebra:1,1,1::\nant:2,2,2::\n"
    assert read(tmp_path, {"labelmap.txt": labels, "a.xml": voc_document(PICTURE)}).names == ["zebra", "ant"]


def video(tracks: str, filter_: str = "") -> str:
    size = "<original_size><width>200</width><height>100</height></original_size>"
    meta = cvat_meta("task").replace("</task>", f"{size}<frame_filter>{filter_}</frame_filter></task>")
    return f"<annotations>{meta}{tracks}</annotations>"


def track_box(frame: int, *, outside: int = 0, keyframe: int = 1) -> str:
    return (
        f'<box frame="{frame}" keyframe="{keyframe}" outside="{outside}" occluded="0" xtl="{frame}" ytl="2" xbr="50" '
        'ybr="60" z_order="0"></box>'
    )


FRAMES: Members = {f"images/frame_{number:06d}.PNG": "" for number in range(5)}


def test_a_video_has_a_box_in_each_frame_of_a_track(tmp_path: Path) -> None:
    """The last box of a track says where the object was when it left."""
    inner = track_box(0) + track_box(1, keyframe=0) + track_box(2) + track_box(3, outside=1)
    tracks = f'<track id="0" label="zebra" source="manual">{inner}</track>'
    export = read(tmp_path, {"annotations.xml": video(tracks), **FRAMES}, "cvat")
    assert boxes(export) == [("zebra", (frame, 2, 50, 60)) for frame in range(3)]
    assert export.ledger.source == {"zebra": 3}
    assert sorted(str(picture.path) for picture in export.pictures) == sorted(FRAMES)
    assert export.pictures[0].size == (200, 100)


def test_frames_of_a_video_have_no_ending_in_an_export_for_images(tmp_path: Path) -> None:
    """CVAT writes `name="frame_000000"` and saves `images/frame_000000.PNG`."""
    shape = '<box label="a" xtl="1" ytl="2" xbr="30" ybr="40"/>'
    image = f'<image id="0" name="frame_000000" width="200" height="100">{shape}</image>'
    document = f"<annotations>{cvat_meta('task')}{image}</annotations>"
    export = read(tmp_path, {"annotations.xml": document, "images/frame_000000.PNG": ""}, "cvat")
    assert [picture.path for picture in export.pictures] == [PurePosixPath("images/frame_000000.PNG")]


def test_a_video_of_key_frames_only_is_refused(tmp_path: Path) -> None:
    tracks = f'<track id="7" label="zebra">{track_box(0) + track_box(4)}</track>'
    with pytest.raises(
        InvalidDataset, match="no boxes between the frames 0 and 4 of track 7; export it as 'CVAT for i"
    ):
        read(tmp_path, {"annotations.xml": video(tracks), **FRAMES}, "cvat")


def test_a_video_of_every_second_frame_has_no_gaps(tmp_path: Path) -> None:
    tracks = f'<track id="7" label="zebra">{track_box(0) + track_box(2) + track_box(4)}</track>'
    export = read(tmp_path, {"annotations.xml": video(tracks, "step=2"), **FRAMES}, "cvat")
    assert len(boxes(export)) == 3


def test_an_object_may_leave_and_come_back(tmp_path: Path) -> None:
    tracks = f'<track id="7" label="zebra">{track_box(0) + track_box(1, outside=1) + track_box(4)}</track>'
    assert len(boxes(read(tmp_path, {"annotations.xml": video(tracks), **FRAMES}, "cvat"))) == 2


def test_labels_that_no_box_can_have_are_no_classes(tmp_path: Path) -> None:
    image = (
        '<image id="0" name="a.jpg" width="200" height="100"><box label="new" xtl="1" ytl="2" xbr="3" ybr="4"/></image>'
    )
    export = read(
        tmp_path, {"annotations.xml": f"<annotations>{cvat_meta('job')}{image}</annotations>", "a.jpg": ""}, "cvat"
    )
    assert export.names == [*NAMES, "new"]


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ('<box label="a" xtl="1" ytl="2" xbr="3"/>', "have no four numbers for their edges"),
        ('<box label="a" xtl="1" ytl="2" xbr="3" ybr="nan"/>', "have no four numbers for their edges"),
        ('<polygon label="a" points=""/>', "have no four numbers for their edges"),
        ('<polygon label="a" points="1,2;3"/>', "have no four numbers for their edges"),
        ('<polygon label="a" points="1,2;3,4"/>', "have no four numbers for their edges"),
    ],
)
def test_shapes_without_numbers_are_left_out(shape: str, reason: str, tmp_path: Path) -> None:
    document = f'<annotations><image name="a.jpg">{shape}</image></annotations>'
    export = read(tmp_path, {"annotations.xml": document, "a.jpg": ""}, "cvat")
    assert export.ledger.left_out[reason].classes == {"a": 1}


def test_darknet_rows_are_boxes_or_outlines(tmp_path: Path) -> None:
    rows = (
        "0 0.5 0.5 0.2 0.4\n\n1 0.1 0.1 0.3 0.1 0.2 0.5\n2 0.5 0.5 0.1 0.1\n0 0.5 0.5\n0 a b c d\nx 0.5 0.5 0.1 0.1\n"
    )
    export = read(tmp_path, {"obj.names": "cat\ndog\n", "data/a.jpg": "", "data/a.txt": rows}, "names")
    assert boxes(export) == [("cat", pytest.approx((0.4, 0.3, 0.6, 0.7))), ("dog", pytest.approx((0.1, 0.1, 0.3, 0.5)))]
    assert export.ledger.source == {"cat": 3, "dog": 1, "class 2": 1, "class x": 1}
    left_out = {reason: tally.classes.total() for reason, tally in export.ledger.left_out.items()}
    assert left_out == {
        "have a class that the list of classes does not name": 2,
        "have no four numbers for their edges": 2,
    }


@pytest.mark.parametrize("end", ["", "\n", "\r\n\n  \n"])
def test_empty_lines_at_the_end_of_a_list_are_no_classes(end: str, tmp_path: Path) -> None:
    members: Members = {"obj.names": f"cat\ndog{end}", "a.jpg": "", "a.txt": "1 0.5 0.5 0.2 0.4\n"}
    assert read(tmp_path, members, "names").names == ["cat", "dog"]


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("cat\n\ndog\n", r"obj.names has no class in line 2 of 3, and classes are numbered by lines; name it"),
        ("\ncat\n", r"obj.names has no class in line 1 of 2"),
        # Both would have become the same name.
        ("caf\u00e9\ncaf\u00e8\n".encode("cp1252"), "obj.names is not text in UTF-8; save it as UTF-8"),
        ("cat\ndog\n".encode("utf-16"), "obj.names is not text in UTF-8; save it as UTF-8"),
    ],
)
def test_a_list_that_would_shift_or_merge_classes_is_refused(listed: str | bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=said):
        read(tmp_path, {"obj.names": listed, "a.jpg": "", "a.txt": "1 0.5 0.5 0.2 0.4\n"}, "names")


def test_lists_of_classes_of_several_folders_are_each_their_own(tmp_path: Path) -> None:
    row = "0 0.5 0.5 0.2 0.4\n"
    members: Members = {"train/x.names": "cat\ndog\n", "train/a.jpg": "", "train/a.txt": row}
    members |= {"valid/x.names": "dog\ncat\n", "valid/b.jpg": "", "valid/b.txt": row}
    assert [name for name, _ in boxes(read(tmp_path, members, "names"))] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("", "is not valid XML"),
        ("<annotation>", "is not valid XML"),
        ("<annotation>&bomb;</annotation>", "is not valid XML"),
        ("<?xml version='1.0' encoding='nonsense'?><annotation/>", "is not valid XML"),
        ("<!DOCTYPE annotation><annotation/>", "declares a document type"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>', "declares a document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "declares a document type"),
    ],
)
def test_what_is_no_plain_xml_gets_a_sentence(document: str, said: str, tmp_path: Path) -> None:
    files = list_files(unpacked(tmp_path, {"a.xml": document}))
    with pytest.raises(InvalidDataset, match=f"a.xml {said}"):
        load_xml(files, PurePosixPath("a.xml"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_xml_in_other_encodings_is_read(encoding: str, tmp_path: Path) -> None:
    name = encoding.removesuffix("-sig")
    body = f"<?xml version='1.0' encoding='{name}'?>{voc_object('').replace('cat', 'café')}"
    export = read(tmp_path, {"a.xml": body.encode(encoding), "a.jpg": ""})
    assert export.ledger.source == {"café": 1}
