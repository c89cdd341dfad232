"""The stage of every trainer pod that brings its data: from the zip to checked, decoded images on the pod's volume.

    python -m masktrain_trainer.data.prepare --output /workspace/data --result /workspace/run/prepare.json

Exit codes: 0 prepared; 64 the data set or the configuration cannot work, the reason is in the result file; 1 something
failed that may work next time. Never imports torch: the pod checks its data before it loads gigabytes of libraries.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from masktrain_trainer.config import (
    CONFIG_VARIABLE,
    DATASET_CREDENTIALS,
    DatasetSummary,
    ExitCode,
    FailureReason,
    RunConfig,
    TrainingSpec,
)
from masktrain_trainer.config.explain import first_problem
from masktrain_trainer.errors import InvalidDataset, StoreError, UserError, printable
from masktrain_trainer.files import write_text_atomically
from masktrain_trainer.run_directory import PrepareResult, StageFailure
from masktrain_trainer.stores import shown_place

from .cpu_limit import cpu_limit
from .geometry import Targets
from .prepared import PreparedDataset, class_counts, save_prepared, slot_bytes
from .source.account import LABEL_PLACE, why_without_boxes
from .source.archive import extract
from .source.data_yaml import DataYaml, read_data_yaml
from .source.fetch import fetch
from .source.verify import VerifiedSplit, verify_splits

SINGLE_CLASS = "item"
"""YOLOv5's name of what all classes become with training.singleClass."""
EXPORT, ARCHIVE = "export", "dataset.zip"
SKIPPED = "skipped.txt"
"""Beside the prepared data set: a sentence for every image that was left out and for the dropped rows of each label
file, of which the log shows a few.
"""
GIB = 2**30
VOLUME_FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_VOLUME = (
    "The data set and its decoded images do not fit on the pod's workspace volume; "
    "use nodes with a larger disk, a smaller training.imageSize or a smaller data set."
)


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    try:
        config = RunConfig.model_validate_json(os.environ.get(CONFIG_VARIABLE, ""))
    except ValidationError as error:
        return _refuse(
            options.result, FailureReason.INVALID_CONFIGURATION, f"{CONFIG_VARIABLE}: {first_problem(error)}."
        )
    try:
        summary = prepare(config, options.output, processes=cpu_limit())
    except UserError as error:
        return _refuse(options.result, error.reason, str(error))
    except (StoreError, OSError) as error:
        # Another try would fill the same kind of volume again.
        if getattr(error, "errno", None) in VOLUME_FULL:
            return _refuse(options.result, FailureReason.INVALID_CONFIGURATION, FULL_VOLUME)
        say(f"failed, may work next time: {error}")
        return 1
    write_text_atomically(options.result, PrepareResult(summary=summary).to_json())
    return ExitCode.DONE


def prepare(config: RunConfig, output: Path, *, processes: int) -> DatasetSummary:
    """Fetch, unpack, check and decode the data set into the new folder `output`.

    Raises InvalidDataset, StoreDenied, or another StoreError or OSError that may pass.
    """
    # A restarted container finds the volume as the one before left it.
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    archive = output / ARCHIVE
    fetch(config.dataset, archive, Path(DATASET_CREDENTIALS), say)
    files = extract(archive, output / EXPORT, name=shown_place(config.dataset.shown), say=say)
    # The volume may be too small for the zip beside the decoded images.
    archive.unlink()
    say(f"unpacked {files} files")
    described = read_data_yaml(output / EXPORT)
    # A wrong folder is the commonest failure of a first run, so the log says which one was taken.
    for choice in described.choices:
        say(choice)
    return _prepare_images(described, output, config, processes)


def _prepare_images(described: DataYaml, output: Path, config: RunConfig, processes: int) -> DatasetSummary:
    training = config.training
    compressed = compressed_splits({split: len(images) for split, images in described.images.items()}, training)
    for split in compressed:
        say(
            f"{split}: {len(described.images[split])} images at {training.image_size} px may take more than the "
            f"{training.decoded_cache_gib} GiB of training.decodedCacheGib: they are kept as JPEGs and decoded anew in "
            "each epoch"
        )
    verified = verify_splits(
        described.images,
        described.files,
        output=output,
        classes=len(described.names),
        image_size=training.image_size,
        compressed=compressed,
        single_class=training.single_class,
        keypoint_columns=described.keypoint_columns,
        processes=processes,
        say=say,
    )
    require_boxes(verified["train"])
    if not config.dataset.allow_unlabelled_validation:
        require_validation_boxes(verified["val"])
    if training.require_fitness:
        require_measure(verified["val"].targets)
    splits = {split: result.split for split, result in verified.items()}
    names = trained_names(described.names, single_class=training.single_class)
    save_prepared(output, PreparedDataset(names=names, image_size=training.image_size, **splits))
    accounts = [result.account for result in verified.values()]
    skipped = [sentence for account in accounts for sentence in (*account.skipped, *account.dropped_rows)]
    (output / SKIPPED).write_text("".join(f"{sentence}\n" for sentence in skipped), encoding="utf-8")
    summary = summarise(names, verified)
    # Documents of one data set may order its classes differently: that has to be seen before anything is trained.
    print_classes(names, verified)
    for warning in summary.warnings:
        say(warning)
    return summary


def trained_names(names: list[str], *, single_class: bool) -> list[str]:
    """A data set that has one class anyway keeps its own name for it."""
    return [SINGLE_CLASS] if single_class and len(names) > 1 else names


def compressed_splits(images: Mapping[str, int], training: TrainingSpec) -> list[str]:
    """The splits, of these many images each, that are kept as JPEGs because all pixels would take too much disk.

    Counted as if every picture were a square, which needs no look at them, and is the same in each attempt. What a
    model is measured on has the first claim to stay as exact as it came.
    """
    space = training.decoded_cache_gib * GIB
    compressed = []
    for split in [split for split in ("val", "test", "train") if split in images]:
        needed = images[split] * slot_bytes(training.image_size)
        if needed <= space:
            space -= needed
        else:
            compressed.append(split)
    return compressed


def require_boxes(train: VerifiedSplit) -> None:
    """Raise InvalidDataset if there is nothing to learn."""
    if any(map(len, train.targets)):
        return
    # Where labels are there and cannot be read, their place is not what is wrong.
    advice = "" if train.account.without_usable_row else f"; {LABEL_PLACE}"
    raise InvalidDataset(f"No training image has a box: {why_without_boxes(train.account)}{advice}.")


def require_validation_boxes(val: VerifiedSplit) -> None:
    """Raise InvalidDataset if no epoch could be measured: the fitness would be 0 throughout, and best.pt any."""
    if (problem := _without_validation_boxes(val)) is not None:
        raise InvalidDataset(
            f"{problem}; put their labels right, or set dataset.allowUnlabelledValidation to train without a measure."
        )


def _without_validation_boxes(val: VerifiedSplit) -> str | None:
    if any(map(len, val.targets)):
        return None
    return f"No val image has a box, so that no epoch can be measured: {why_without_boxes(val.account)}"


def require_measure(targets: Sequence[Targets]) -> None:
    """Raise InvalidDataset if no epoch can have a fitness: a job that asks for one would be trained in vain."""
    if not any(map(len, targets)):
        raise InvalidDataset(
            "training.requireFitness asks for a fitness, which no epoch can have because no picture of the validation "
            "split has a box: label those pictures, or leave requireFitness out."
        )


def say(line: str) -> None:
    print(f"prepare: {printable(line)}", flush=True)  # noqa: T201 - a stage's log is its standard output


def _refuse(result: Path, reason: FailureReason, message: str) -> int:
    say(f"{reason}: {message}")
    failure = StageFailure(reason=reason, message=message)
    write_text_atomically(result, PrepareResult(failure=failure).to_json())
    return ExitCode.USER_ERROR


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m masktrain_trainer.data.prepare")
    parser.add_argument("--output", type=Path, required=True, help="folder for the prepared data set")
    parser.add_argument("--result", type=Path, required=True, help="JSON file for the summary or the failure")
    return parser.parse_args(arguments)


MOST_WARNINGS = 10
# A pod's log is no terminal, for which rich takes 80 columns.
TABLE_WIDTH = 100


def summarise(names: list[str], splits: Mapping[str, VerifiedSplit]) -> DatasetSummary:
    train, val = splits["train"], splits["val"]
    return DatasetSummary(
        classes=names,
        images=len(train.targets),
        boxes=sum(map(len, train.targets)),
        validation_images=len(val.targets),
        validation_boxes=sum(map(len, val.targets)),
        skipped_images=sum(len(split.skipped) for split in splits.values()),
        splits=[split.account.counts() for split in splits.values()],
        warnings=warnings_of(names, splits)[:MOST_WARNINGS],
    )


def print_classes(names: list[str], splits: Mapping[str, VerifiedSplit], console: Console | None = None) -> None:
    """Print one row per class with its number of boxes and of images that show it, per split."""
    table = Table(title="Classes, numbered as in data.yaml", title_justify="left")
    table.add_column("class", justify="right")
    table.add_column("name")
    for split in splits:
        table.add_column(f"{split} boxes", justify="right")
        table.add_column(f"{split} images", justify="right")
    counts = [class_counts(verified.targets, len(names)) for verified in splits.values()]
    for label, name in enumerate(names):
        cells = [str(count) for per_class in counts for count in per_class[label]]
        # As Text: rich would obey square brackets in a class's name.
        table.add_row(str(label), Text(name), *cells)
    totals = [str(t) for v in splits.values() for t in (sum(map(len, v.targets)), len(v.targets))]
    table.add_section()
    table.add_row("", "all", *totals)
    (console or Console(width=TABLE_WIDTH)).print(table)


def warnings_of(names: list[str], splits: Mapping[str, VerifiedSplit]) -> list[str]:
    """Oddities first: they are few, and they matter for the whole training."""
    accounts = [split.account for split in splits.values()]
    unseen = [
        name
        for name, (boxes, _) in zip(names, class_counts(splits["train"].targets, len(names)), strict=True)
        if not boxes
    ]
    unmeasured = _without_validation_boxes(splits["val"])
    duplicates = sum(account.duplicates for account in accounts)
    return [
        *([f"{unmeasured}."] if unmeasured else []),
        *(f"No training image shows the class {name!r}." for name in unseen),
        *([f"{duplicates} label rows were there twice and are left out."] if duplicates else []),
        *(sentence for account in accounts for sentence in account.oddities()),
        *(sentence for account in accounts for sentence in account.skipped),
        *(sentence for account in accounts for sentence in account.dropped_rows),
    ]


if __name__ == "__main__":
    sys.exit(main())
