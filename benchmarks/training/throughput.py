"""Images per second and seconds per epoch, ours and v7.0's, in turns on the same data; and ours by the bare model's."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from . import ours, ours_on_peer_torch, roofline, yolov5
from .bare_model import bare_images_per_second
from .environments import PEER_TORCH
from .epochs import Epoch, mean_images_per_second, mean_wall_seconds, steady
from .gpu_utilisation import watch_gpu
from .report import compared, emit, median, spread
from .workload import DrawnDataset, Workload

GOALS = {"cpu": {"speed": 1.5, "epoch": 1.6, "bare": 0.90}, "cuda": {"speed": 2.0, "epoch": 2.0, "bare": 0.95}}
PRECISIONS = ("Float32", "BFloat16")
ROOFLINE_GOAL = 0.55
"""Share of the roofline: what NVIDIA's tuned ResNet-50 reaches of the same bound on V100 and A100."""


def compare(
    workload: Workload, dataset: DrawnDataset, folder: Path, *, rounds: int, precision: str, on_peer_torch: bool
) -> None:
    """Every round runs our trainer and v7.0, one after the other.

    With `on_peer_torch` also ours on v7.0's version of torch.
    """
    speeds: dict[str, list[float]] = defaultdict(list)
    walls: dict[str, list[float]] = defaultdict(list)
    busy: list[float] = []
    for number in range(rounds):
        trained = {
            "ours": _ours(workload, dataset, folder / f"ours-{number}", precision, busy),
            "yolov5": steady(yolov5.train(workload, dataset, folder / f"yolov5-{number}")),
        }
        if on_peer_torch:
            trained["ours on its torch"] = steady(ours_on_peer_torch.train(workload, dataset, folder / f"old-{number}"))
        for name, epochs in trained.items():
            speeds[name].append(mean_images_per_second(epochs))
            walls[name].append(mean_wall_seconds(epochs))
    _print(workload, speeds, walls)
    if workload.device == "cuda":
        _print_share_of_roofline(workload, speeds["ours"], roofline.measure(workload, precision=precision))
    if busy:
        emit(f"gpu-utilisation/{workload}", value=median(busy), unit="%", spread=spread(busy), rounds=len(busy))
    if on_peer_torch:
        old = speeds["ours on its torch"]
        emit(
            f"training-images-per-second-on-torch-{PEER_TORCH}/{workload}",
            **compared(old, speeds["yolov5"], peer_name=yolov5.NAME, unit="images/s"),
        )


def _print_share_of_roofline(workload: Workload, speeds: list[float], limit: float) -> None:
    shares = [speed / limit for speed in speeds]
    emit(
        f"training-by-roofline/{workload}",
        value=median(shares, 3),
        unit="share of the bound",
        spread=spread(shares, 3),
        rounds=len(shares),
        goal=ROOFLINE_GOAL,
    )


def _ours(
    workload: Workload, dataset: DrawnDataset, folder: Path, precision: str, busy: list[float]
) -> Sequence[Epoch]:
    """The GPU's utilisation, if there is one, is added to `busy`."""
    with watch_gpu() if workload.device == "cuda" else nullcontext() as utilisation:
        epochs = ours.train(workload, dataset, folder, options={"precision": precision})
    if utilisation and (percent := utilisation.median_of_busy()) is not None:
        busy.append(percent)
    return steady(epochs)


def _print(workload: Workload, speeds: dict[str, list[float]], walls: dict[str, list[float]]) -> None:
    goals, peer = GOALS[workload.device], yolov5.NAME
    emit(
        f"training-images-per-second/{workload}",
        **compared(speeds["ours"], speeds["yolov5"], peer_name=peer, unit="images/s"),
        goal=goals["speed"],
    )
    emit(
        f"epoch-with-validation-and-saving/{workload}",
        **compared(walls["ours"], walls["yolov5"], peer_name=peer, unit="s"),
        goal=goals["epoch"],
    )


def compare_with_bare(workload: Workload, dataset: DrawnDataset, folder: Path, *, rounds: int) -> None:
    """Ours by the bare model alone, each number format against its own, in turns."""
    for precision in PRECISIONS:
        mine, bare = list[float](), list[float]()
        for number in range(rounds):
            mine.append(
                mean_images_per_second(_ours(workload, dataset, folder / f"{precision}-{number}", precision, []))
            )
            bare.append(bare_images_per_second(workload, precision))
        # On a CPU without a goal in bfloat16, which makes the bare model faster there and the rest of a step not.
        has_goal = precision == "Float32" or workload.device == "cuda"
        emit(
            f"training-by-bare-model/{workload}-{precision}",
            **compared(mine, bare, peer_name="forward and backward on resident random data", unit="images/s"),
            **({"goal": GOALS[workload.device]["bare"]} if has_goal else {}),
        )
