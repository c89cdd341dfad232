"""Exports of other tools by strangers: whatever stands in them, one sentence or a data set, and nothing else."""

import io
import json
import random
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masktrain_trainer.errors import InvalidDataset, UserError
from masktrain_trainer.local.convert import ConvertOptions, convert_dataset
from tests.unit.trainer.data.convert.drawn import EXPORTS, drawn_set
from tests.unit.trainer.data.exports import Members, unpacked

NASTY: list[Any] = [
    None, True, 0, -1, 1e300, -1e300, 1e-300, float("nan"), float("inf"), 10**400, "", "x", "0", "-1", "x" * 70_000,
    "\x1b[2J\r\n\ud800", "../../../../etc/passwd", "/", "\0", [], {}, [[]], {"": {}}, [None] * 50, [1, 2, 3, 4], "NaN",
    "9" * 5000, "٣", "²", "%00", "?d=", "//", "s3://", {"id": 1}, [{}], [{"value": {}}], 2**63,
]  # fmt: skip
WORDS = [
    "<",
    ">",
    "&amp;",
    '"',
    "<box",
    "</box>",
    "<!DOCTYPE a>",
    "<!--",
    "]]>",
    "&#0;",
    "&#55296;",
    "<?x?>",
    " xmlns='",
    "é",
]
JSON_TOOLS = ["COCO by Roboflow", "COCO by COCO", "Label Studio JSON", "Label Studio JSON-MIN"]
XML_TOOLS = ["Pascal VOC by Roboflow", "Pascal VOC by the kit", "CVAT for images"]
TEXT_TOOLS = ["Darknet by Roboflow", "YOLO 1.1 by CVAT", "Pascal VOC by the kit"]
often = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def converts_or_refuses(members: Members, *, boxes_only: bool = True) -> str:
    """The sentence, if it is refused. Beside source and destination nothing is there afterwards."""
    said = ""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = unpacked(folder / "source", members)
        try:
            convert_dataset(str(source), folder / "made", ConvertOptions(boxes_only=boxes_only), lambda _: None)
        except UserError as error:
            said = str(error)
            assert "\n" not in said
            assert len(said) < 5000
        assert {path.name for path in folder.iterdir()} == ({"source"} if said else {"source", "made"})
    return said


def mutated_json(body: str, chance: random.Random) -> str:
    document = json.loads(body)
    for _ in range(chance.randint(1, 3)):
        section = document
        while isinstance(section, dict | list) and section:
            keys = list(section) if isinstance(section, dict) else list(range(len(section)))
            key = chance.choice(keys)
            if not isinstance(section[key], dict | list) or not section[key] or chance.random() < 0.2:
                section[key] = chance.choice(NASTY)
                break
            section = section[key]
    return json.dumps(document)


def mutated_text(body: str, chance: random.Random) -> str:
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(body) + 1)
        end = min(len(body), start + chance.choice([0, 0, 1, 5, 40]))
        value = chance.choice([*WORDS, *(str(nasty) for nasty in NASTY if isinstance(nasty, str | float))])
        body = body[:start] + value + body[end:]
    return body


def mutated(tool: str, seed: int, change: Callable[[str, random.Random], str], *endings: str) -> Members:
    chance = random.Random(seed)
    members = EXPORTS[tool](drawn_set())
    name = chance.choice([name for name in members if name.endswith(endings)])
    changed = change(str(members[name]), chance).encode("utf-8", "surrogatepass")
    return {**members, name: changed}


@pytest.mark.parametrize("tool", JSON_TOOLS)
@often
@given(seed=st.integers(0, 10**9))
def test_mutated_json_is_converted_or_refused_in_a_sentence(tool: str, seed: int) -> None:
    converts_or_refuses(mutated(tool, seed, mutated_json, ".json"))


@pytest.mark.parametrize("tool", [*JSON_TOOLS, *XML_TOOLS])
@often
@given(seed=st.integers(0, 10**9))
def test_mutated_bytes_of_documents_are_converted_or_refused_in_a_sentence(tool: str, seed: int) -> None:
    converts_or_refuses(mutated(tool, seed, mutated_text, ".json", ".xml"))


@pytest.mark.parametrize("tool", TEXT_TOOLS)
@often
@given(seed=st.integers(0, 10**9))
def test_mutated_lists_and_labels_are_converted_or_refused_in_a_sentence(tool: str, seed: int) -> None:
    converts_or_refuses(mutated(tool, seed, mutated_text, ".txt", ".names", ".labels"))


def bomb(levels: int) -> str:
    entities = "".join(f'<!ENTITY e{level} "{f"&e{level - 1};" * 10}">' for level in range(1, levels))
    return f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e0 "lol">{entities}]><annotation>&e{levels - 1};</annotation>'


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("a.xml", bomb(10), "a.xml declares a document type"),
        ("a.xml", '<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x.dtd"><annotation/>', "a.xml declares a document type"),
        ("a.xml", "<annotation>" * 200_000, "a.xml is not valid XML"),
        ("a.coco.json", "[" * 200_000, "a.coco.json is nested too deeply"),
        ("a.coco.json", '{"images": ' + "9" * 1_000_000 + "}", "a.coco.json is not valid JSON"),
    ],
)
def test_bombs_are_refused_at_once(name: str, body: str, said: str) -> None:
    start = time.process_time()
    assert said in converts_or_refuses({name: body})
    assert time.process_time() - start < 5


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    """A sparse file: it costs nobody anything."""
    for name, size in (("a.coco.json", 2 << 30), ("b.xml", 1 << 30)):
        source = unpacked(tmp_path / name, {name: "<annotation>" if name.endswith("xml") else "{}"})
        with (source / name).open("r+b") as file:
            file.truncate(size)
        with pytest.raises(InvalidDataset, match=r"is larger than .* MiB; export the data set in parts"):
            convert_dataset(str(source), tmp_path / "made", ConvertOptions(), lambda _: None)


def test_a_zip_that_points_outside_is_refused(tmp_path: Path) -> None:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("../evil.json", "{}")
    (tmp_path / "x.zip").write_bytes(body.getvalue())
    with pytest.raises(InvalidDataset, match="points outside the zip"):
        convert_dataset(str(tmp_path / "x.zip"), tmp_path / "made", ConvertOptions(), lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_a_link_out_of_the_source_brings_no_file_in(tmp_path: Path) -> None:
    """The picture is there by name, and is somebody's own."""
    pictures = drawn_set()
    unpacked(tmp_path, {"mine/pic 1.jpg": pictures[1].pixels()})
    source = unpacked(tmp_path / "source", EXPORTS["COCO by Roboflow"](pictures))
    (source / "train" / "pic 1.jpg").unlink()
    (source / "train" / "pic 1.jpg").symlink_to(tmp_path / "mine" / "pic 1.jpg")
    lines = list[str]()
    convert_dataset(str(source), tmp_path / "made", ConvertOptions(), lines.append)
    assert "left out, pictures: 1 of 6 (pic 1.jpg is not there)" in lines
    assert not list((tmp_path / "made").rglob("pic 1.*"))
