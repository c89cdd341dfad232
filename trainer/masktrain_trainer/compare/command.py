"""`masktrain compare`: two models and a source in, a verdict, a page, a video, a table and a zip of frames out."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch

from masktrain_trainer.detect.detector import DetectionOptions
from masktrain_trainer.detect.outputs.naming import writing
from masktrain_trainer.detect.pipeline import read_ahead
from masktrain_trainer.detect.sources.base import Frame, Skipped, Source
from masktrain_trainer.detect.sources.opening import open_source
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.files import claimed_output, write_text_atomically
from masktrain_trainer.predict.models import Model, load_model
from masktrain_trainer.report.evaluation import ClassScores
from masktrain_trainer.report.tables import as_text

from .candidates import Candidates
from .matching import Classes
from .page import Shown, clock, render, thumbnail
from .picks import Labelled, Pick, choose, write_picks
from .recording import FAINT, Recording, Seen, TwoModels, beginning, detect_both
from .verdict import Evidence, Verdict, gather, judge
from .videos import ComparisonVideos, scratch_beside, shrunk_to_fit

Say = Callable[[str], None]
Measure = Callable[[str], ClassScores]
"""Scores of weights, by their path or URI, on a labelled set."""
Watch = Callable[[int, int | None], None]
"""Told how many frames are done, and of how many, if anybody knows."""

OUTPUT = Path("compare")
FRAMES = 50
_READ_AHEAD = 8
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class CompareOptions:
    """weights: of both models, files or URIs. image_size None means as trained, each its own. device None takes a GPU
    if there is one. frames: how many to pick for labelling. seconds: how much of the source's videos.
    """

    weights: tuple[str, str]
    source: str
    output: Path = OUTPUT
    confidence: float = 0.25
    iou: float = 0.45
    image_size: int | None = None
    device: torch.device | None = None
    frames: int = FRAMES
    seconds: float | None = None
    endpoint: str | None = None


@dataclass(frozen=True)
class Comparison:
    """What came out; `picks` is None where no frame was worth labelling."""

    verdict: Verdict
    page: Path
    video: Path
    table: Path
    picks: Path | None
    picked: int = 0
    remarks: list[str] = field(default_factory=list)


def compare(options: CompareOptions, say: Say, watch: Watch, measure: Measure | None = None) -> Comparison:
    """Raises UserError or StoreError. What lies in the output folder is never overwritten: another one is taken."""
    with claimed_output(options.output, "the page, the video and the frames") as folder:
        if folder != options.output:
            say(f"{options.output} is not empty: the results go to {folder}")
        with writing(folder):
            return _compare(options, folder, say, watch, measure)


def _compare(options: CompareOptions, folder: Path, say: Say, watch: Watch, measure: Measure | None) -> Comparison:
    models = _load(options)
    classes = Classes.matched(models[0].names, models[1].names)
    remarks = list(_remarks(models, classes))
    for remark in remarks:
        say(remark)
    source = open_source(options.source)
    try:
        _require_end(source, options)
        labelled = None if measure is None else (measure(options.weights[0]), measure(options.weights[1]))
        with scratch_beside(folder) as scratch:
            work = _Pass.planned(options, models, classes, folder, scratch)
            work.run(source, TwoModels(models, classes, _detection(options)), say, watch)
            return _conclude(work, folder, labelled, remarks)
    finally:
        source.close()


def _load(options: CompareOptions) -> tuple[Model, Model]:
    first, second = (load_model(weights, options.endpoint, device=options.device) for weights in options.weights)
    return first, second


def _titles(models: tuple[Model, Model]) -> tuple[str, str]:
    first, second = (model.title for model in models)
    return (first, second) if first != second else (f"A: {first}", f"B: {second}")


def _remarks(models: tuple[Model, Model], classes: Classes) -> Iterator[str]:
    for side, title in enumerate(_titles(models)):
        if only := classes.only(side):
            yield (
                f"Only {title} knows {', '.join(only)}: its boxes of that are shown and counted, "
                "and no part of the comparison."
            )


def _require_end(source: Source, options: CompareOptions) -> None:
    if source.live and options.seconds is None:
        raise InvalidConfiguration(
            f"{options.source} is live and has no end; say with --seconds how much of it to compare on."
        )


def _detection(options: CompareOptions) -> DetectionOptions:
    return DetectionOptions(min(FAINT, options.confidence), options.iou, options.image_size)


@dataclass(frozen=True)
class _Pass:
    """What grows with each frame of the one pass."""

    options: CompareOptions
    recording: Recording
    candidates: Candidates
    videos: ComparisonVideos

    @classmethod
    def planned(
        cls, options: CompareOptions, models: tuple[Model, Model], classes: Classes, folder: Path, scratch: Path
    ) -> Self:
        recording = Recording(_titles(models), classes, options.confidence)
        return cls(
            options,
            recording,
            Candidates(scratch, options.frames, options.confidence, classes.shared),
            ComparisonVideos(folder / "compare.webm", scratch, recording),
        )

    def run(self, source: Source, models: TwoModels, say: Say, watch: Watch) -> None:
        """One thread reads, one detects, and this one draws and encodes."""
        frames: Iterator[Frame | Skipped] = beginning(read_ahead(source, _READ_AHEAD), self.options.seconds)
        with self.videos:
            for item in read_ahead(detect_both(frames, models), _READ_AHEAD):
                if isinstance(item, Skipped):
                    say(f"skipped: {item.sentence}")
                else:
                    self._keep(item)
                    watch(len(self.recording), source.frames)
        if not len(self.recording):
            raise InvalidConfiguration(f"{self.options.source} gave no frame to compare on.")
        for kept, took in zip(self.recording.seconds, models.seconds, strict=True):
            kept.extend(took)

    def _keep(self, seen: Seen) -> None:
        index = len(self.recording)
        self.recording.add(seen)
        self.candidates.offer(index, seen)
        self.videos.write(seen)


def _conclude(
    work: _Pass, folder: Path, labelled: tuple[ClassScores, ClassScores] | None, remarks: list[str]
) -> Comparison:
    recording, candidates = work.recording, work.candidates
    sizes = [megabytes(weights) for weights in work.options.weights]
    evidence = gather(recording, (sizes[0], sizes[1]), labelled)
    verdict = judge(evidence)
    labels = verdict.better if verdict.better is not None else _more_agreeing(evidence)
    picks = choose(recording, evidence.witness, candidates, labels, work.options.frames)
    zipped = _write_zip(folder, recording, candidates, picks, labels)
    table = folder / "counts.csv"
    write_text_atomically(table, counts_table(recording))
    panels, shrunk = shrunk_to_fit(work.videos.panels, recording.rate)
    told = [shrunk] if shrunk else []
    shown = [_shown(recording, candidates, pick) for pick in picks]
    page = folder / "compare.html"
    write_text_atomically(
        page, render(recording, evidence, verdict, shown=shown, panels=panels, remarks=[*remarks, *told])
    )
    return Comparison(verdict, page, folder / "compare.webm", table, zipped, len(picks), told)


def _more_agreeing(evidence: Evidence) -> int:
    """Whose boxes are the first labels where neither model is better."""
    return 0 if evidence.agreement.difference >= 0 else 1


def _write_zip(
    folder: Path, recording: Recording, candidates: Candidates, picks: Sequence[Pick], labels: int
) -> Path | None:
    if not picks:
        return None
    path = folder / "to-label.zip"
    known = sorted(set(recording.classes.of_models[labels]))
    own = {number: position for position, number in enumerate(known)}
    frames = []
    for pick in picks:
        boxes = recording.boxes[labels][pick.index].above(recording.confidence)
        for position, number in enumerate(boxes.label_N.tolist()):
            boxes.label_N[position] = own[number]
        moment = recording.moments[pick.index]
        frames.append(
            Labelled(f"{_stem(moment.medium)}-{moment.number:06d}", candidates.path(pick.index), boxes, moment.size)
        )
    write_picks(path, frames, [recording.classes.names[number] for number in known])
    return path


def _stem(medium: str) -> str:
    """Of a file's name in a zip that goes through other people's programs."""
    return re.sub(r"[^\w.-]+", "-", medium).strip("-.") or "frame"


def _shown(recording: Recording, candidates: Candidates, pick: Pick) -> Shown:
    seconds = recording.place(pick.index)
    moment = recording.moments[pick.index]
    place = clock(seconds) if recording.moving and not recording.cuts else moment.medium
    if recording.moving and recording.cuts:
        place = f"{moment.medium} {clock(moment.seconds)}"
    return Shown(pick, seconds, place, thumbnail(candidates.path(pick.index)))


def counts_table(recording: Recording) -> str:
    """CSV: a row for each frame, with both models' boxes of each class, above the threshold."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [as_text(name) for name in recording.classes.names]
    counted = [f"{side} {name}" for side in ("A", "B") for name in names]
    writer.writerow(("medium", "frame", "seconds", *counted, "disagreements"))
    matches = recording.matches()
    for index, moment in enumerate(recording.moments):
        counts = [
            int((recording.boxes[model][index].above(recording.confidence).label_N == number).sum())
            for model in (0, 1)
            for number in range(len(names))
        ]
        place = (as_text(moment.medium), moment.number, f"{moment.seconds:.3f}")
        writer.writerow((*place, *counts, matches[index].disagreements))
    return text.getvalue()


def megabytes(weights: str) -> float | None:
    """Of a file, or of a folder's files; None for an object in a store."""
    if "://" in weights:
        return None
    path = Path(weights)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    # OpenVINO's weights lie beside the file that names them.
    if path.suffix == ".xml":
        files.append(path.with_suffix(".bin"))
    return sum(file.stat().st_size for file in files if file.exists()) / MEGABYTE
