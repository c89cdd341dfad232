"""compare.html: one file that needs no other: both videos in step, charts, numbers and the frames to label."""

import base64
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image as Pictures

from .charts import HEIGHT, WIDTH, count_charts, disagreement_bars, track_rows
from .picks import Pick
from .recording import Recording
from .verdict import Evidence, Numbers, Verdict

_TEMPLATE = "page.html.j2"
_FOLDER = Path(__file__).parent
THUMBNAIL = 224
"""Longest side of what the page shows of a frame to label, in pixels."""


@dataclass(frozen=True)
class Row:
    """A line of the table; `best`: which model is ahead, None for neither. `help`: what the number means."""

    name: str
    values: tuple[str, str]
    best: int | None
    help: str


@dataclass(frozen=True)
class Shown:
    """A frame to label, on the page."""

    pick: Pick
    seconds: float
    place: str
    thumbnail: str
    """A data URI."""


def render(
    recording: Recording,
    evidence: Evidence,
    verdict: Verdict,
    *,
    shown: Sequence[Shown],
    panels: tuple[Path, Path],
    remarks: Sequence[str],
) -> str:
    """The page. Titles, class names and files are other people's text."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    bars, most = disagreement_bars(recording)
    return environment.get_template(_TEMPLATE).render(
        titles=recording.titles,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        verdict=verdict,
        remarks=remarks,
        videos=[data_uri(path, "video/webm") for path in panels],
        facts={"frames": len(recording), "rate": recording.rate},
        ends=[clock(0), clock(recording.place(len(recording)))],
        rows=list(rows(evidence)),
        counts=count_charts(recording),
        bars=bars,
        most=most,
        tracks=track_rows(recording, evidence.witness),
        shown=shown,
        width=WIDTH,
        height=HEIGHT,
        confidence=recording.confidence,
        moving=recording.moving,
    )


def _hash(text: str) -> str:
    """For the content security policy, which lets only these very lines run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def data_uri(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def thumbnail(path: Path) -> str:
    with Pictures.open(path) as picture:
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        body = io.BytesIO()
        picture.convert("RGB").save(body, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(body.getvalue()).decode('ascii')}"


def clock(seconds: float) -> str:
    minutes, rest = divmod(max(0.0, seconds), 60)
    return f"{int(minutes)}:{rest:04.1f}"


def rows(evidence: Evidence) -> Iterator[Row]:
    """The table, each line with who is ahead."""
    first, second = evidence.numbers
    if first.labelled and second.labelled:
        yield _row("mAP50", (first.labelled.map50, second.labelled.map50), "{:.3f}", "on the labelled set")
        yield _row("mAP50-95", (first.labelled.map50_95, second.labelled.map50_95), "{:.3f}", "on the labelled set")
    yield _row(
        "agreement",
        (first.agreement, second.agreement),
        "{:.3f}",
        "mAP50 on the objects that both models' boxes show over time"
        if evidence.moving
        else "mAP50 on the boxes that both show",
    )
    yield _row(
        "frames/s",
        (first.frames_per_second, second.frames_per_second),
        "{:.1f}",
        "one frame after the other, in this run",
    )
    yield _sizes(first, second)
    yield _row(
        "boxes per frame", (first.boxes_per_frame, second.boxes_per_frame), "{:.2f}", "above the threshold", ahead=0
    )
    yield _row(
        "mean confidence", (first.confidence, second.confidence), "{:.2f}", "of the boxes above the threshold", ahead=0
    )
    if evidence.moving:
        yield from _steadiness_rows(evidence)


def _steadiness_rows(evidence: Evidence) -> Iterator[Row]:
    first, second = (numbers.steadiness for numbers in evidence.numbers)
    yield _row(
        "tracks", (first.tracks, second.tracks), "{:.0f}", "objects that it follows over at least two frames", ahead=0
    )
    yield _row(
        "blinks per track",
        (first.blinks_per_track, second.blinks_per_track),
        "{:.2f}",
        "gaps inside a track's life",
        -1,
    )
    yield _row(
        "missing frames", (100 * first.missing, 100 * second.missing), "{:.1f} %", "of a track's life without a box", -1
    )
    yield _row(
        "one-frame boxes",
        (100 * first.isolated_share, 100 * second.isolated_share),
        "{:.1f} %",
        "no frame before or after confirms them",
        -1,
    )
    yield _row("class switches", (first.switches, second.switches), "{:.0f}", "a track changes its class", -1)
    yield _row("jitter", (100 * first.jitter, 100 * second.jitter), "{:.1f} %", "of a box's size, off its way", -1)


def _row(name: str, values: tuple[float, float], form: str, told: str, ahead: int = 1) -> Row:
    """ahead: 1 if more is better, -1 if less is, 0 if neither."""
    written = (form.format(values[0]), form.format(values[1]))
    apart = (values[0] - values[1]) * ahead
    best = None if not apart or written[0] == written[1] else 0 if apart > 0 else 1
    return Row(name, written, best, told)


def _sizes(first: Numbers, second: Numbers) -> Row:
    sizes = (first.megabytes, second.megabytes)
    written = ["–" if size is None else f"{size:.1f} MB" for size in sizes]
    best = None
    if sizes[0] is not None and sizes[1] is not None and written[0] != written[1]:
        best = 0 if sizes[0] < sizes[1] else 1
    return Row("size", (written[0], written[1]), best, "of the model's file")
