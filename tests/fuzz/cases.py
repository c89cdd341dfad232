"""What one case is: a damaged input of one kind, and the command that reads it."""

import random
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .corpus import DATA_YAMLS, LABELS, Corpus
from .mutations import damaged, damaged_members, damaged_text, damaged_zip

Command = Sequence[str]
"""Arguments of `masktrain`."""


@dataclass(frozen=True)
class Case:
    """`seed` and `kind` make it again."""

    kind: str
    seed: str
    command: Command


def write_case(number: int, seed: int, corpus: Corpus, folder: Path) -> Case:
    """Write the input of case `number` into the empty folder, the kinds in turn."""
    name, write = list(_KINDS.items())[number % len(_KINDS)]
    rng = random.Random(f"{seed}-{number}")
    return Case(name, f"{seed}-{number}", write(rng, corpus, folder))


def _labels(rng: random.Random, corpus: Corpus, folder: Path) -> Command:
    members = dict(corpus.members)
    for name in [name for name in members if "/labels/" in name]:
        if rng.random() < 0.5:
            text = damaged_text(rng.choice(LABELS), rng)
            members[name] = _encoded(text, rng)
    return _push(_folder(members, folder), folder)


def _data_yaml(rng: random.Random, corpus: Corpus, folder: Path) -> Command:
    text = damaged_text(rng.choice(DATA_YAMLS), rng)
    return _push(_folder({**corpus.members, "data.yaml": _encoded(text, rng)}, folder), folder)


def _encoded(text: str, rng: random.Random) -> bytes:
    body = text.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-16", "latin-1")), errors="replace")
    return damaged(body, rng, body) if rng.random() < 0.1 else body


def _zip(rng: random.Random, corpus: Corpus, folder: Path) -> Command:
    archive = folder / "set.zip"
    archive.write_bytes(damaged_zip(corpus.members, rng))
    return _push(archive, folder)


def _pictures(rng: random.Random, corpus: Corpus, folder: Path) -> Command:
    """Several at a time, beside good ones."""
    members = dict(corpus.members)
    for turn in range(4):
        name, other = rng.choice(list(corpus.pictures)), rng.choice(list(corpus.pictures))
        body = damaged(corpus.pictures[name], rng, corpus.pictures[other])
        # Now and then under another's ending.
        ending = Path(other if rng.random() < 0.1 else name).suffix
        members[f"train/images/odd{turn}{ending}"] = body
    return _push(_folder(members, folder), folder)


def _weights(rng: random.Random, corpus: Corpus, folder: Path) -> Command:
    name = rng.choice(list(corpus.weights))
    body = corpus.weights[name]
    try:
        changed = damaged_members(body, rng) if rng.random() < 0.6 else damaged(body, rng, body)
    except zipfile.BadZipFile:  # the old format, which is no zip
        changed = damaged(body, rng, body)
    file = folder / "odd.pt"
    file.write_bytes(changed)
    return ("export", str(file), "--format", "yolov5", "--output", str(folder / "out.pt"))


_KINDS: dict[str, Callable[[random.Random, Corpus, Path], Command]] = {
    "labels": _labels,
    "data.yaml": _data_yaml,
    "zip": _zip,
    "pictures": _pictures,
    "weights": _weights,
}


def _folder(members: dict[str, bytes], folder: Path) -> Path:
    for name, body in members.items():
        path = folder / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return folder / "set"


def _push(source: Path, folder: Path) -> Command:
    return ("data", "push", str(source), (folder / "store" / "set.zip").as_uri())
