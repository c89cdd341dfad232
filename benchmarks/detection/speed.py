"""Frames per second of one MP4 from end to end: ours in torch and its fast twin, v7.0's detect.py, and plain OpenVINO.

Each program runs as a command, on a long and on a short film. Their difference is the steady speed: what the longer
film cost more, by the frames that it has more. The whole run, start included, stands beside it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.training import yolov5
from benchmarks.training.report import compared, emit, median, spread

from . import programs
from .programs import Clips, CommandOf, Setting
from .twin import Twin

TORCH, TWIN, PEER = "ours", "twin", "v7.0"
SYNCHRONOUS, ASYNCHRONOUS = "OpenVINO, synchronous", "OpenVINO, asynchronous"
GOALS = {False: {TORCH: 1.5, TWIN: 3.0}, True: {TORCH: 1.5, TWIN: 2.0}}
LOOP_GOAL = 0.95

Times = dict[str, list[tuple[float, float]]]
"""By program: seconds of the long film and of the short one, round by round."""


def compare(
    settings: Sequence[Setting],
    weights: Mapping[str, Path],
    twins: Mapping[tuple[str, int], Twin],
    clips: Clips,
    folder: Path,
    *,
    rounds: int,
) -> None:
    """weights: files that v7.0 reads, by architecture. twins: by architecture and image size."""
    for setting in settings:
        twin = twins[setting.architecture, setting.image_size]
        commands = _commands(setting, weights[setting.architecture], twin)
        times: Times = defaultdict(list)
        for number in range(rounds):
            # The other way round each second time: none has the cooler or the warmer machine.
            for name in sorted(commands, reverse=bool(number % 2)):
                times[name].append(_timed(commands[name], clips, folder / f"{setting}-{name}-{number}"))
        _print(setting, twin, times, clips)


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


def steady(times: Sequence[tuple[float, float]], clips: Clips) -> list[float]:
    """Frames per second without the start, round by round."""
    frames = clips.long_frames - clips.short_frames
    # A start that took longer the second time than the frames did would make a speed of nothing.
    return [frames / max(long - short, 1e-3) for long, short in times]


def starts(times: Sequence[tuple[float, float]], clips: Clips) -> list[float]:
    """Seconds that a run takes beside its frames, round by round."""
    speeds = steady(times, clips)
    return [long - clips.long_frames / speed for (long, _), speed in zip(times, speeds, strict=True)]


def _print(setting: Setting, twin: Twin, times: Times, clips: Clips) -> None:
    goals = GOALS[setting.saving]
    for name, label in ((TORCH, "ours"), (TWIN, f"twin/{twin.kind}")):
        emit(
            f"detect-frames-per-second/{label}/{setting}",
            **_against(times[name], times[PEER], clips, yolov5.NAME),
            goal=goals[name],
            **_whole(times[name], times[PEER], clips),
        )
    for name in (ASYNCHRONOUS, SYNCHRONOUS):
        if name in times:
            goal = {"goal": LOOP_GOAL} if name == ASYNCHRONOUS else {}
            peer_name = f"a plain loop, {name}, the same model"
            emit(
                f"detect-twin-by-openvino/{twin.kind}/{setting}",
                **_against(times[TWIN], times[name], clips, peer_name),
                **goal,
                **_whole(times[TWIN], times[name], clips),
            )


def _against(
    mine: Sequence[tuple[float, float]], theirs: Sequence[tuple[float, float]], clips: Clips, peer_name: str
) -> dict[str, Any]:
    return compared(steady(mine, clips), steady(theirs, clips), peer_name=peer_name, unit="frames/s")


def _whole(mine: Sequence[tuple[float, float]], theirs: Sequence[tuple[float, float]], clips: Clips) -> dict[str, Any]:
    """The whole run on the long film, from the start of the program to its end."""
    pairs = [other[0] / own[0] for own, other in zip(mine, theirs, strict=True)]
    return {
        "frames": clips.long_frames,
        "whole_run_s": median([long for long, _ in mine]),
        "whole_run_peer_s": median([long for long, _ in theirs]),
        "whole_run_ratio": median(pairs),
        "whole_run_ratio_spread": spread(pairs),
        "start_s": median(starts(mine, clips)),
        "start_peer_s": median(starts(theirs, clips)),
    }
