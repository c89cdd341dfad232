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
from collections.abc import Mapping
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
from .prepared import PreparedDataset, class_counts, save_prepared, slot_bytes
from .source.archive import extract, fetch
from .source.data_yaml import DataYaml, read_data_yaml
from .source.verify import VerifiedSplit, verify_split

SINGLE_CLASS = "item"
"""YOLOv5's name of what all classes become with training.singleClass."""
EXPORT, ARCHIVE = "export", "dataset.zip"
SKIPPED = "skipped.txt"
"""Beside the prepared data set: a sentence for every image that was left out, of which the log shows a few."""
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
    files = extract(archive, output / EXPORT, name=shown_place(config.dataset.uri), say=say)
    # The volume may be too small for the zip beside the decoded images.
    archive.unlink()
    say(f"unpacked {files} files")
    described = read_data_yaml(output / EXPORT)
    # A wrong folder is the commonest failure of a first run, so the log says which one was taken.
    for choice in described.choices:
        say(choice)
    return _prepare_images(described, output, config.training, processes)


def _prepare_images(described: DataYaml, output: Path, training: TrainingSpec, processes: int) -> DatasetSummary:
    compressed = compressed_splits({split: len(images) for split, images in described.images.items()}, training)
    for split in compressed:
        say(
            f"{split}: {len(described.images[split])} images at {training.image_size} px may take more than the "
            f"{training.decoded_cache_gib} GiB of training.decodedCacheGib: they are kept as JPEGs and decoded anew in "
            "each epoch"
        )
    verified = {
        split: verify_split(
            split,
            images,
            root=output / EXPORT,
            output=output,
            classes=len(described.names),
            image_size=training.image_size,
            compress=split in compressed,
            single_class=training.single_class,
            processes=processes,
            say=say,
        )
        for split, images in described.images.items()
    }
    require_boxes(verified["train"])
    splits = {split: result.split for split, result in verified.items()}
    # A data set that has one class anyway keeps its own name for it.
    names = [SINGLE_CLASS] if training.single_class and len(described.names) > 1 else described.names
    save_prepared(output, PreparedDataset(names=names, image_size=training.image_size, **splits))
    skipped = [sentence for result in verified.values() for sentence in result.skipped]
    (output / SKIPPED).write_text("".join(f"{sentence}\n" for sentence in skipped), encoding="utf-8")
    summary = summarise(names, verified)
    # Documents of one data set may order its classes differently: that has to be seen before anything is trained.
    print_classes(names, verified)
    if summary.skipped_images:
        say(f"{summary.skipped_images} images are skipped")
    for warning in summary.warnings:
        say(warning)
    return summary


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
    if not any(map(len, train.targets)):
        raise InvalidDataset(
            "No training image has a box; the label of train/images/x.jpg belongs in train/labels/x.txt, "
            "with one line 'class x y width height' for each object."
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
        warnings=_warnings(names, splits)[:MOST_WARNINGS],
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


def _warnings(names: list[str], splits: Mapping[str, VerifiedSplit]) -> list[str]:
    """Oddities first: they are few, and they matter for the whole training."""
    unseen = [
        name
        for name, (boxes, _) in zip(names, class_counts(splits["train"].targets, len(names)), strict=True)
        if not boxes
    ]
    duplicates = sum(split.duplicates for split in splits.values())
    return [
        *(f"No training image shows the class {name!r}." for name in unseen),
        *([f"{duplicates} label rows were there twice and are left out."] if duplicates else []),
        *(sentence for split in splits.values() for sentence in split.skipped),
    ]


if __name__ == "__main__":
    sys.exit(main())
