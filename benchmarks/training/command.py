"""The command line of the benchmarks of training."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from . import learning, loading_levers, rank_levers, roofline, step_levers, step_profile, throughput, training_levers
from .workload import Workload, draw_dataset

CPU_SIZES = ("yolov5n:16", "yolov5s:16")
GPU_SIZES = ("yolov5s:64", "yolov5x:32")
LEARNING_EPOCHS = 300
LEVERS = ("step", "ranks", "trainings", "loading")

Measure = Callable[[argparse.Namespace, Path], None]


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="masktrain-benchmark-", dir=options.folder) as folder:
        measure: Measure = options.measure
        measure(options, Path(folder))


def _throughput(options: argparse.Namespace, folder: Path) -> None:
    dataset = draw_dataset(folder, train_images=options.images, image_size=options.image_size)
    for workload in _workloads(options):
        throughput.compare(
            workload,
            dataset,
            folder / workload.architecture,
            rounds=options.rounds,
            precision=options.precision,
            on_peer_torch=not options.newest_torch_only,
        )


def _bare(options: argparse.Namespace, folder: Path) -> None:
    dataset = draw_dataset(folder, train_images=options.images, image_size=options.image_size)
    for workload in _workloads(options):
        throughput.compare_with_bare(workload, dataset, folder / workload.architecture, rounds=options.rounds)


def _profile(options: argparse.Namespace, folder: Path) -> None:
    dataset = draw_dataset(folder, train_images=options.images, image_size=options.image_size)
    for workload in _workloads(options):
        step_profile.measure(workload, dataset, folder / workload.architecture, precision=options.precision)


def _roofline(options: argparse.Namespace, folder: Path) -> None:
    del folder
    for workload in _workloads(options):
        roofline.measure(workload, precision=options.precision)


def _levers(options: argparse.Namespace, folder: Path) -> None:
    (workload, *_), rounds = _workloads(options), options.rounds
    dataset = draw_dataset(folder, train_images=options.images, image_size=options.image_size)
    kinds: dict[str, Callable[[], None]] = {
        "step": lambda: step_levers.compare(workload, rounds=rounds),
        "ranks": lambda: rank_levers.compare(workload, precision=options.precision, rounds=rounds),
        "trainings": lambda: training_levers.compare(workload, dataset, folder, rounds=rounds),
        "loading": lambda: loading_levers.compare(workload, dataset, folder, rounds=rounds),
    }
    for kind in options.only:
        kinds[kind]()


def _learning(options: argparse.Namespace, folder: Path) -> None:
    dataset = draw_dataset(folder, train_images=options.images, image_size=options.image_size)
    for workload in _workloads(options)[:1]:
        learning.compare(workload, dataset, folder, seeds=options.seeds, seconds=options.seconds)


def _workloads(options: argparse.Namespace) -> list[Workload]:
    sizes = options.sizes or (GPU_SIZES if options.device == "cuda" else CPU_SIZES)
    parsed = [size.partition(":") for size in sizes]
    return [
        Workload(name, options.image_size, int(batch or 16), options.epochs, options.images, options.device)
        for name, _, batch in parsed
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    benchmarks = parser.add_subparsers(required=True, metavar="BENCHMARK")
    compared = _benchmark(benchmarks, "throughput", _throughput, "against v7.0")
    compared.add_argument("--rounds", type=int, default=3)
    compared.add_argument("--newest-torch-only", action="store_true", help="without ours on v7.0's version of torch")
    # Short epochs would measure how soon the first batch is there, so these are longer and only the second counts.
    alone = _benchmark(benchmarks, "bare", _bare, "by the bare model, in float32 and bfloat16", images=576)
    alone.add_argument("--rounds", type=int, default=3)
    alone.set_defaults(epochs=2)
    single = _benchmark(benchmarks, "levers", _levers, "each lever with and without")
    single.add_argument("--rounds", type=int, default=5)
    single.add_argument("--only", nargs="+", choices=LEVERS, default=LEVERS, help="kinds of levers")
    _benchmark(benchmarks, "profile", _profile, "where the time of a batch goes")
    _benchmark(benchmarks, "roofline", _roofline, "what the device's bandwidth and arithmetic allow")
    learnt = _benchmark(benchmarks, "learning", _learning, "mAP50 over time against v7.0 (30 minutes)", images=400)
    learnt.add_argument("--seeds", type=int, default=3)
    learnt.add_argument("--seconds", type=float, default=300)
    learnt.set_defaults(epochs=LEARNING_EPOCHS, image_size=160)
    return parser.parse_args()


def _benchmark(
    benchmarks: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    measure: Measure,
    summary: str,
    *,
    images: int = 192,
) -> argparse.ArgumentParser:
    parser = benchmarks.add_parser(name, help=summary, description=summary)
    parser.set_defaults(measure=measure)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--sizes", nargs="+", metavar="ARCHITECTURE[:BATCH]", help="such as yolov5n:16")
    parser.add_argument("--image-size", type=int, default=320)
    parser.add_argument("--epochs", type=int, default=3, help="of each run; the first one does not count")
    parser.add_argument("--images", type=int, default=images, help="to train on; a quarter as many validate")
    parser.add_argument("--precision", default="Auto", help="of ours, as in training.precision")
    parser.add_argument("--folder", type=Path, help="where temporary files go")
    return parser
