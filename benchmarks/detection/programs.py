"""The programs that are timed, as their users run them: each is one command that reads a video and ends."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from benchmarks.training import yolov5
from benchmarks.training.environments import yolov5_environment
from benchmarks.training.observed_process import ProgramFailed
from masktrain_trainer.config import DEVICE_VARIABLE

MASKTRAIN = (sys.executable, "-m", "masktrain_trainer.cli.main")
LOOP = (sys.executable, str(Path(__file__).with_name("openvino_loop.py")))
PATIENCE_SECONDS = 900
OVERALL = re.compile(r"^\s*all\s+\d+\s+\d+\s+\S+\s+\S+\s+(?P<map50>\S+)\s+(?P<map>\S+)\s*$", re.MULTILINE)
OUT_OF_TIME = "NMS time limit"
WITHOUT_TIME_LIMIT = """
import time, types
from yolov5.utils import general
general.time = types.SimpleNamespace(**vars(time) | {"time": lambda: 0.0})
from yolov5.cli import app
app()
"""
"""v7.0's command, for which time stands still where it suppresses."""
RETURNED = re.compile(r"^\s*\(?\[?\(?(?P<numbers>0\.\d+(?:,\s*[\d.e-]+){3})", re.MULTILINE)


CommandOf = Callable[[Path, Path], list[str]]
"""Of a source and a folder for what is written."""


class Pace(Enum):
    """Of programs, by which their films are as long as makes a run some ten seconds."""

    SLOW = 1
    FAST = 6


@dataclass(frozen=True)
class Clips:
    """One film in two lengths: by their difference the start of a program drops out of its speed."""

    long: Path
    long_frames: int
    short: Path
    short_frames: int


@dataclass(frozen=True)
class Setting:
    architecture: str
    image_size: int
    saving: bool

    def __str__(self) -> str:
        return f"{self.architecture}-{self.image_size}px-{'saving' if self.saving else 'nosave'}"


@dataclass(frozen=True)
class Scores:
    map50: float
    map50_95: float


def ours(weights: Path, source: Path, setting: Setting, folder: Path) -> list[str]:
    return [*MASKTRAIN, "detect", *_common(weights, source, setting, folder)]


def peer(weights: Path, source: Path, setting: Setting, folder: Path) -> list[str]:
    """v7.0's detect.py."""
    return [str(yolov5_environment() / "bin" / "yolov5"), "detect", *_common(weights, source, setting, folder)]


def openvino_loop(model: Path, source: Path, setting: Setting, *, asynchronous: bool) -> list[str]:
    how = ["--asynchronous"] if asynchronous else []
    return [*LOOP, str(model), str(source), "--imgsz", str(setting.image_size), *how]


def run(command: Sequence[str], folder: Path) -> tuple[float, str]:
    """Wall seconds from the start of the program to its end, and what it printed."""
    folder.mkdir(parents=True, exist_ok=True)
    yolov5.provide_font(folder)
    variables = {**yolov5.variables(folder), DEVICE_VARIABLE: "cpu"}
    started = time.monotonic()
    ended = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    seconds = time.monotonic() - started
    if ended.returncode:
        said = (ended.stdout + ended.stderr)[-3000:]
        raise ProgramFailed(f"{' '.join(command)} ended with exit code {ended.returncode}:\n{said}")
    return seconds, ended.stdout + "\n" + ended.stderr


def as_yolov5(weights: Path, folder: Path) -> Path:
    """The same weights as a file that v7.0 reads."""
    target = folder / f"{weights.parent.parent.parent.name}.pt"
    run([*MASKTRAIN, "export", str(weights), "--format", "yolov5", "--output", str(target)], folder)
    return target


def our_scores(weights: Path, data: Path, image_size: int, folder: Path) -> Scores:
    """By `masktrain val` on the validation split of a zip."""
    asked = ["--weights", str(weights), "--data", str(data), "--image-size", str(image_size), "--json"]
    _, said = run([*MASKTRAIN, "val", *asked], folder)
    document = json.loads(said[said.index("{") : said.rindex("}") + 1])
    overall = document.get("overall", document)
    return Scores(float(overall["mAP50"]), float(overall["mAP50_95"]))


def peer_scores(weights: Path, description: Path, image_size: int, folder: Path) -> Scores:
    """By v7.0's val.py, without the time limit of its suppression: what it has not come to in half a second and a
    twentieth for each picture of the batch is left out, and counts as not found.
    """
    asked = ["--weights", str(weights), "--data", str(description), "--imgsz", str(image_size), "--device", "cpu"]
    program = [str(yolov5_environment() / "bin" / "python"), "-c", WITHOUT_TIME_LIMIT]
    _, said = run([*program, "val", *asked, "--noplots", "--project", str(folder / "runs")], folder)
    return read_scores(said)


def read_scores(said: str) -> Scores:
    """From the results that v7.0's command prints in full after its table; from the table where it doesn't.

    Raises ProgramFailed also where it says that boxes were left out.
    """
    if OUT_OF_TIME in said:
        raise ProgramFailed("v7.0 left boxes out because its suppression took too long.")
    if returned := RETURNED.search(said):
        _, _, map50, map50_95 = (float(number) for number in returned["numbers"].split(","))
        return Scores(map50, map50_95)
    row = OVERALL.search(said)
    if row is None:
        raise ProgramFailed(f"v7.0 printed no line for all classes:\n{said[-3000:]}")
    return Scores(float(row["map50"]), float(row["map"]))


def _common(weights: Path, source: Path, setting: Setting, folder: Path) -> list[str]:
    """Both programs take the same options."""
    return [
        *("--weights", str(weights), "--source", str(source), "--imgsz", str(setting.image_size)),
        *("--conf-thres", "0.25", "--iou-thres", "0.45", "--device", "cpu"),
        *("--project", str(folder / "runs"), *(() if setting.saving else ("--nosave",))),
    ]
