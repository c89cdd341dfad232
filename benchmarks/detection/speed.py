"""Frames per second of one MP4 from end to end: ours in torch and its fast twin, v7.0's detect.py, and plain OpenVINO.

Each program runs as a command, on a long and on a short film. Their difference is the steady speed: what the longer
film cost more, by the frames that it has more. The whole run, start included, stands beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.training import yolov5
from benchmarks.training.report import compared, emit, median, spread

from . import programs
from .programs import Clips, CommandOf, Pace, Setting
from .twin import Twin

TORCH, TWIN, PEER = "ours", "twin", "v7.0"
SYNCHRONOUS, ASYNCHRONOUS = "OpenVINO, synchronous", "OpenVINO, asynchronous"
GOALS = {False: {TORCH: 1.5, TWIN: 3.0}, True: {TORCH: 1.5, TWIN: 2.0}}
LOOP_GOAL = 0.95

PACES = {TORCH: Pace.SLOW, PEER: Pace.SLOW, TWIN: Pace.FAST, SYNCHRONOUS: Pace.FAST, ASYNCHRONOUS: Pace.FAST}
"""A fast one is through a slow one's film in a second, and its start varies by as much."""


@dataclass
class Runs:
    """Of a program. times: seconds of the long film and of the short one, round by round."""

    clips: Clips
    times: list[tuple[float, float]] = field(default_factory=list)

    @property
    def speeds(self) -> list[float]:
        """Frames per second without the start, round by round."""
        frames = self.clips.long_frames - self.clips.short_frames
        # A start that took longer the second time than the frames did would make a speed of nothing.
        return [frames / max(long - short, 1e-3) for long, short in self.times]

    @property
    def starts(self) -> list[float]:
        """Seconds that a run takes beside its frames, round by round."""
        pairs = zip(self.times, self.speeds, strict=True)
        return [long - self.clips.long_frames / speed for (long, _), speed in pairs]

    def whole(self, frames: int) -> list[float]:
        """Seconds of a run over so many frames, from the start of the program to its end, round by round."""
        return [start + frames / speed for start, speed in zip(self.starts, self.speeds, strict=True)]


def compare(
    settings: Sequence[Setting],
    weights: Mapping[str, Path],
    twins: Mapping[tuple[str, int], Twin],
    clips: Mapping[Pace, Clips],
    folder: Path,
    *,
    rounds: int,
) -> None:
    """weights: files that v7.0 reads, by architecture. twins: by architecture and image size."""
    for setting in settings:
        twin = twins[setting.architecture, setting.image_size]
        commands = _commands(setting, weights[setting.architecture], twin)
        runs: dict[str, Runs] = {name: Runs(clips[PACES[name]]) for name in commands}
        for number in range(rounds):
            # The other way round each second time: none has the cooler or the warmer machine.
            for name in sorted(commands, reverse=bool(number % 2)):
                times = _timed(commands[name], runs[name].clips, folder / f"{setting}-{name}-{number}")
                runs[name].times.append(times)
        _print(setting, twin, runs, clips[Pace.SLOW].long_frames)


def _commands(setting: Setting, weights: Path, twin: Twin) -> dict[str, CommandOf]:
    commands: dict[str, CommandOf] = {
        TORCH: lambda source, place: programs.ours(weights, source, setting, place),
        TWIN: lambda source, place: programs.ours(twin.path, source, setting, place),
        PEER: lambda source, place: programs.peer(weights, source, setting, place),
    }
    if not setting.saving:
        for name, asynchronous in ((SYNCHRONOUS, False), (ASYNCHRONOUS, True)):
            commands[name] = _loop(twin.path, setting, asynchronous=asynchronous)
    return commands


def _loop(model: Path, setting: Setting, *, asynchronous: bool) -> CommandOf:
    return lambda source, _: programs.openvino_loop(model, source, setting, asynchronous=asynchronous)


def _timed(command: CommandOf, clips: Clips, folder: Path) -> tuple[float, float]:
    long, _ = programs.run(command(clips.long, folder / "long"), folder)
    short, _ = programs.run(command(clips.short, folder / "short"), folder)
    return long, short


def _print(setting: Setting, twin: Twin, runs: Mapping[str, Runs], frames: int) -> None:
    goals = GOALS[setting.saving]
    for name, label in ((TORCH, "ours"), (TWIN, f"twin/{twin.kind}")):
        emit(
            f"detect-frames-per-second/{label}/{setting}",
            **_against(runs[name], runs[PEER], yolov5.NAME),
            goal=goals[name],
            **_whole(runs[name], runs[PEER], frames),
        )
    for name in (ASYNCHRONOUS, SYNCHRONOUS):
        if name in runs:
            goal = {"goal": LOOP_GOAL} if name == ASYNCHRONOUS else {}
            emit(
                f"detect-twin-by-openvino/{twin.kind}/{setting}",
                **_against(runs[TWIN], runs[name], f"a plain loop, {name}, the same model"),
                **goal,
                **_whole(runs[TWIN], runs[name], frames),
            )


def _against(mine: Runs, theirs: Runs, peer_name: str) -> dict[str, Any]:
    return compared(mine.speeds, theirs.speeds, peer_name=peer_name, unit="frames/s")


def _whole(mine: Runs, theirs: Runs, frames: int) -> dict[str, Any]:
    """As long as a person waits for a film of so many frames."""
    own, others = mine.whole(frames), theirs.whole(frames)
    pairs = [other / one for one, other in zip(own, others, strict=True)]
    return {
        "frames": frames,
        "whole_run_s": median(own),
        "whole_run_peer_s": median(others),
        "whole_run_ratio": median(pairs),
        "whole_run_ratio_spread": spread(pairs),
        "start_s": median(mine.starts),
        "start_peer_s": median(theirs.starts),
    }
