"""Data sets on this machine: opened wherever they lie, checked, packed as a zip, and pushed to a store.

The zip is the same for the same files, so that its SHA-256 names the data and not the moment.
"""

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import yaml
from rich.console import Console

from masktrain_trainer.config import DATASET_URL_VARIABLE, DatasetSpec, StoreSpec, is_signed, shown_url
from masktrain_trainer.data.cpu_limit import cpu_limit
from masktrain_trainer.data.prepare import TABLE_WIDTH, print_classes, require_boxes, trained_names, warnings_of
from masktrain_trainer.data.source.archive import SYSTEM_CLUTTER, extract
from masktrain_trainer.data.source.data_yaml import read_data_yaml
from masktrain_trainer.data.source.fetch import fetch, fetch_link, lines_while
from masktrain_trainer.data.source.pictures import READ_SUFFIXES
from masktrain_trainer.data.source.verify import VerifiedSplit, verify_splits
from masktrain_trainer.data.source.yaml_file import folder_meant
from masktrain_trainer.errors import InvalidConfiguration, InvalidDataset
from masktrain_trainer.files import sha256_of
from masktrain_trainer.stores import Store, open_object
from masktrain_trainer.stores.web import is_link, shown_link, whole_link


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """In the user's cache, since /tmp is often memory: a data set is decoded there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "masktrain"
    cache.mkdir(parents=True, exist_ok=True)
    # Decoders of a dying pool may still write for a moment; that must not hide the error that ended it.
    with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


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
    """The folder itself (or of its data.yaml), or what a zip holds, unpacked in `scratch`; a URI's is downloaded first.

    Raises InvalidDataset, UserError or StoreError.
    """
    path = scratch / "downloaded.zip"
    if "://" in source:
        fetch(_described(source, endpoint), path, None, say)
    else:
        path = folder_meant(Path(source))
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
    found = verify_splits(
        described.images,
        root=root,
        output=scratch,
        classes=len(described.names),
        image_size=image_size,
        chosen=splits,
        single_class=single_class,
        keypoint_columns=described.keypoint_columns,
        processes=cpu_limit(),
        say=say,
    )
    return CheckedDataset(described.names, found)


_PLACES = (
    "give oci://bucket@namespace/key.zip, s3://bucket/key.zip, file:///folder/name.zip or an https:// download link."
)


def _described(uri: str, endpoint: str | None) -> DatasetSpec:
    refuse_key(uri)
    try:
        return DatasetSpec(uri=uri, store=StoreSpec(endpoint=endpoint) if endpoint else None)
    except ValueError:
        raise InvalidConfiguration(f"{shown_url(uri)} is no place for a data set; {_PLACES}") from None


def refuse_key(uri: str) -> None:
    """Raise InvalidConfiguration for a link that may carry its key and is not the environment's, which shows none."""
    if is_signed(uri) and whole_link(uri) == uri:
        raise InvalidConfiguration(
            f"{shown_url(uri)} was given with a query or a token, in which download links carry their key: put the "
            f"whole link into the environment variable {DATASET_URL_VARIABLE}, which no list of processes shows."
        )


def linked_dataset() -> str | None:
    """What may be shown of the download link in the environment. Raises InvalidConfiguration for any other text."""
    link = os.environ.get(DATASET_URL_VARIABLE, "").strip()
    if link and not is_link(link):
        raise InvalidConfiguration(f"{DATASET_URL_VARIABLE} must hold an https:// download link and nothing else.")
    return shown_link(link) if link else None


_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold."""
_MODE = 0o100644 << 16
_TEXTS = frozenset({".txt", ".yaml", ".yml", ".md"})


def zip_folder(folder: Path, archive: Path) -> None:
    """Pack the images, labels and texts of `folder`, sorted by name and without times. Images are compressed already.

    Raises InvalidDataset if there is nothing to pack, or a link leads to something else.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and _belongs(path.relative_to(folder)))
    for path in files:
        _refuse_link_outside(path, folder)
    if not files:
        raise InvalidDataset(f"{folder} holds neither images nor labels; give the folder that holds data.yaml.")
    with zipfile.ZipFile(archive, "w", strict_timestamps=False) as sink:
        for path in files:
            _add(sink, path, path.relative_to(folder).as_posix())


def _refuse_link_outside(path: Path, folder: Path) -> None:
    """A link may name a data set's file twice; whatever else it leads to is not the user's to publish by mistake."""
    if not path.is_symlink() and not any(parent.is_symlink() for parent in path.relative_to(folder).parents):
        return
    target, root = path.resolve(), folder.resolve()
    if not target.is_relative_to(root) or not _belongs(target.relative_to(root)):
        raise InvalidDataset(
            f"{path} is a link to {target}, which is no file of the data set: put a copy of it in its place, or remove "
            "the link."
        )


def as_archive(source: Path, scratch: Path) -> Path:
    """The zip at `source`, or a new one in `scratch` of the folder at `source`. Raises InvalidDataset."""
    if not source.exists():
        raise InvalidDataset(f"{source} does not exist; give the data set's folder or zip.")
    source = folder_meant(source)
    if source.is_file():
        return source.resolve()
    archive = scratch / "dataset.zip"
    zip_folder(source, archive)
    return archive


def _belongs(path: Path) -> bool:
    if any(part in SYSTEM_CLUTTER or part.startswith(".") for part in path.parts):
        return False
    return path.suffix.lower() in READ_SUFFIXES | _TEXTS


def _add(sink: zipfile.ZipFile, path: Path, name: str) -> None:
    # Time, mode and system are fixed: otherwise equal files would give another SHA-256, hence another job.
    member = zipfile.ZipInfo(name, _EPOCH)
    member.external_attr = _MODE
    # Unix, for which `external_attr` holds the mode.
    member.create_system = 3
    member.file_size = path.stat().st_size
    member.compress_type = zipfile.ZIP_DEFLATED if path.suffix.lower() in _TEXTS else zipfile.ZIP_STORED
    with path.open("rb") as source, sink.open(member, "w") as target:
        shutil.copyfileobj(source, target, 1 << 20)


_SMALL = 64
"""Side of the decoded images: they are looked at and thrown away."""


def push_dataset(
    source: Path, uri: str, endpoint: str | None, *, replace: bool, single_class: bool = False, say: Say
) -> DatasetSpec:
    """Check, pack if it is a folder, and upload; the block for the manifest.

    An object with another content stays, unless it may be replaced. Raises UserError, InvalidDataset or StoreError.
    """
    source = folder_meant(source)
    target = _target(source, uri, endpoint)
    with scratch_folder() as scratch:
        archive = as_archive(source, scratch)
        _check(source, scratch, single_class, say)
        digest = sha256_of(archive)
        store, key = open_object(target.uri or "", target.store, None)
        with lines_while(lambda seconds: f"waiting for {store.uri(key)} for {seconds:.0f} s", say):
            _upload(store, key, archive, digest, replace=replace, say=say)
    return target.model_copy(update={"sha256": digest})


def given_link(argument: str | None, typed: str) -> str:
    """The whole link of an argument, else what was typed, else that of the environment. Raises InvalidConfiguration."""
    if argument is not None:
        refuse_key(argument)
        link = whole_link(argument)
    else:
        link = typed.strip() or os.environ.get(DATASET_URL_VARIABLE, "").strip()
    if not is_link(link):
        raise InvalidConfiguration(
            "There is no data set to push: give a folder or a zip, or an https:// download link and nothing else in "
            f"{DATASET_URL_VARIABLE} or, with -, on standard input."
        )
    return link


def push_link(
    link: str, uri: str, endpoint: str | None, *, replace: bool, single_class: bool = False, say: Say
) -> DatasetSpec:
    """`push_dataset` of the zip behind a download link, of which nothing is said but what may be shown."""
    shown = shown_link(link)
    name = PurePosixPath(urlsplit(shown).path).name.removesuffix(".zip")
    with scratch_folder() as scratch:
        source = scratch / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('.-') or 'dataset'}.zip"
        _target(source, uri, endpoint)  # raises before the download
        fetch_link(link, shown, source, say)
        return push_dataset(source, uri, endpoint, replace=replace, single_class=single_class, say=say)


def as_block(dataset: DatasetSpec) -> str:
    """YAML to paste below `spec:`."""
    document = {"dataset": dataset.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)}
    return yaml.safe_dump(document, sort_keys=False)


def _target(source: Path, uri: str, endpoint: str | None) -> DatasetSpec:
    """A URI that ends with a slash is a folder, in which the object is called like the source."""
    whole = f"{uri}{source.resolve().name.removesuffix('.zip')}.zip" if uri.endswith("/") else uri
    refusal = InvalidConfiguration(
        f"{shown_url(uri)} is no place for a data set to be pushed to; give oci://bucket@namespace/key.zip, "
        "s3://bucket/key.zip or file:///folder/name.zip.",
    )
    if whole.startswith("https://"):
        raise refusal
    try:
        return DatasetSpec(uri=whole, store=StoreSpec(endpoint=endpoint) if endpoint else None)
    except ValueError:
        raise refusal from None


def _check(source: Path, scratch: Path, single_class: bool, say: Say) -> None:
    """Validation without labels is only said: it is the job that allows it."""
    root = open_dataset(str(source), None, scratch, say)
    checked = check_dataset(root, scratch, say, image_size=_SMALL, single_class=single_class)
    require_boxes(checked.splits["train"])
    names = trained_names(checked.names, single_class=single_class)
    print_classes(names, checked.splits, Console(stderr=True, width=TABLE_WIDTH))
    for sentence in warnings_of(names, checked.splits):
        say(sentence)


def _upload(store: Store, key: str, archive: Path, digest: str, *, replace: bool, say: Say) -> None:
    there = store.head(key)
    if there is not None and there.sha256 == digest:
        say(f"{store.uri(key)} holds this data set already")
        return
    if there is not None and not replace:
        raise InvalidDataset(
            f"{store.uri(key)} exists and is another data set; choose another name, or replace it with --replace."
        )
    store.put(key, archive, sha256=digest)
    say(f"uploaded {archive.stat().st_size / (1 << 20):.1f} MiB to {store.uri(key)}")
