"""The command `detect`, with YOLOv5's options under its names, and ours beside them."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from masktrain_trainer.errors import InvalidConfiguration, printable

from .exit_on_error import exit_on_error
from .numbers import ClassNumber, FiniteRange

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

    from masktrain_trainer.detect.command import DetectionRequest, Saving
    from masktrain_trainer.detect.progress import Progress, Summary

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019"}
"""Those that word processors make of a command line, too."""
_SEVERAL = ("--classes", "--weights", "--img", "--imgsz", "--img-size", "--image-size")
"""Options that take several values, one after another, as YOLOv5's do."""
_WITHOUT_MEANING = {
    "visualize": "--visualize has no effect: features of single layers are not drawn here.",
    "update": "--update has no effect: files of weights are never written to.",
    "dnn": "--dnn has no effect: ONNX files run in ONNX Runtime here.",
}


class _LikeArgparse(click.Command):
    """Takes `--classes 0 2` for `--classes 0 --classes 2`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """With each further value behind a name of its own."""
        return super().parse_args(ctx, list(_repeated(args)))


def _repeated(args: Sequence[str]) -> Iterator[str]:
    option, values = "", 0
    for arg in args:
        if arg.startswith("-"):
            name, equals, _ = arg.partition("=")
            option, values = (name, 1 if equals else 0) if name in _SEVERAL else ("", 0)
        elif option:
            if values:
                yield option
            values += 1
        yield arg


def _unquoted(_: click.Context, __: click.Parameter, value: Any) -> Any:
    """Without quotes that a shell was not to see: those of another keyboard, or of another shell."""
    if isinstance(value, tuple):
        return tuple(map(_without_quotes, value))
    return _without_quotes(value) if isinstance(value, str) else value


def _without_quotes(text: str) -> str:
    quoted = len(text) > 1 and text[0] in _QUOTES and text[-1] in (_QUOTES[text[0]], text[0])
    return text[1:-1] if quoted else text


_FRACTION = FiniteRange(0, 1)
_LONGEST_WAIT = 86_400.0
"""Seconds; OpenCV counts milliseconds in 32 bits."""


@click.command(cls=_LikeArgparse)
@click.option(
    "--weights",
    required=True,
    multiple=True,
    callback=_unquoted,
    help="A best.pt, a .pt of YOLOv5, an .onnx or an OpenVINO model: a file, or an s3://, oci:// or https:// URI.",
)
@click.option(
    "--source",
    required=True,
    callback=_unquoted,
    help="An image, a video, a folder, a pattern, an address, a stream, a page of YouTube or Twitch, a camera's "
    "number, screen, or a .txt list of them.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder for the results [default: --project and --name]."
)
@click.option(
    "--project", type=click.Path(path_type=Path), help="Folder for folders of results [default: runs/detect]."
)
@click.option(
    "--name", help="Folder of results in it [default: exp]; where something lies in it, a numbered one beside it."
)
@click.option("--exist-ok", is_flag=True, help="Overwrite the results of an earlier run in that folder.")
@click.option(
    "--conf-thres",
    "--confidence",
    "confidence",
    default=0.25,
    show_default=True,
    type=_FRACTION,
    help="Least confidence.",
)
@click.option(
    "--iou-thres", "--iou", "iou", default=0.45, show_default=True, type=_FRACTION, help="IoU at which NMS drops a box."
)
@click.option("--max-det", default=1000, show_default=True, type=click.IntRange(min=1), help="Most boxes of a frame.")
@click.option(
    "--img",
    "--imgsz",
    "--img-size",
    "--image-size",
    "image_size",
    multiple=True,
    type=click.IntRange(min=32),
    help="Longer side in pixels, or height and width [default: as trained].",
)
@click.option("--classes", multiple=True, type=ClassNumber(), help="Only classes of these numbers: --classes 0 2.")
@click.option("--agnostic-nms", is_flag=True, help="Boxes suppress those of other classes, too.")
@click.option("--augment", is_flag=True, help="Look at each picture at three sizes: slower, a little more is found.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    callback=_unquoted,
    help="A data.yaml whose class names are shown [default: the model's own].",
)
@click.option("--device", callback=_unquoted, help="cpu, 0 or cuda:0 [default: a GPU if there is one].")
@click.option("--half", is_flag=True, help="Compute in 16 bits [default: what the device does well].")
@click.option("--float32", is_flag=True, help="Compute in 32 bits.")
@click.option(
    "--vid-stride",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Only every so many-th frame of videos.",
)
@click.option(
    "--line-thickness", type=click.IntRange(1, 1000), help="Of boxes, in pixels [default: by the picture's size]."
)
@click.option("--hide-labels", is_flag=True, help="Draw boxes without names.")
@click.option("--hide-conf", is_flag=True, help="Draw names without confidences.")
@click.option("--nosave", is_flag=True, help="Write no pictures and videos.")
@click.option(
    "--format",
    "video_format",
    type=click.Choice(["webm", "mp4"]),
    help="Of videos [default: mp4, with sound, where there is an ffmpeg with H.264; else webm].",
)
@click.option("--save-txt", is_flag=True, help="Write labels/NAME.txt, as YOLOv5 does.")
@click.option("--save-conf", is_flag=True, help="With confidences in them.")
@click.option("--save-csv", is_flag=True, help="Write predictions.csv, a row for each box.")
@click.option("--save-jsonl", is_flag=True, help="Write predictions.jsonl, a line for each frame.")
@click.option("--save-crop", is_flag=True, help="Write crops/CLASS/NAME.jpg.")
@click.option(
    "--serve",
    is_flag=False,
    flag_value="",
    metavar="[HOST:PORT]",
    help="Show it on a page, on this machine alone, and write nothing.",
)
@click.option("--view-img", is_flag=True, help="The same, opened in a browser.")
@click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    type=FiniteRange(0, _LONGEST_WAIT, min_open=True),
    help="Seconds without a frame of a stream.",
)
@click.option("--endpoint", help="URL of the store of s3:// and oci:// URIs [default: the cloud's own].")
@click.option("--visualize", is_flag=True, hidden=True)
@click.option("--update", is_flag=True, hidden=True)
@click.option("--dnn", is_flag=True, hidden=True)
def detect(**given: Any) -> None:
    """Find objects in images, videos and streams and draw boxes around them."""
    with exit_on_error("detect"):
        for option, sentence in _WITHOUT_MEANING.items():
            if given[option]:
                click.echo(sentence, err=True)
        _require_fitting(given)
        request = _request(given)
        with _terminable():
            if given["serve"] is not None or given["view_img"]:
                _serve(request, given["serve"] or "", open_browser=given["view_img"])
            else:
                _run(request)


def _require_fitting(given: dict[str, Any]) -> None:
    """Raises InvalidConfiguration for options that exclude each other."""
    writes = [f"--{name.replace('_', '-')}" for name in given if name.startswith("save_") and given[name]]
    shows = "--serve" if given["serve"] is not None else "--view-img"
    served = given["serve"] is not None or given["view_img"]
    folder = "--project" if given["project"] else "--name"
    conflicts = {
        "--half and --float32 exclude each other.": given["half"] and given["float32"],
        f"--output names the folder of the results, and so does {folder}; give one of them.": given["output"]
        and (given["project"] or given["name"]),
        "--save-conf adds confidences to the files of --save-txt; give that, too.": given["save_conf"]
        and not given["save_txt"],
        f"{shows} shows what is found and writes nothing; leave {writes[0] if writes else ''} out.": served and writes,
        "--weights takes one model; masktrain compare runs two.": len(given["weights"]) > 1,
        "--img takes the longer side, or height and width, and no more.": len(given["image_size"]) > 2,
    }
    for sentence, applies in conflicts.items():
        if applies:
            raise InvalidConfiguration(sentence)


def _request(given: dict[str, Any]) -> "DetectionRequest":
    from masktrain_trainer.detect.command import DetectionRequest  # noqa: PLC0415
    from masktrain_trainer.detect.detector import DetectionOptions  # noqa: PLC0415
    from masktrain_trainer.detect.devices import Numbers  # noqa: PLC0415
    from masktrain_trainer.detect.outputs.naming import Destination  # noqa: PLC0415
    from masktrain_trainer.detect.sources.base import SourceOptions  # noqa: PLC0415
    from masktrain_trainer.predict.drawing import BoxStyle  # noqa: PLC0415

    sides = given["image_size"]
    numbers = Numbers.HALF if given["half"] else Numbers.FLOAT32 if given["float32"] else Numbers.AUTO
    numbered = (given["project"] or Path("runs/detect")) / (given["name"] or "exp")
    return DetectionRequest(
        weights=given["weights"][0],
        source=given["source"],
        destination=Destination(given["output"] or numbered, given["exist_ok"], told=given["output"] is not None),
        options=DetectionOptions(
            confidence=given["confidence"],
            iou=given["iou"],
            image_size=None if not sides else sides[0] if len(sides) == 1 else (sides[0], sides[1]),
            max_detections=given["max_det"],
            agnostic=given["agnostic_nms"],
            classes=given["classes"] or None,
            augment=given["augment"],
        ),
        source_options=SourceOptions(given["vid_stride"], given["timeout"], given["endpoint"]),
        saving=_saving(given),
        style=BoxStyle(given["line_thickness"], labels=not given["hide_labels"], confidences=not given["hide_conf"]),
        data=given["data"],
        device=given["device"],
        numbers=numbers,
        endpoint=given["endpoint"],
    )


def _saving(given: dict[str, Any]) -> "Saving":
    from masktrain_trainer.detect.command import Saving  # noqa: PLC0415
    from masktrain_trainer.detect.outputs.video import VideoFormat, usual_format  # noqa: PLC0415

    return Saving(
        drawn=not given["nosave"],
        video_format=VideoFormat(given["video_format"]) if given["video_format"] else usual_format(),
        labels=given["save_txt"],
        label_confidences=given["save_conf"],
        table=given["save_csv"],
        json_lines=given["save_jsonl"],
        crops=given["save_crop"],
    )


def _serve(request: "DetectionRequest", address: str, *, open_browser: bool) -> None:
    from masktrain_trainer.detect.command import serve_detection  # noqa: PLC0415

    for line in serve_detection(request, address, open_browser=open_browser):
        click.echo(printable(line))


def _run(request: "DetectionRequest") -> None:
    from rich.console import Console  # noqa: PLC0415

    from masktrain_trainer.detect.command import run_detection  # noqa: PLC0415

    console = Console()
    with _shown(console) as progress:
        stopped = None
        try:
            summary = run_detection(request, progress)
        except KeyboardInterrupt as interrupt:
            stopped, summary = interrupt, progress.end(None)
    _print_summary(console, summary)
    if stopped is not None:
        click.echo("Stopped; what was written until then is whole.", err=True)
        raise stopped


@contextmanager
def _shown(console: "Console") -> Iterator["Progress"]:
    """Lines, and on a terminal a bar below them."""
    from masktrain_trainer.detect.progress import Progress  # noqa: PLC0415

    if not console.is_terminal:
        yield Progress(lambda line: click.echo(printable(line)))
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    columns = (
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.description}", markup=False),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        yield Progress(
            # As Text: rich would obey square brackets in a name.
            lambda line: console.print(Text(printable(line)), soft_wrap=True),
            _watch(bar),
            lines_of_videos=False,
        )


def _watch(bar: "Bar") -> Any:
    task = bar.add_task("", total=None)

    def watch(progress: "Progress") -> None:
        rate = progress.tally.frames / max(progress.seconds, 1e-6)
        described = f"{rate:.1f} frames/s  {progress.counts(progress.tally.boxes)}"
        bar.update(
            task, completed=progress.tally.frames, total=progress.frames_in_all, description=printable(described)
        )

    return watch


def _print_summary(console: "Console", summary: "Summary") -> None:
    """Nothing more than its line about a single picture."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if summary.tally.frames < 2:
        return
    table = Table()
    table.add_column("class")
    for name in ("boxes", "frames with it"):
        table.add_column(name, justify="right")
    for index in sorted(summary.tally.boxes):
        counts = (summary.tally.boxes[index], summary.tally.frames_with[index])
        table.add_row(Text(printable(summary.names[index])), *(f"{count:,}" for count in counts))
    if summary.tally.boxes:
        console.print(table)
    console.print(Text(printable(summary.line())), soft_wrap=True)


class _Terminated(KeyboardInterrupt):
    """By SIGTERM, which ends it as Ctrl-C does."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Leave with the code that a shell expects after Ctrl-C or SIGTERM, wherever it came in between."""

    def end(_: int, __: FrameType | None) -> None:
        raise _Terminated

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _Terminated:
        sys.exit(TERMINATED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, previous)
