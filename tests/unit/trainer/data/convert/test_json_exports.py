"""What COCO and Label Studio files say, in the forms that their tools write."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from masktrain_trainer.data.convert.annotations import Export
from masktrain_trainer.data.convert.json_exports import read_coco, read_label_studio
from masktrain_trainer.data.convert.picture_search import Pictures
from masktrain_trainer.data.source.file_list import list_files
from masktrain_trainer.errors import InvalidDataset
from tests.unit.trainer.data.convert.drawn import NAMES, Drawn, coco_document, drawn_set, studio_region, studio_task
from tests.unit.trainer.data.exports import unpacked

PICTURE = Drawn("a.jpg", "train", 200, 100, [(0, 10, 20, 30, 40), (2, 1, 2, 3, 4)])


def coco(root: Path, *documents: object) -> Export:
    names = [f"{number}.json" for number in range(len(documents))]
    bodies = {name: json.dumps(document) for name, document in zip(names, documents, strict=True)}
    files = list_files(unpacked(root, {**bodies, "a.jpg": "", "pic 1.jpg": ""}))
    return read_coco(
        files, [PurePosixPath(name) for name in names], Pictures(map(PurePosixPath, ("a.jpg", "pic 1.jpg")))
    )


def studio(root: Path, document: object) -> Export:
    files = list_files(unpacked(root, {"x.json": json.dumps(document), "a.jpg": ""}))
    return read_label_studio(files, [PurePosixPath("x.json")], Pictures([PurePosixPath("a.jpg")]))


def test_classes_are_numbered_by_their_ids(tmp_path: Path) -> None:
    document = coco_document([PICTURE])
    categories = [{"id": 90, "name": "z"}, {"id": 8, "name": "kite"}, {"id": 1, "name": "b"}, {"id": 15, "name": "y"}]
    export = coco(tmp_path, {**document, "categories": categories})
    assert export.names == ["b", "kite", "y", "z"]
    assert export.ledger.source == {"b": 1, "y": 1}


def test_files_with_other_ids_for_the_same_names_agree(tmp_path: Path) -> None:
    other = coco_document([drawn_set()[1]], first_category=50)
    export = coco(tmp_path, coco_document([PICTURE]), other)
    assert export.names == NAMES
    assert export.ledger.source.total() == 3


def test_the_projects_heading_stays_where_a_box_has_it(tmp_path: Path) -> None:
    document = coco_document([PICTURE])
    categories: Any = document["categories"]
    heading = {"id": 0, "name": "things", "supercategory": "none"}
    assert coco(tmp_path / "a", {**document, "categories": [heading, *categories]}).names == NAMES
    annotations = [{"id": 1, "image_id": 0, "category_id": 0, "bbox": [1, 2, 3, 4]}]
    used = {**document, "categories": [heading, *categories], "annotations": annotations}
    assert coco(tmp_path / "b", used).names == ["things", *NAMES]


def test_a_project_without_supercategories_keeps_its_first_class(tmp_path: Path) -> None:
    document = coco_document([PICTURE])
    categories = [{"id": key, "name": name, "supercategory": "none"} for key, name in ((1, "zebra"), (15, "kite & co"))]
    assert coco(tmp_path, {**document, "categories": categories}).names == ["zebra", "kite & co"]


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        ({"segmentation": {"counts": "abc", "size": [1, 2]}}, "masks"),
        ({"keypoints": [1, 2, 2], "num_keypoints": 1}, "key points"),
        ({"caption": "a dog"}, "captions"),
    ],
)
def test_annotations_without_a_box_are_other_shapes(annotation: dict[str, Any], kind: str, tmp_path: Path) -> None:
    entry = {"id": 1, "image_id": 0, "category_id": 1, **annotation}
    export = coco(tmp_path, {**coco_document([PICTURE]), "annotations": [entry]})
    assert {found: tally.classes.total() for found, tally in export.ledger.other_shapes.items()} == {kind: 1}


def test_the_size_may_be_left_out(tmp_path: Path) -> None:
    document = coco_document([PICTURE])
    export = coco(tmp_path, {**document, "images": [{"id": 0, "file_name": "a.jpg"}]})
    assert export.pictures[0].size is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": {}}, "has no list 'images' as a COCO export has"),
        ({"images": [1]}, "has no list 'images' as a COCO export has"),
        ({"annotations": None}, "has no list 'annotations'"),
        ({"images": [{"id": 1}]}, "has a picture without a 'file_name' (id 1)"),
        ({"images": [{"file_name": "a.jpg"}]}, "has an entry without an 'id'"),
        ({"images": [{"id": 1, "file_name": "a.jpg"}] * 2}, "has two pictures of the id 1"),
        ({"categories": [{"id": 1, "name": "a"}] * 2}, "has two categories of the same id"),
        ({"categories": [{"id": 1}]}, "has a class without a name"),
        ({"categories": [{"id": 1, "name": "x" * 1000}]}, "has a class name of more than"),
    ],
)
def test_files_that_are_no_coco_export_get_a_sentence(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset) as caught:
        coco(tmp_path, {**coco_document([PICTURE]), **changes})
    assert f"0.json {said}" in str(caught.value)


def test_cut_json_is_said(tmp_path: Path) -> None:
    files = list_files(unpacked(tmp_path, {"x.json": json.dumps(coco_document([PICTURE]))[:-20]}))
    with pytest.raises(InvalidDataset, match=r"x.json is not valid JSON \(.*\); it is cut or damaged"):
        read_coco(files, [PurePosixPath("x.json")], Pictures([]))


def boxes(export: Export) -> list[Any]:
    """Names and edges; of any type, so that they compare with pytest's approximations."""
    return [(box.name, box[1:]) for picture in export.pictures for box in picture.boxes]


def test_percent_become_pixels(tmp_path: Path) -> None:
    export = studio(tmp_path, [studio_task(1, PICTURE)])
    assert boxes(export) == [("zebra", pytest.approx((10, 20, 40, 60))), ("kite & co", pytest.approx((1, 2, 4, 6)))]
    assert export.pictures[0].path == PurePosixPath("a.jpg")
    assert export.names == ["kite & co", "zebra"]


def test_the_newest_annotation_of_a_task_counts(tmp_path: Path) -> None:
    task: Any = studio_task(1, PICTURE)
    older = {**task["annotations"][0], "id": 5, "updated_at": "2023-01-01T00:00:00Z"}
    skipped = {**task["annotations"][0], "id": 6, "updated_at": "2025-01-01T00:00:00Z", "was_cancelled": True}
    task["annotations"] = [older, *task["annotations"], skipped]
    export = studio(tmp_path, [task])
    assert len(boxes(export)) == 2
    assert export.ledger.source.total() == 4
    assert export.ledger.left_out["are of an older annotation of the same task"].classes.total() == 2


def test_ground_truth_counts_more_than_the_newest(tmp_path: Path) -> None:
    task: Any = studio_task(1, PICTURE)
    truth = {**task["annotations"][0], "ground_truth": True, "updated_at": "2020-01-01T00:00:00Z", "result": []}
    task["annotations"].append(truth)
    assert boxes(studio(tmp_path, [task])) == []


def test_the_newest_of_several_entries_of_json_min_counts(tmp_path: Path) -> None:
    def entry(moment: str, x: float) -> dict[str, Any]:
        value = {"x": x, "y": 10, "width": 5, "height": 5, "rotation": 0, "rectanglelabels": ["a"]}
        return {"id": 1, "image": "a.jpg", "label": [value], "annotation_id": 1, "updated_at": moment}

    export = studio(tmp_path, [entry("2024-01-02", 20), entry("2024-01-01", 10)])
    assert boxes(export) == [("a", pytest.approx((20, 10, 25, 15)))]
    assert export.pictures[0].size == (100.0, 100.0)
    assert export.ledger.source == {"a": 2}


@pytest.mark.parametrize("column", ["data", "photo", "image"])
def test_the_picture_of_an_entry_is_whichever_value_ends_like_one(column: str, tmp_path: Path) -> None:
    """Columns of the user's come first, and any may hold a point."""
    value = {"x": 10, "y": 10, "width": 5, "height": 5, "rotation": 0, "rectanglelabels": ["a"]}
    entry = {"camera": "north.2", "taken": "2024-01-01T00:00:00.5Z", column: "/data/upload/1/0a1b2c3d-a.jpg"}
    export = studio(tmp_path, [{**entry, "id": 1, "label": [value], "annotation_id": 1}])
    assert [(picture.path, len(picture.boxes)) for picture in export.pictures] == [(PurePosixPath("a.jpg"), 1)]


def test_boxes_on_several_pictures_of_a_task_are_not_put_on_one(tmp_path: Path) -> None:
    task: Any = studio_task(1, PICTURE)
    task["data"]["image2"] = "/data/upload/1/b.jpg"
    first, second = task["annotations"][0]["result"]
    task["annotations"][0]["result"] = [{**first, "to_name": "left"}, {**second, "to_name": "right"}]
    export = studio(tmp_path, [task])
    assert export.pictures[0].path is None
    assert "one of several pictures of a task" in export.pictures[0].problem
    assert export.ledger.source.total() == 2, "counted all the same"


def test_tasks_that_nobody_annotated_are_no_backgrounds(tmp_path: Path) -> None:
    task: Any = studio_task(1, PICTURE)
    untouched = {**task, "id": 2, "annotations": [], "predictions": [{"result": task["annotations"][0]["result"]}]}
    export = studio(tmp_path, [task, untouched])
    assert len(export.pictures) == 1
    assert export.ledger.sentences[0].startswith("1 of 2 entries of x.json are left out: not annotated")


def test_completions_of_old_versions_are_annotations(tmp_path: Path) -> None:
    task: Any = studio_task(1, PICTURE)
    task["completions"] = task.pop("annotations")
    assert len(boxes(studio(tmp_path, [task]))) == 2


def test_rectangle_and_labels_are_one_box(tmp_path: Path) -> None:
    task: Any = studio_task(1, PICTURE)
    geometry = {"x": 10, "y": 20, "width": 5, "height": 6, "rotation": 0}
    task["annotations"][0]["result"] = [
        {"id": "a", "type": "rectangle", "value": geometry, "original_width": 200, "original_height": 100},
        {"id": "a", "type": "labels", "value": {**geometry, "labels": ["car"]}},
        {"id": "b", "type": "rectangle", "value": geometry},
        {"type": "choices", "value": {"choices": ["good"]}},
        {"id": "c", "type": "rectanglelabels", "value": {**geometry, "rectanglelabels": ["car", "red"]}},
    ]
    export = studio(tmp_path, [task])
    assert [name for name, _ in boxes(export)] == ["car", "car", "red"]
    assert export.ledger.left_out["have no label"].classes == {"(no label)": 1}
    assert export.names == ["car", "red"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"format": "rle", "rle": [0, 1], "brushlabels": ["a"]}, "brush masks"),
        ({"x": 1, "y": 2, "width": 0.5, "keypointlabels": ["a"]}, "key points"),
        ({"sequence": [], "labels": ["a"]}, "boxes of a video"),
    ],
)
def test_other_regions_are_counted(value: dict[str, Any], kind: str, tmp_path: Path) -> None:
    task: Any = studio_task(1, PICTURE)
    task["annotations"][0]["result"] = [{"id": "a", "type": "x", "value": value}]
    assert list(studio(tmp_path, [task]).ledger.other_shapes) == [kind]


@pytest.mark.parametrize(
    ("region", "reason"),
    [
        ({"image_rotation": 90}, "are of a picture that was turned in Label Studio"),
        ({"value": {"x": "left", "y": 1, "width": 2, "height": 3, "rectanglelabels": ["a"]}}, "have no four numbers"),
        ({"value": {"points": [[1, 2], [3]], "polygonlabels": ["a"]}}, "have no four numbers"),
    ],
)
def test_regions_that_give_no_box_are_left_out(region: dict[str, Any], reason: str, tmp_path: Path) -> None:
    task: Any = studio_task(1, PICTURE)
    task["annotations"][0]["result"] = [{**studio_region(PICTURE, PICTURE.rows[0], "a"), **region}]
    assert next(iter(studio(tmp_path, [task]).ledger.left_out)).startswith(reason)


def test_a_polygon_of_percent_becomes_a_box(tmp_path: Path) -> None:
    task: Any = studio_task(1, PICTURE)
    region = studio_region(PICTURE, PICTURE.rows[0], "a")
    region["value"] = {"points": [[10, 10], [20, 10], [15, 50]], "closed": True, "polygonlabels": ["a"]}
    task["annotations"][0]["result"] = [region]
    assert boxes(studio(tmp_path, [task])) == [("a", pytest.approx((20, 10, 40, 50)))]


@pytest.mark.parametrize("document", [{}, [1], "x", [[]]])
def test_files_that_are_no_tasks_get_a_sentence(document: object, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="is no list of tasks as Label Studio exports it"):
        studio(tmp_path, document)
