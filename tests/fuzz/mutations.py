"""How inputs are damaged. Everything is a function of the generator that is handed in."""

import io
import random
import struct
import zipfile
from collections.abc import Mapping

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
_WORDS = (
    "", " ", "\t", "0", "-1", "1e999", "nan", "inf", "0x1F", "1_000", "9" * 400, "1" * 5000, "٣", "é", "e\u0301", "~",
    "null", "yes", "12:30", "2024-31-12", "!!python/name:os.system", "&a", "*a", "<<: *a", "{", "}", "[", "]", "- ",
    ": ", "\x00", "\x1b[2J", "\u202e", "\ufeff", "\r", "../..", "/", "\\", "%", "#", "|", "train", "0.5", "1.0000001",
    "-0.2",
)  # fmt: skip


def damaged(body: bytes, rng: random.Random, other: bytes = b"") -> bytes:
    """One to four changes of bytes: turned bits, other numbers, cuts, doubled and foreign pieces."""
    for _ in range(rng.randint(1, 4)):
        body = rng.choice(_CHANGES)(body, rng, other)
    return body


def _bits(body: bytes, rng: random.Random, _: bytes) -> bytes:
    changed = bytearray(body)
    for _number in range(rng.randint(1, 8)):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _number(body: bytes, rng: random.Random, _: bytes) -> bytes:
    packed = struct.pack(rng.choice(("<I", ">I", "<H", ">H")), rng.choice(_NUMBERS) & 0xFFFF)
    if rng.random() < 0.5:
        packed = struct.pack(rng.choice(("<I", ">I")), rng.choice(_NUMBERS))
    # The first bytes are the ones that decide.
    place = rng.randrange(min(len(body), rng.choice((32, 512, 1 << 30))) or 1)
    return body[:place] + packed + body[place + len(packed) :]


def _cut(body: bytes, rng: random.Random, _: bytes) -> bytes:
    return body[: rng.randrange(len(body) + 1)]


def _without(body: bytes, rng: random.Random, _: bytes) -> bytes:
    start, length = rng.randrange(len(body) + 1), rng.choice((1, 2, 16, 512))
    return body[:start] + body[start + length :]


def _twice(body: bytes, rng: random.Random, _: bytes) -> bytes:
    start, length = rng.randrange(len(body) + 1), rng.choice((1, 16, 512))
    return body[: start + length] + body[start : start + length] * rng.choice((1, 3, 50)) + body[start + length :]


def _foreign(body: bytes, rng: random.Random, other: bytes) -> bytes:
    start, place = rng.randrange(len(other) + 1), rng.randrange(len(body) + 1)
    return body[:place] + other[start : start + rng.choice((4, 64, 1024))] + body[place:]


def _blank(body: bytes, rng: random.Random, _: bytes) -> bytes:
    start = rng.randrange(len(body) + 1)
    return body[:start] + bytes(len(body[start : start + rng.choice((4, 256, 1 << 20))]))


_CHANGES = (_bits, _number, _cut, _without, _twice, _foreign, _blank)


def damaged_text(text: str, rng: random.Random) -> str:
    """Words replaced, lines moved, doubled and lost; now and then bytes."""
    for _ in range(rng.randint(1, 4)):
        lines = text.splitlines(keepends=True) or [""]
        place = rng.randrange(len(lines))
        words = lines[place].split(" ")
        match rng.randrange(5):
            case 0:
                words[rng.randrange(len(words))] = rng.choice(_WORDS)
                lines[place] = " ".join(words)
            case 1:
                words.insert(rng.randrange(len(words) + 1), rng.choice(_WORDS))
                lines[place] = " ".join(words)
            case 2:
                lines.insert(rng.randrange(len(lines) + 1), lines[place] * rng.choice((1, 1, 100)))
            case 3:
                del lines[place]
            case _:
                position = rng.randrange(len(lines[place]) + 1)
                lines[place] = lines[place][:position] + rng.choice(_WORDS) + lines[place][position:]
        text = "".join(lines)
    return text


def damaged_zip(members: Mapping[str, bytes], rng: random.Random) -> bytes:
    """A zip with odd names, methods or members, or whose own bytes are damaged."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for name, content in members.items():
            written = name
            if rng.random() < 0.15:
                written = rng.choice(
                    (name.upper(), name.replace("/", "\\"), f"./{name}", f"x/{name}", f"{name}/", "._" + name)
                )
            info = zipfile.ZipInfo(written, (1980, 1, 1, 0, 0, 0))
            info.compress_type = rng.choice(
                (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
            )
            if rng.random() < 0.05:
                info.external_attr = rng.choice((0o120777, 0o040755, 0o010644)) << 16
            archive.writestr(info, content)
    packed = body.getvalue()
    return damaged(packed, rng, packed) if rng.random() < 0.6 else packed


def damaged_members(packed: bytes, rng: random.Random) -> bytes:
    """A zip of which one member's content is damaged and its checksum right, as of a writer with a fault."""
    body = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed)) as source, zipfile.ZipFile(body, "w") as sink:
        names = source.namelist()
        # The pickle of a file of weights says what all the rest means.
        chosen = next((name for name in names if name.endswith("data.pkl")), names[0])
        if rng.random() < 0.2:
            chosen = rng.choice(names)
        for info in source.infolist():
            content = source.read(info)
            sink.writestr(info, damaged(content, rng, content) if info.filename == chosen else content)
    return body.getvalue()
