"""A data set wherever it lies, as a folder; and the check of it that every training begins with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from masktrain_trainer.config import DatasetSpec, FailureReason, StoreSpec
from masktrain_trainer.data.archive import extract
from masktrain_trainer.data.cpu_limit import cpu_limit
from masktrain_trainer.data.data_yaml import DataYaml, read_data_yaml
from masktrain_trainer.data.errors import InvalidDataset
from masktrain_trainer.data.fetch import fetch
from masktrain_trainer.data.verify import VerifiedSplit, verify_split
from masktrain_trainer.train.errors import UserError

Say = Callable[[str], None]


@dataclass(frozen=True)
class CheckedDataset:
    """`splits` holds those that were asked for and that the data set has."""

    names: list[str]
    splits: dict[str, VerifiedSplit]

    @property
    def skipped(self) -> list[str]:
        return [sentence for split in self.splits.values() for sentence in split.skipped]


def open_dataset(source: str, endpoint: str | None, scratch: Path, say: Say) -> Path:
    """The folder itself, or what a zip holds, unpacked in `scratch`; a URI's zip is downloaded first.

    Raises InvalidDataset, UserError or StoreError.
    """
    path = scratch / "downloaded.zip"
    if "://" in source:
        fetch(_described(source, endpoint), path, None, say)
    else:
        path = Path(source)
    if path.is_dir():
        return path
    if not path.is_file():
        raise InvalidDataset(f"{source} does not exist; give the data set's folder, its zip or a URI.")
    extract(path, scratch / "export", name=source)
    return scratch / "export"


def check_dataset(
    root: Path,
    scratch: Path,
    say: Say,
    *,
    image_size: int,
    splits: Sequence[str] = ("train", "val", "test"),
    single_class: bool = False,
) -> CheckedDataset:
    """Look at every image and label of `splits`; decoded pixels go to `scratch`. Raises InvalidDataset."""
    described = read_data_yaml(root)
    for choice in described.choices:
        say(choice)
    found = {
        split: verify_split(
            split,
            images,
            root=root,
            output=scratch,
            classes=len(described.names),
            image_size=image_size,
            single_class=single_class,
            processes=cpu_limit(),
            say=say,
        )
        for split, images in _wanted(described, splits).items()
    }
    return CheckedDataset(described.names, found)


def _wanted(described: DataYaml, splits: Sequence[str]) -> dict[str, list[Path]]:
    return {split: images for split, images in described.images.items() if split in splits}


def _described(uri: str, endpoint: str | None) -> DatasetSpec:
    try:
        return DatasetSpec(uri=uri, store=StoreSpec(endpoint=endpoint) if endpoint else None)
    except ValueError:
        raise UserError(
            FailureReason.INVALID_CONFIGURATION,
            f"{uri} is no place for a data set; give oci://bucket@namespace/key.zip, s3://bucket/key.zip or "
            "file:///folder/name.zip.",
        ) from None
