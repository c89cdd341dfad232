"""Models and the data that they learn, made on first use by our own commands and kept by what they were made from."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import yaml

from examples.masks.build import build_dataset
from examples.masks.look import CLASSES
from masktrain_trainer.local.out_of_fold import BATCH_SIZE, FEW_PICTURES

KEPT = Path.home() / ".cache" / "masktrain" / "bench-models"
IMAGES = 500
"""Drawn pictures that all of them learn; a fifth validates."""
FAST = {
    "batchSize": BATCH_SIZE,
    "patience": 0,
    "optimizer": "AdamW",
    "schedule": "Cosine",
    "hyperparameters": FEW_PICTURES.model_dump(mode="json", by_alias=True, exclude_unset=True),
}
"""What lets `masktrain data check --deep` learn in minutes from some hundred pictures."""
OUTPUT = Path("benchmark") / "model"
"""Namespace and name of the job, below the folder of its results."""


def trained(architecture: str, image_size: int = 320, epochs: int = 15, seed: int = 0) -> Path:
    """Weights (best.pt) of a training from scratch on the drawn masks by `masktrain train`.

    Minutes on first use. `architecture`: such as yolov5n.
    """
    folder = KEPT / f"{architecture}-{image_size}px-{epochs}epochs-seed{seed}"
    best = folder / OUTPUT / "best.pt"
    if not best.exists():
        _say(f"training {architecture} for {epochs} epochs at {image_size} px into {folder}")
        model = {"architecture": architecture, "weights": "scratch"}
        _train(folder, drawn_masks(image_size), model, {"imageSize": image_size, "epochs": epochs, "seed": seed})
    return best


def drawn_masks(image_size: int = 320) -> Path:
    """The zip that they learn, in YOLOv5 layout: splits `train` and `valid`."""
    archive = KEPT / f"masks-{IMAGES}-{image_size}px.zip"
    if not archive.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as folder:
            build_dataset(Path(folder) / archive.name, images=IMAGES, size=image_size).replace(archive)
    return archive


def unpacked(archive: Path) -> Path:
    """The data.yaml beside the unpacked pictures of a zip, with absolute paths, as v7.0 wants them."""
    folder = archive.with_suffix("")
    description = folder / "absolute.yaml"
    if not description.exists():
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder)
        held = [split for split in ("train", "valid") if (folder / split).is_dir()]
        places = {split: str(folder / split / "images") for split in held}
        document = {
            "train": places.get("train", places["valid"]),
            "val": places["valid"],
            "nc": len(CLASSES),
            "names": list(CLASSES),
        }
        description.write_text(yaml.safe_dump(document), encoding="utf-8")
    return description


def _train(folder: Path, archive: Path, model: dict[str, str], training: dict[str, int]) -> None:
    # Apart until it is complete, so that a training that was ended is never taken for a finished one.
    with tempfile.TemporaryDirectory(dir=KEPT) as scratch:
        unfinished, manifest = Path(scratch) / "run", Path(scratch) / "job.yaml"
        manifest.write_text(yaml.safe_dump(_job(archive, model, training)), encoding="utf-8")
        command = ["masktrain_trainer.cli.main", "train", str(manifest), "--output", str(unfinished)]
        with (Path(scratch) / "log").open("w+", encoding="utf-8") as log:
            if subprocess.run([sys.executable, "-m", *command], stdout=log, stderr=log, check=False).returncode:
                log.seek(0)
                raise RuntimeError(f"the training failed:\n{log.read()[-4000:]}")
        if not folder.exists():
            unfinished.rename(folder)


def _job(archive: Path, model: dict[str, str], training: dict[str, int]) -> dict[str, object]:
    namespace, name = OUTPUT.parts
    return {
        "apiVersion": "masktrain.dev/v1alpha1",
        "kind": "MaskTrainingJob",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "model": model,
            "dataset": {"uri": archive.as_uri()},
            "training": {**FAST, **training},
            "checkpoint": {"uri": "file:///overridden", "keep": "Best"},
            "compute": {"nodes": 1},
        },
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
