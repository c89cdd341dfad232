"""A finished training of made-up numbers, so that reports can be tested, and looked at, without training.

`python -m tests.unit.trainer.report.synthetic FOLDER [CLASSES …]` draws reports for people to open.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from masktrain_trainer.config import TrainingSpec
from masktrain_trainer.data.prepared import ImageRecord, PreparedDataset, Split, create_cache, save_index, store_image
from masktrain_trainer.files import write_text_atomically
from masktrain_trainer.model.metrics import (
    CONFIDENCES,
    IOU_THRESHOLDS,
    DetectionMetrics,
    DetectionStatistics,
    curves_by_class,
)
from masktrain_trainer.report.build import build_report
from masktrain_trainer.report.data_pictures import draw_data_pictures
from masktrain_trainer.report.evaluation import (
    ClassCurve,
    ClassScores,
    EvaluatedPicture,
    Evaluation,
    Fact,
    PictureBox,
    SplitScores,
)
from masktrain_trainer.report.tables import EpochResult, append_result
from masktrain_trainer.run_directory import RunDirectory

IMAGE_SIZE = 320
THREE = ("mask", "no mask", "mask worn incorrectly")
HOSTILE = (
    "<script>alert(1)</script>",
    "口罩",
    "كمامة",
    "$x^2",
    "_hidden",
    "\"quoted\" & 'single'",
    "a very long name of a class that nobody would ever want to read to its end but somebody will surely type " * 2,
    "two\nlines",
    "</title><img src=x onerror=alert(2)>",
    "{{ 7 * 7 }}",
    "😷",
    "café ß Ω Ж",
)


def class_names(classes: int) -> list[str]:
    return ["mask"] if classes == 1 else [*THREE, *(f"object {i}" for i in range(3, classes))][:classes]


def statistics(classes: int, seed: int = 0) -> DetectionStatistics:
    """Detections that are right the more often the more confident they are, by class well or badly."""
    rng = np.random.default_rng(seed)
    labels_C = rng.integers(20, 200, classes)
    true_class = np.repeat(np.arange(classes), labels_C)
    predicted = np.repeat(np.arange(classes), 2 * labels_C)
    confidence = rng.beta(1, 1.5, len(predicted)).astype(np.float32)
    skill = rng.uniform(0.4, 1.0, classes)[predicted]
    chance = (skill * confidence**0.4)[:, None] * np.linspace(0.95, 0.2, len(IOU_THRESHOLDS))
    correct = rng.random(len(predicted))[:, None] < chance / 1.4
    return DetectionStatistics(correct, confidence, predicted, true_class)


def split_scores(names: Sequence[str], metrics: DetectionMetrics) -> SplitScores:
    rows = [
        ClassScores(
            name=names[row.class_index],
            images=row.labels // 2 + 1,
            labels=row.labels,
            precision=row.precision,
            recall=row.recall,
            map50=row.ap50,
            map50_95=row.ap50_95,
        )
        for row in metrics.classes
    ]
    overall = ClassScores(
        name="all",
        images=100,
        labels=metrics.labels,
        precision=metrics.precision,
        recall=metrics.recall,
        map50=metrics.map50,
        map50_95=metrics.map50_95,
    )
    return SplitScores(overall=overall, classes=rows)


def picture(path: Path, rng: np.random.Generator, classes: int) -> EvaluatedPicture:
    width, height = int(rng.integers(300, 900)), int(rng.integers(300, 900))
    image = Image.fromarray(cv2.resize(rng.integers(60, 200, (6, 8, 3), dtype=np.uint8), (width, height)))
    canvas, labels, found = ImageDraw.Draw(image), [], []
    for _ in range(int(rng.integers(1, 6))):
        x, y = float(rng.uniform(0, width * 0.7)), float(rng.uniform(0, height * 0.7))
        box = (x, y, x + float(rng.uniform(0.1, 0.3)) * width, y + float(rng.uniform(0.1, 0.3)) * height)
        canvas.ellipse(box, fill=tuple(rng.integers(0, 255, 3).tolist()))
        index = int(rng.integers(classes))
        labels.append(PictureBox(class_index=index, xyxy=box))
        shift = float(rng.normal(0, 4))
        moved = (box[0] + shift, box[1] + shift, box[2] + shift, box[3] + shift)
        if rng.random() < 0.85:
            found.append(PictureBox(class_index=index, xyxy=moved, confidence=float(rng.uniform(0.3, 0.95))))
    image.save(path, quality=90)
    return EvaluatedPicture(name=f"valid/images/{path.name}", path=str(path), labels=labels, predictions=found)


def results(epochs: int) -> str:
    rng, text = np.random.default_rng(0), ""
    for epoch in range(epochs):
        loss, score = 0.1 * np.exp(-epoch / 30) + 0.02, 0.8 * (1 - np.exp(-epoch / 20))
        noise = rng.normal(0, 0.01, 10)
        losses = [loss * (1 + n) for n in noise[:6]]
        precision, recall, map50, map50_95 = (score + noise[6:10]).tolist()
        rates = (0.01, 0.01, 0.01)
        text = append_result(
            text, EpochResult(epoch, losses[:3], precision, recall, map50, map50_95, losses[3:], rates)
        )
    return text


def evaluation(names: Sequence[str], pictures: Sequence[EvaluatedPicture] = (), *, test: bool = True) -> Evaluation:
    found = statistics(len(names))
    metrics = DetectionMetrics.from_statistics(found)
    scores = split_scores(names, metrics)
    rng = np.random.default_rng(1)
    confusion = rng.poisson(0.3, (len(names) + 1, len(names) + 1)) + np.diag(rng.integers(20, 90, len(names) + 1))
    confusion[-1, -1] = 0
    curves = [
        ClassCurve(
            class_index=index,
            precision=curve.precision[::3].tolist(),
            recall=curve.recall[::3].tolist(),
            precision_at_recall=curve.precision_at_recall.tolist(),
        )
        for index, curve in curves_by_class(found).items()
    ]
    return Evaluation(
        title="team/masks",
        architecture="yolov5s",
        image_size=IMAGE_SIZE,
        epoch=71,
        epochs_trained=100,
        stopped_early=True,
        overall=scores.overall,
        classes=scores.classes,
        test=split_scores(names, DetectionMetrics.from_statistics(statistics(len(names), 5))) if test else None,
        confidence=metrics.confidence,
        confidences=CONFIDENCES[::3].tolist(),
        curves=curves,
        confusion=confusion.tolist(),
        pictures=list(pictures),
        advice=["training.batchSize 8 is below 16: take what the memory allows.", "The classes are imbalanced."],
        facts=[
            Fact(name="model", value="yolov5s from scratch"),
            Fact(name="data set", value="s3://data/masks.zip"),
            Fact(name="time", value="12 min 5 s"),
        ],
        settings={"epochs": "100", "hyperparameters.learningRate": "0.01"},
    )


def prepared(folder: Path, names: Sequence[str], images: int = 64) -> PreparedDataset:
    """A training split of coloured noise with boxes; every eighth image shows nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, cache = np.random.default_rng(2), folder / "train.cache"
    create_cache(cache, images, IMAGE_SIZE)
    targets, records, sizes = [], [], []
    share = 1.0 / np.arange(1, len(names) + 1) ** 0.5
    for index in range(images):
        height = int(rng.integers(200, IMAGE_SIZE))
        pixels = cv2.resize(rng.integers(60, 200, (6, 8, 3), dtype=np.uint8), (IMAGE_SIZE, height))
        store_image(cache, index, np.asarray(pixels, np.uint8), IMAGE_SIZE)
        boxes = 0 if index % 8 == 0 else int(rng.integers(1, 8))
        sides = rng.lognormal(-2, 0.7, (boxes, 2)).clip(0.01, 0.9)
        centres = rng.uniform(sides / 2, 1 - sides / 2)
        classes = rng.choice(len(names), (boxes, 1), p=share / share.sum())
        targets.append(np.column_stack([classes, centres, sides]).astype(np.float32).reshape(-1, 5))
        records.append(ImageRecord(name=f"train/images/{index}.jpg", path=folder / "none", height=height, width=320))
        sizes.append((height, IMAGE_SIZE))
    save_index(
        folder / "train.npz",
        slots_N=np.arange(images),
        sizes_N2=np.array(sizes),
        bytes_N=np.prod(sizes, axis=1) * 3,
        targets=targets,
        image_size=IMAGE_SIZE,
    )
    split = Split(images=records, labels=folder / "train.npz", cache=cache)
    return PreparedDataset(names=list(names), image_size=IMAGE_SIZE, train=split, val=split)


def finished_run(folder: Path, names: Sequence[str], *, pictures: int = 48, test: bool = True) -> RunDirectory:
    """All that training leaves behind, and the pictures of its data."""
    run = RunDirectory(folder / "run")
    run.create()
    rng = np.random.default_rng(3)
    shown = [
        picture(folder / f"{i:02}_surveillance-camera_jpg.rf.{'0a1b2c3d' * 3}.jpg", rng, len(names))
        for i in range(pictures)
    ]
    write_text_atomically(run.evaluation, evaluation(names, shown, test=test).to_json())
    (run.artifacts / "results.csv").write_text(results(100), encoding="utf-8")
    return run


def training() -> TrainingSpec:
    return TrainingSpec(image_size=IMAGE_SIZE)


def draw(folder: Path, names: Sequence[str], *, pictures: int = 48, test: bool = True) -> RunDirectory:
    """A whole report."""
    run = finished_run(folder, names, pictures=pictures, test=test)
    draw_data_pictures(prepared(folder / "data", names), training(), run.artifacts)
    build_report(run)
    return run


if __name__ == "__main__":
    for count in map(int, sys.argv[2:] or ("1", "3", "80")):
        print(draw(Path(sys.argv[1]) / f"{count}", class_names(count)).artifacts)
    print(draw(Path(sys.argv[1]) / "hostile", HOSTILE).artifacts)
