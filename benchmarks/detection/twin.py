"""The fast twin of a model: what `masktrain export` makes of it, and what it loses in mAP50."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.training.observed_process import ProgramFailed
from benchmarks.training.report import emit

from . import programs

MOST_LOST = 0.005


@dataclass(frozen=True)
class Twin:
    """`kind`: `int8`, or `float` where INT8 lost more than it may; `refusal` is then the program's last word."""

    path: Path
    kind: str
    refusal: str = ""


def export_twin(weights: Path, data: Path, image_size: int, folder: Path) -> Twin:
    """INT8 calibrated on the training pictures of `data`, a zip; where that is refused, the float twin."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [*programs.MASKTRAIN, "export", str(weights), "--format", "openvino", "--image-size", str(image_size)]
    try:
        programs.run([*command, "--int8", "--data", str(data)], folder / "int8")
        return Twin(_model_in(folder / "int8"), "int8")
    except ProgramFailed as refused:
        print(refused, file=sys.stderr, flush=True)
        programs.run(command, folder / "float")
        return Twin(_model_in(folder / "float"), "float", str(refused).splitlines()[-1])


def measure_loss(
    weights: Mapping[str, Path],
    twins: Mapping[tuple[str, int], Twin],
    sets: Mapping[str, Path],
    folder: Path,
) -> None:
    """mAP50 of each twin beside its original's, on each of the `sets` (zips by name)."""
    for (architecture, image_size), twin in twins.items():
        for name, data in sets.items():
            place = folder / f"{architecture}-{image_size}-{name}"
            original = programs.our_scores(weights[architecture], data, image_size, place)
            ours = programs.our_scores(twin.path, data, image_size, place)
            emit(
                f"detect-twin-map50-loss/{twin.kind}/{architecture}-{image_size}px/{name}",
                value=round(original.map50 - ours.map50, 5),
                unit="mAP50",
                limit=MOST_LOST,
                better="lower",
                twin=ours.map50,
                original=original.map50,
                twin_map=ours.map50_95,
                original_map=original.map50_95,
                **({"int8_refused": twin.refusal} if twin.refusal else {}),
            )


def _model_in(folder: Path) -> Path:
    found: Sequence[Path] = sorted(folder.rglob("*.xml"))
    if len(found) != 1:
        raise ProgramFailed(f"the export left {len(found)} OpenVINO models in {folder}, not one")
    return found[0]
