"""ultralytics/yolov5 v7.0 as its users run it: its command line, its defaults, from scratch; its output is read."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl

from masktrain_trainer.pod.launch import ALLOCATOR_VARIABLE

from .environments import yolov5_environment
from .epochs import Epoch
from .observed_process import Line, run_observed
from .workload import DrawnDataset, Workload

NAME = "ultralytics/yolov5 v7.0"
HEADER = re.compile(r"^\s*Epoch\s+GPU_mem")
BAR = re.compile(r"^\s*\d+/\d+\s+\S+.*\|\s*(?P<done>\d+)/(?P<all>\d+) \[")
RESULT = re.compile(r"^\s*all\s+\d+\s+\d+\s+\S+\s+\S+\s+(?P<map50>\S+)\s+\S+")
COMPLETED = re.compile(r"epochs completed in")
FONT = "Arial.ttf"


@dataclass(frozen=True)
class _EpochLines:
    start: float
    end: float
    trained: float
    """When the last batch was done."""
    map50: float


def train(workload: Workload, dataset: DrawnDataset, folder: Path, *, seconds: float | None = None) -> list[Epoch]:
    """The epochs of one run. After `seconds` it is ended."""
    folder.mkdir(parents=True)
    environment = yolov5_environment()
    provide_font(folder)
    command = [str(environment / "bin" / "yolov5"), "train", *_options(workload, dataset, folder)]
    lines = run_observed(command, variables(folder), folder, seconds=seconds)
    return read_epochs(lines, workload.train_images)


def read_epochs(lines: Sequence[Line], train_images: int) -> list[Epoch]:
    """An epoch lasts from its header to the next one's, so it contains validation and saving."""
    return [
        Epoch(
            images_per_second=train_images / (epoch.trained - epoch.start),
            wall_seconds=epoch.end - epoch.start,
            ended_at=epoch.end,
            map50=epoch.map50,
        )
        for epoch in _epochs(lines)
    ]


def _epochs(lines: Sequence[Line]) -> Iterator[_EpochLines]:
    borders = [index for index, line in enumerate(lines) if HEADER.search(line.text) or COMPLETED.search(line.text)]
    for first, last in pairwise(borders):
        inside = lines[first:last]
        trained = [line.at for line in inside if (bar := BAR.search(line.text)) and bar["done"] == bar["all"]]
        results = [float(match["map50"]) for line in inside if (match := RESULT.search(line.text))]
        if trained and results:
            yield _EpochLines(lines[first].at, lines[last].at, trained[0], results[0])


def _options(workload: Workload, dataset: DrawnDataset, folder: Path) -> list[str]:
    return [
        *("--cfg", f"{workload.architecture}.yaml", "--weights", ""),
        *("--data", str(dataset.description), "--imgsz", str(workload.image_size)),
        *("--batch-size", str(workload.batch_size), "--epochs", str(workload.epochs), "--patience", "0"),
        *("--device", "cpu" if workload.device == "cpu" else "0", "--seed", str(workload.seed)),
        *("--project", str(folder / "runs"), "--name", "run", "--noplots"),
    ]


def variables(folder: Path) -> dict[str, str]:
    """Nothing may reach out of the machine, and no setting of this user's takes part."""
    own = {"YOLOV5_CONFIG_DIR": str(folder), "YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "true"}
    silent = {"WANDB_MODE": "disabled", "COMET_MODE": "disabled", "GIT_PYTHON_REFRESH": "quiet"}
    inherited = {name: value for name, value in os.environ.items() if name != ALLOCATOR_VARIABLE}
    return {**inherited, **own, **silent, "PYTHONUNBUFFERED": "1"}


def provide_font(folder: Path) -> None:
    """It would be downloaded at the start otherwise."""
    font = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    for place in (folder, folder / "Ultralytics", folder / "yolov5"):
        place.mkdir(exist_ok=True)
        shutil.copy(font, place / FONT)
