"""`masktrain detect`: weights and a source in; pictures and videos with boxes, labels, tables and crops out.

Three things happen at once: a thread reads and letterboxes, one detects, and the caller's draws, encodes and writes.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import torch

from masktrain_trainer.data.source.data_yaml import read_names
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.predict.drawing import BoxStyle
from masktrain_trainer.predict.fonts import drawable_names, undrawable
from masktrain_trainer.predict.models import Model, load_model

from .detector import DetectionOptions, Detector
from .devices import Numbers, number_format, parse_device
from .outputs.base import Detected, Output
from .outputs.labels import CsvTable, JsonLines, LabelFiles
from .outputs.naming import Destination, FreeNames
from .outputs.pictures import Artist, Crops, PictureFiles
from .outputs.video import VideoFormat, Videos, find_ffmpeg
from .pipeline import detect_frames, read_ahead
from .progress import Progress, Summary
from .sources.base import Kind, Skipped, Source, SourceOptions

_DETECTED_AHEAD = 4
"""Frames that wait for being drawn and written."""


@dataclass(frozen=True)
class Saving:
    """What is written of what is found. `drawn`: pictures and videos with boxes."""

    drawn: bool = True
    video_format: VideoFormat = VideoFormat.WEBM
    labels: bool = False
    label_confidences: bool = False
    table: bool = False
    json_lines: bool = False
    crops: bool = False

    @property
    def anything(self) -> bool:
        return self.drawn or self.labels or self.table or self.json_lines or self.crops


@dataclass(frozen=True)
class DetectionRequest:
    """What the command is asked. `data`: a yaml whose class names are taken; `endpoint` is that of the weights."""

    weights: str
    source: str
    destination: Destination
    options: DetectionOptions = field(default_factory=DetectionOptions)
    source_options: SourceOptions = field(default_factory=SourceOptions)
    saving: Saving = field(default_factory=Saving)
    style: BoxStyle = field(default_factory=BoxStyle)
    data: Path | None = None
    device: str | None = None
    numbers: Numbers = Numbers.AUTO
    endpoint: str | None = None


def run_detection(request: DetectionRequest, progress: Progress) -> Summary:
    """Detect on all frames of the source and write what was asked for. Raises MaskTrainError.

    Nothing that was there is overwritten, unless the destination says so. Also when it is interrupted, every file is
    finished; who catches the interrupt has `progress.end` for what was done.
    """
    folder = request.destination.choose(request.source)
    if request.saving.drawn and request.saving.video_format is VideoFormat.MP4:
        find_ffmpeg()
    with closing(_open(request)) as source:
        detector = load_detector(request)
        _say_first(request, detector, folder, progress)
        progress.begin(detector.names, source.frames)
        _detect(source, detector, request, folder, progress)
    return progress.end(folder if request.saving.anything else None)


def serve_detection(request: DetectionRequest, address: str, *, open_browser: bool) -> Iterator[str]:
    """Show what is found on a page, at `address`, and write nothing. Yields lines to print. Raises MaskTrainError."""
    from .live import serve_live  # noqa: PLC0415 - a web server that only this needs

    with closing(_open(request)) as source:
        detector = load_detector(request)
        yield from serve_live(source, detector, detector.names, address, request.style, open_browser=open_browser)


def load_detector(request: DetectionRequest) -> Detector:
    """OpenCV has one thread from here on if the CPU detects. Raises MaskTrainError."""
    device = parse_device(request.device)
    if device.type == "cpu":
        # Reading and the network share the cores already, and OpenCV's other threads wait for work by spinning.
        cv2.setNumThreads(1)
    model = load_model(
        request.weights,
        request.endpoint,
        device=device,
        number_format=number_format(request.numbers, device),
    )
    names = _names(model, request.data)
    _require_classes(names, request.options.classes)
    return Detector(model, request.options, names)


def _open(request: DetectionRequest) -> Source:
    from .sources.opening import open_source  # noqa: PLC0415 - tests and jobs bring sources of their own

    return open_source(request.source, request.source_options)


def _names(model: Model, data: Path | None) -> Sequence[str]:
    if data is None:
        return model.names
    names = read_names(data)
    if len(names) != len(model.names):
        raise InvalidConfiguration(
            f"{data} names {len(names)} classes, and {model.title} knows {len(model.names)} "
            f"({', '.join(model.names[:5])}{', …' if len(model.names) > 5 else ''}); give the yaml that it was trained "
            "with, or leave --data out."
        )
    return names


def _require_classes(names: Sequence[str], classes: Sequence[int] | None) -> None:
    unknown = [index for index in classes or () if index >= len(names)]
    if unknown:
        raise InvalidConfiguration(
            f"--classes {unknown[0]} is not one of the model's {len(names)} classes, which are numbered from 0."
        )


def _say_first(request: DetectionRequest, detector: Detector, folder: Path, progress: Progress) -> None:
    if folder != request.destination.folder and request.destination.told:
        progress.say(f"{request.destination.folder} is not empty: the pictures go to {folder}")
    if request.saving.drawn and (sentence := undrawable(detector.names)) is not None:
        progress.say(sentence)
    on_cpu = detector.model.network.device.type == "cpu"
    if request.numbers is Numbers.HALF and on_cpu and number_format(Numbers.HALF, torch.device("cpu")) is torch.float32:
        progress.say("This CPU multiplies no 16-bit numbers: --half has no effect here.")


def _detect(source: Source, detector: Detector, request: DetectionRequest, folder: Path, progress: Progress) -> None:
    files = FreeNames()
    artist = Artist(drawable_names(detector.names), request.style)
    drawn = _Drawn(folder, artist, request.saving.video_format, files)
    outputs = _outputs(request.saving, folder, detector.names, drawn, files)
    with ExitStack() as stack:
        for output in outputs:
            stack.callback(output.close)
        found = read_ahead(detect_frames(source, detector), _DETECTED_AHEAD, stop=source.close)
        for item in stack.enter_context(closing(found)):
            if isinstance(item, Skipped):
                progress.say(f"skipped: {item.sentence}")
                continue
            for output in outputs:
                output.write(item)
            progress.frame(item, drawn.path)


def _outputs(saving: Saving, folder: Path, names: Sequence[str], drawn: Output, files: FreeNames) -> list[Output]:
    outputs: list[Output] = [drawn] if saving.drawn else []
    if saving.labels:
        outputs.append(LabelFiles(folder, confidences=saving.label_confidences))
    if saving.table:
        outputs.append(CsvTable(folder))
    if saving.json_lines:
        outputs.append(JsonLines(folder))
    if saving.crops:
        outputs.append(Crops(folder, names, files))
    return outputs


class _Drawn:
    """Pictures as pictures, the rest as videos. `path`: where the last frame went."""

    def __init__(self, folder: Path, artist: Artist, video_format: VideoFormat, files: FreeNames) -> None:
        self._pictures = PictureFiles(folder, artist, files)
        self._videos = Videos(folder, artist, video_format, files)
        self.path: Path | None = None

    def write(self, detected: Detected) -> None:
        if detected.frame.medium.kind is Kind.PICTURE:
            self._pictures.write(detected)
            self.path = self._pictures.path
        else:
            self._videos.write(detected)
            self.path = self._videos.path

    def close(self) -> None:
        self._videos.close()
