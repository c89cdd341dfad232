"""What is allowed but seldom wise: one line each, for the log at the start, for `preflight` and for the report.

Every threshold has its source or its reason beside it. Nothing here changes a training, and nothing needs torch.
"""

import math
from collections.abc import Iterator

import numpy as np

from masktrain_trainer.config import Architecture, ModelSpec, RunConfig, Schedule, TrainingSpec
from masktrain_trainer.data.prepared import PreparedDataset, TrainingStatistics, training_statistics
from masktrain_trainer.data.sampler import batches_per_epoch
from masktrain_trainer.model.autoanchor import measure
from masktrain_trainer.model.graph import SIZES

from .schedule import TrainingSchedule

EXPECTED_EPOCHS = 300
"""Where the best epoch of a YOLOv5 training usually lies at the latest: the length of its COCO recipes, and what its
guide tells people to start with (docs.ultralytics.com/yolov5/tutorials/tips_for_best_training_results)."""
HALF_DECAYED = 0.5
"""With less than half of its decay behind it, a schedule has hardly begun to do what it is for."""
LONGEST_WARMUP = 0.5
"""Of all epochs: in YOLOv5's recipes it is a hundredth."""
IMBALANCE = 10
"""Times as many boxes: the order of magnitude between LVIS's frequent, common and rare classes, whose AP falls with it
(Gupta et al. 2019)."""
NAMED_CLASSES = 3
TINY_PIXELS = 8
"""One cell of the finest grid (stride 8): a smaller box covers less than one value of any feature map."""
TINY_SHARE = 0.1
"""Of the boxes: fewer can cost at most a tenth of the recall."""
P5_IMAGE_SIZE = Architecture.YOLOV5S.native_image_size
"""What the architectures without a 6 are made for."""
FAR_SIZE = 2
"""Halving the sides throws three quarters of the pixels away; doubling them costs four times as much for no detail."""
SMALL_BATCH = 16
"""YOLOv5's default; its guide warns of the batch statistics of smaller ones."""
SMALL_RANK_BATCH = 8
"""Up to here YOLOv5's guide to several GPUs recommends synchronised batch statistics."""
IMAGES_PER_CLASS = 1500
"""What YOLOv5's guide recommends at least; and pretrained weights for small and medium data sets, random ones for those
of COCO's size (docs.ultralytics.com/yolov5/tutorials/tips_for_best_training_results). With fewer images than that in
all, no class can have enough."""
# The API's bound of training.imageSize.
LARGEST_IMAGE_SIZE = 4096


def advice_on_run(config: RunConfig, prepared: PreparedDataset, world_size: int) -> list[str]:
    """`advice` on a job whose data set is prepared."""
    return advice(config.model, config.training, training_statistics(prepared), world_size)


def advice(model: ModelSpec, training: TrainingSpec, statistics: TrainingStatistics, world_size: int) -> list[str]:
    """One sentence for each setting that fits the data, the model or the other settings badly."""
    architecture = model.architecture
    found = (
        *_start(model, statistics),
        *_schedule(training),
        *_warmup(training, statistics),
        *_imbalance(training, statistics),
        *_tiny_boxes(architecture, training, statistics),
        *_anchors(architecture, training, statistics),
        *_architecture(architecture, training),
        *_picture_size(training, statistics),
        *_batch(training),
        *_rank_batch(training, world_size),
    )
    return list(found)


def _start(model: ModelSpec, statistics: TrainingStatistics) -> Iterator[str]:
    if model.from_scratch and statistics.images < IMAGES_PER_CLASS:
        yield (
            f"The training starts from scratch with {statistics.images:,} images, where YOLOv5's guide recommends at "
            f"least {IMAGES_PER_CLASS:,} of each class and pretrained weights for fewer: set model.weights to "
            "official, or to weights of your own."
        )


def _schedule(training: TrainingSpec) -> Iterator[str]:
    """Early stopping that fires long before the learning rate has decayed."""
    end, h = EXPECTED_EPOCHS + training.patience, training.hyperparameters
    if training.patience == 0 or end >= training.epochs:
        return
    # One batch an epoch is enough here: the decay goes by epochs.
    schedule = TrainingSchedule(h, training.schedule, training.epochs, 1, training.batch_size)
    left = schedule.decayed_learning_rate(end) / h.learning_rate
    if 1 - left < HALF_DECAYED * (1 - h.final_learning_rate_fraction):
        yield (
            f"With training.patience {training.patience} a training seldom lasts longer than {end} epochs, where a "
            f"{training.schedule.value} schedule over {training.epochs} still has {left:.0%} of the learning rate, so "
            f"it never decays: set training.schedule to {Schedule.COSINE.value} and training.epochs to about "
            f"{EXPECTED_EPOCHS}."
        )


def _warmup(training: TrainingSpec, statistics: TrainingStatistics) -> Iterator[str]:
    """One that ends late or never: an epoch of few images has few iterations."""
    if training.auto_batch:
        return
    per_epoch = batches_per_epoch(statistics.images, training.batch_size)
    schedule = TrainingSchedule(
        training.hyperparameters, training.schedule, training.epochs, per_epoch, training.batch_size
    )
    epochs = schedule.last_warmup_epoch + 1
    if epochs > training.epochs * LONGEST_WARMUP:
        yield (
            f"The warm-up takes {schedule.warmup_iterations} iterations, which are {epochs} epochs of {per_epoch}, and "
            f"training.epochs is {training.epochs}: most of the training runs below its learning rate; "
            "raise training.epochs, or lower hyperparameters.warmupEpochs and warmupMinIterations."
        )


def _imbalance(training: TrainingSpec, statistics: TrainingStatistics) -> Iterator[str]:
    counts = dict(zip(statistics.names, statistics.boxes_per_class, strict=True))
    most = max(counts, key=lambda name: counts[name])
    rare = sorted((n for n, boxes in counts.items() if 0 < boxes * IMBALANCE <= counts[most]), key=lambda n: counts[n])
    if rare:
        named = ", ".join(f"{name} ({counts[name]:,})" for name in rare[:NAMED_CLASSES])
        others = f" and {len(rare) - NAMED_CLASSES} more" if len(rare) > NAMED_CLASSES else ""
        yield (
            f"The classes are imbalanced: {most} has {counts[most]:,} boxes, up to {counts[most] // counts[rare[0]]} "
            f"times as many as {named}{others}; rare classes are learnt late and badly, so add pictures of them"
            f"{'' if training.image_weights else ' or set training.imageWeights'}."
        )


def _tiny_boxes(architecture: Architecture, training: TrainingSpec, statistics: TrainingStatistics) -> Iterator[str]:
    share = statistics.share_below(TINY_PIXELS, training.image_size)
    if share < TINY_SHARE:
        return
    sentence = (
        f"{share:.0%} of the boxes are smaller than {TINY_PIXELS} px at training.imageSize {training.image_size}, less "
        "than a cell of the finest grid, and will mostly be missed"
    )
    larger = _size_for_tiny_boxes(architecture.max_stride, training.image_size, statistics)
    if larger is None:
        yield f"{sentence}; the pictures have no more pixels to give, so tile them or photograph from nearer."
    else:
        yield f"{sentence}; at {larger} they would be {statistics.share_below(TINY_PIXELS, larger):.0%}."


def _size_for_tiny_boxes(stride: int, image_size: int, statistics: TrainingStatistics) -> int | None:
    """The smallest size with few tiny boxes, else the size of the pictures; none if that is no larger."""
    largest = min(math.ceil(statistics.mean_longer_side / stride) * stride, LARGEST_IMAGE_SIZE)
    larger = range((image_size // stride + 1) * stride, largest + 1, stride)
    good = (size for size in larger if statistics.share_below(TINY_PIXELS, size) < TINY_SHARE)
    return next(good, larger[-1] if larger else None)


def _anchors(architecture: Architecture, training: TrainingSpec, statistics: TrainingStatistics) -> Iterator[str]:
    """With `autoAnchor` the training sees to it itself."""
    if training.auto_anchor or not len(statistics.relative_sides_M2):
        return
    anchors_A2 = np.array(SIZES[architecture].graph.anchors_px, float).reshape(-1, 2)
    sides_M2 = statistics.sides_at(training.image_size)
    fit = measure(anchors_A2, sides_M2, training.hyperparameters.anchor_threshold)
    if not fit.suffices:
        yield (
            f"{1 - fit.recall:.0%} of the boxes match none of {architecture.value}'s own anchors, and what no anchor "
            "matches is never learnt: set training.autoAnchor."
        )


def _architecture(architecture: Architecture, training: TrainingSpec) -> Iterator[str]:
    name, native, size = architecture.value, architecture.native_image_size, training.image_size
    has_p6 = architecture.max_stride == 64
    if size > P5_IMAGE_SIZE and not has_p6:
        yield (
            f"{name} is made for {native} px and trains at {size} px: large objects may outgrow its coarsest "
            f"grid; {name}6 has one more for them."
        )
    if size <= P5_IMAGE_SIZE and has_p6:
        yield (
            f"{name} is made for {native} px and trains at {size} px: its fourth head finds little to do; "
            f"{name.removesuffix('6')} is smaller and faster."
        )


def _picture_size(training: TrainingSpec, statistics: TrainingStatistics) -> Iterator[str]:
    mean, size = statistics.mean_longer_side, training.image_size
    if mean >= FAR_SIZE * size:
        yield (
            f"The pictures' longer side is {mean:.0f} px on average and training sees it at {size} px: details smaller "
            f"than {mean / size:.0f} px are lost; a larger training.imageSize keeps them."
        )
    if size >= FAR_SIZE * mean:
        yield (
            f"The pictures' longer side is {mean:.0f} px on average and training enlarges it to {size} px: that costs "
            f"{(size / mean) ** 2:.0f} times the computing and adds no detail; lower training.imageSize."
        )


def _batch(training: TrainingSpec) -> Iterator[str]:
    if training.batch_size < SMALL_BATCH and not training.auto_batch:
        yield (
            f"training.batchSize {training.batch_size} is below {SMALL_BATCH}: gradients are accumulated over batches, "
            "but batch normalisation is not, and its statistics get noisy; take what the memory allows."
        )


def _rank_batch(training: TrainingSpec, world_size: int) -> Iterator[str]:
    per_rank = training.batch_size // world_size
    if training.auto_batch:
        return
    if world_size > 1 and per_rank < SMALL_RANK_BATCH and not training.sync_batch_norm:
        yield (
            f"Each of the {world_size} ranks normalises over its own {per_rank} images: set training.syncBatchNorm, or "
            f"a training.batchSize of at least {SMALL_RANK_BATCH * world_size}."
        )
