"""Run the benchmarks of detection: `python -m benchmarks.detection [PART ...]`.

The two models are trained and the twins exported on first use; models stay in ~/.cache/masktrain/bench-models.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from examples.masks.video import FRAMES_PER_SECOND, VideoWriter, draw_video, write_truth

from . import accuracy, programs, speed, twin
from .models import drawn_masks, trained
from .programs import Clips, Pace, Setting
from .twin import Twin

EPOCHS = {"yolov5n": 30, "yolov5s": 10}
SIZES = (320, 640)
TRAINED_SIZE = 320
FRAME_SIZE = (640, 360)
SHORT_SHARE = 8
LABELLED_EVERY = 4
CLIP_SEED = 7


@dataclass(frozen=True)
class Bench:
    """What the parts share, made when the first of them asks for it."""

    options: argparse.Namespace
    folder: Path

    @property
    def architectures(self) -> Sequence[str]:
        return tuple(EPOCHS)[:1] if self.options.quick else tuple(EPOCHS)

    @property
    def sizes(self) -> Sequence[int]:
        return SIZES[:1] if self.options.quick else SIZES

    @cached_property
    def trained(self) -> dict[str, Path]:
        return {name: trained(name, TRAINED_SIZE, EPOCHS[name]) for name in self.architectures}

    @cached_property
    def weights(self) -> dict[str, Path]:
        """The same models as files that v7.0 reads, which ours is given as well."""
        return {name: programs.as_yolov5(best, self.folder / "weights" / name) for name, best in self.trained.items()}

    @cached_property
    def twins(self) -> dict[tuple[str, int], Twin]:
        """One of each model, made at the size that it was trained at, which runs at the others as well."""
        made = {
            name: twin.export_twin(file, drawn_masks(), TRAINED_SIZE, self.folder / f"twin-{name}")
            for name, file in self.weights.items()
        }
        return {(name, size): made[name] for name in made for size in self.sizes}

    @cached_property
    def films(self) -> dict[Pace, Clips]:
        """In both lengths, for slow programs and for fast ones."""
        return {pace: self._clips(pace) for pace in Pace}

    def _clips(self, pace: Pace) -> Clips:
        frames = self.options.frames * pace.value
        short = max(2, frames // SHORT_SHARE)
        name = pace.name.lower()
        clips = Clips(self.folder / f"{name}.mp4", frames, self.folder / f"{name}-short.mp4", short)
        for path, length in ((clips.short, short), (clips.long, frames)):
            with VideoWriter(path, FRAME_SIZE, FRAMES_PER_SECOND) as video:
                for _ in video.pass_on(draw_video(length, *FRAME_SIZE, CLIP_SEED)):
                    pass
        return clips

    @cached_property
    def truth(self) -> Path:
        """About some frames of the slow programs' film, as a zip."""
        drawn = draw_video(self.options.frames, *FRAME_SIZE, CLIP_SEED)
        return write_truth(self.folder / "truth.zip", drawn, every=LABELLED_EVERY)

    @property
    def sets(self) -> dict[str, Path]:
        return {"validation": drawn_masks(), "film": self.truth}


def _speed(bench: Bench) -> None:
    settings = [
        Setting(name, size, saving) for name in bench.architectures for size in bench.sizes for saving in (False, True)
    ]
    speed.compare(
        settings, bench.weights, bench.twins, bench.films, bench.folder / "speed", rounds=bench.options.rounds
    )


def _twin(bench: Bench) -> None:
    twin.measure_loss(bench.weights, bench.twins, bench.sets, bench.folder / "losses")


def _accuracy(bench: Bench) -> None:
    accuracy.compare(bench.weights, bench.sizes, bench.sets, bench.folder / "accuracy")


def _verdicts(bench: Bench) -> None:
    from . import verdicts  # noqa: PLC0415 the other parts do without what it needs

    verdicts.measure(bench.folder / "verdicts", quick=bench.options.quick)


PARTS: dict[str, Callable[[Bench], None]] = {
    "speed": _speed,
    "twin": _twin,
    "accuracy": _accuracy,
    "verdicts": _verdicts,
}


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="masktrain-benchmark-", dir=options.folder) as folder:
        bench = Bench(options, Path(folder))
        for part in options.parts or PARTS:
            PARTS[part](bench)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="of the speeds (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=240, help="of the film (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="yolov5n at 320 px only; a few of the verdicts")
    parser.add_argument("--folder", type=Path, help="where temporary files go")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    main()
