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
from masktrain_trainer.data.source.archive import extract
from masktrain_trainer.data.source.data_yaml import read_data_yaml
from masktrain_trainer.data.source.fetch import fetch, fetch_link
from masktrain_trainer.data.source.file_list import FileList, left_out_line, list_files, usual_label
from masktrain_trainer.data.source.pictures import LIKELY_PICTURES, READ_SUFFIXES
from masktrain_trainer.data.source.verify import VerifiedSplit, verify_splits
from masktrain_trainer.data.source.yaml_file import folder_meant
from masktrain_trainer.errors import InvalidConfiguration, InvalidDataset
from masktrain_trainer.files import sha256_of
from masktrain_trainer.stores import Store, lines_while, open_object, shown_place
from masktrain_trainer.stores.web import is_link, shown_link, whole_link


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """In the user's cache, since /tmp is often memory: a data set is decoded there."""
    cache = _cache() / "masktrain"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Decoders of a dying pool may still write for a moment; that must not hide the error that ended it.
        folder = tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True)
    except OSError as error:
        raise InvalidConfiguration(
            f"{cache} cannot be used ({error.strerror}); set XDG_CACHE_HOME to a folder that can be written to."
        ) from None
    with folder as name:
        yield Path(name)


def _cache() -> Path:
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # Any other path counts as unset: https://specifications.freedesktop.org/basedir-spec/latest/
    if named.is_absolute():
        return named
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # a user without a name and without HOME
        return Path(tempfile.gettempdir())


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
        path = given_place(Path(source))
    if path.is_dir():
        for remark in list_files(path).remarks():
            say(remark)
        return path
    extract(path, scratch / "export", name=source, say=say)
    return scratch / "export"


_YAML_SUFFIXES = frozenset({".yaml", ".yml"})


def given_place(source: Path) -> Path:
    """The folder or zip at `source`; a data.yaml stands for its folder, as YOLOv5 has it. Raises InvalidDataset."""
    if source.is_dir():
        return source
    if not source.is_file():
        problem = "is no file" if source.exists() else "does not exist"
        raise InvalidDataset(f"{source} {problem}; give the data set's folder, its zip or a URI.")
    return folder_meant(source)


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
        described.files,
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
_PACKED = READ_SUFFIXES | LIKELY_PICTURES | _TEXTS
"""Also pictures that are not read: where the zip is read they are counted and named, as in the folder."""
_UNCLEAN = re.compile("[\udc80-\udcff\\\\]")
"""Bytes that are no UTF-8, as Python holds them in file names; and what separates folders in some zips."""


def zip_folder(folder: Path, archive: Path, say: Say = lambda _: None, *, to_publish: bool = True) -> None:
    """Pack the images, labels and texts of `folder`, sorted by name and without times. Images are compressed already.

    What is left out `say` is told. Raises InvalidDataset if there is nothing to pack, or if, `to_publish`, a link leads
    to what is no file of the data set.
    """
    files = list_files(folder)
    if to_publish:
        _refuse_links_outside(files)
    for remark in (*files.remarks(), *_not_packed(files)):
        say(remark)
    members = _members(files)
    if not members:
        raise InvalidDataset(f"{folder} holds neither images nor labels; give the folder that holds data.yaml.")
    if not any(name.suffix.lower() in _YAML_SUFFIXES for name in files.files):
        # The folder tells better than its zip would what it is instead.
        read_data_yaml(folder)
    with zipfile.ZipFile(archive, "w", strict_timestamps=False) as sink:
        for name, path in members.items():
            _add(sink, path, name)


def _refuse_links_outside(files: FileList) -> None:
    """A link may name a data set's file twice; whatever else it leads to is not the user's to publish by mistake."""
    outside = [(entry.name, entry.about) for entry in files.left_out if entry.leads_out]
    inside = [(name, str(files.path(real))) for name, real in files.links.items() if not _belongs(real)]
    # Of a file that would not be packed anyway nothing is published; what is behind a folder's link nobody knows.
    for name, target in (pair for pair in (*outside, *inside) if _belongs(pair[0]) or Path(pair[1]).is_dir()):
        raise InvalidDataset(
            f"{files.path(name)} is a link to {target}, which is no file of the data set: put a copy of it in its "
            "place, or remove the link."
        )


def _members(files: FileList) -> dict[str, Path]:
    """Names in the zip, in order, and the files behind them."""
    members: dict[str, Path] = {}
    # By parts, as paths are compared: another order would be another zip, hence another SHA-256 and another job.
    for name in sorted(filter(_belongs, files.files), key=lambda name: name.parts):
        _add_member(members, name, name, files)
        if name in files.links and name.suffix.lower() not in _TEXTS and files.label_by_name(name) is None:
            label = files.label_of(name)
            if label is not None:
                # In the zip the picture is a file like any other: nothing would lead to the label of what it was.
                _add_member(members, usual_label(name), label, files)
    return members


def _add_member(members: dict[str, Path], name: PurePosixPath, file: PurePosixPath, files: FileList) -> None:
    clean, path = _clean(name), files.path(file)
    if members.setdefault(clean, path) != path:
        raise InvalidDataset(f"{path} would be called {clean} in a zip, as {members[clean]} is; rename one of them.")


def _clean(name: PurePosixPath) -> str:
    """As a zip can hold it: bytes that are no UTF-8, and backslashes, as %E9."""
    return _UNCLEAN.sub(lambda found: f"%{ord(found[0]) & 0xFF:02X}", str(name))


def as_archive(source: Path, scratch: Path, say: Say = lambda _: None, *, to_publish: bool = False) -> Path:
    """The zip at `source`, or a new one in `scratch` of the folder at `source`: see `zip_folder`."""
    place = given_place(source)
    if place.is_file():
        return place.resolve()
    archive = scratch / "dataset.zip"
    zip_folder(place, archive, say, to_publish=to_publish)
    return archive


def _not_packed(files: FileList) -> list[str]:
    names = [str(name) for name in files.files if not _belongs(name)]
    return [left_out_line("neither pictures that are read nor texts", names)] if names else []


def _belongs(name: PurePosixPath) -> bool:
    return name.suffix.lower() in _PACKED


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
    """Pack if it is a folder, check, and upload; the block for the manifest.

    An object with another content stays, unless it may be replaced. Raises UserError, InvalidDataset or StoreError.
    """
    target = _target(given_place(source), uri, endpoint)
    with scratch_folder() as scratch:
        archive = as_archive(source, scratch, say, to_publish=True)
        _check(archive, source, scratch, single_class, say)
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
    name = re.sub(r"\.zip$", "", source.resolve().name, flags=re.IGNORECASE)
    whole = f"{uri}{name}.zip" if uri.endswith("/") else uri
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


def _check(archive: Path, source: Path, scratch: Path, single_class: bool, say: Say) -> None:
    """Look at the zip as the pods will, and not at the folder that it was made of.

    Validation without labels is only said: it is the job that allows it.
    """
    root = scratch / "export"
    extract(archive, root, name=str(source), say=say)
    checked = check_dataset(root, scratch, say, image_size=_SMALL, single_class=single_class)
    require_boxes(checked.splits["train"])
    names = trained_names(checked.names, single_class=single_class)
    print_classes(names, checked.splits, Console(stderr=True, width=TABLE_WIDTH))
    for sentence in warnings_of(names, checked.splits):
        say(sentence)


def _upload(store: Store, key: str, archive: Path, digest: str, *, replace: bool, say: Say) -> None:
    there, place = store.head(key), shown_place(store.uri(key))
    if there is not None and there.sha256 == digest:
        say(f"{place} holds this data set already")
        return
    if there is not None and not replace:
        raise InvalidDataset(
            f"{place} exists and is another data set; choose another name, or replace it with --replace."
        )
    store.put(key, archive, sha256=digest)
    say(f"uploaded {archive.stat().st_size / (1 << 20):.1f} MiB to {place}")
