"""Images per second of forward, loss and backward passes of yolov5n, by memory format: prints one JSON line.

    python benchmarks/model_speed.py [--image-size 320] [--batch-size 16] [--threads N] [--rounds 5] [--bfloat16]

Both formats take turns in one process; each figure is the median over the rounds.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from masktrain_trainer.config import Architecture, Hyperparameters
from masktrain_trainer.model.loss import DetectionLoss
from masktrain_trainer.model.precision import with_layout
from masktrain_trainer.model.yolo import build_yolo

NUM_CLASSES = 3
BOXES_PER_IMAGE = 8


def training_pass(
    architecture: Architecture, memory_format: torch.memory_format, image_size: int, batch_size: int, bfloat16: bool
) -> Callable[[], None]:
    """A function that runs one forward and backward pass on fixed random images and boxes."""
    torch.manual_seed(0)
    model = with_layout(build_yolo(architecture, NUM_CLASSES), memory_format)
    loss = DetectionLoss(model.anchors, Hyperparameters(), image_size=image_size, num_classes=NUM_CLASSES)
    images_BCHW = torch.rand(batch_size, 3, image_size, image_size).to(memory_format=memory_format)
    targets_M6 = torch.rand(batch_size * BOXES_PER_IMAGE, 6) * torch.tensor([batch_size, NUM_CLASSES, 1, 1, 0.5, 0.5])
    targets_M6[:, :2].floor_()

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            raws = model(images_BCHW)
        total, _ = loss(raws, targets_M6)
        model.zero_grad(set_to_none=True)
        total.backward()

    return run


def images_per_second(run: Callable[[], None], batch_size: int) -> float:
    start = time.perf_counter()
    run()
    return batch_size / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", type=Architecture, default=Architecture.YOLOV5N)
    parser.add_argument("--image-size", type=int, default=320)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bfloat16", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    size, batch = options.image_size, options.batch_size
    passes = {
        name: training_pass(options.architecture, f, size, batch, options.bfloat16) for name, f in formats.items()
    }
    speeds: dict[str, list[float]] = {name: [] for name in passes}
    for run in passes.values():
        run()
    for _ in range(options.rounds):
        for name, run in passes.items():
            speeds[name].append(images_per_second(run, options.batch_size))

    medians = {name: statistics.median(values) for name, values in speeds.items()}
    precision = "bfloat16" if options.bfloat16 else "float32"
    print(
        json.dumps(
            {
                "benchmark": f"model-forward-backward/{options.architecture}-{size}-batch{batch}-cpu-{precision}",
                "value": round(medians["channels_last"], 2),
                "unit": "images/s",
                "peer": round(medians["contiguous"], 2),
                "peer_name": "the same in contiguous memory format",
                "ratio": round(medians["channels_last"] / medians["contiguous"], 3),
                "machine": f"{options.threads} threads, no GPU",
            }
        )
    )


if __name__ == "__main__":
    main()
