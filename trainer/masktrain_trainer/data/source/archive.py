"""The data set's zip: download it from its store, compare its SHA-256, and unpack it without trusting it.

Everything that the zip's directory says is checked before the first byte is written; nothing is ever written outside
the destination.
"""

from __future__ import annotations

import errno
import lzma
import shutil
import stat
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from masktrain_trainer.config import DatasetSpec
from masktrain_trainer.errors import InvalidDataset, ObjectMissing, UserError
from masktrain_trainer.files import sha256_of
from masktrain_trainer.stores import open_object

MIB = 1 << 20
SECONDS_BETWEEN_LINES = 5.0


def fetch(dataset: DatasetSpec, destination: Path, credentials: Path | None, say: Callable[[str], None]) -> None:
    """Download `dataset.uri` to the file `destination` and compare its SHA-256 with the one asked for, if any.

    Raises InvalidDataset if the object does not exist or is another one, and StoreError if the store fails.
    """
    store, key = open_object(dataset.uri, dataset.store, credentials)
    info = store.head(key)
    if info is None:
        raise _missing(dataset.uri)
    say(f"downloading {dataset.uri} ({info.size / MIB:.1f} MiB)")
    start = time.monotonic()
    try:
        with _growth_reported(destination.parent, info.size, say):
            store.download(key, destination)
    except ObjectMissing:  # deleted since it was looked at
        raise _missing(dataset.uri) from None
    seconds = time.monotonic() - start
    say(f"downloaded in {seconds:.1f} s ({info.size / MIB / max(seconds, 1e-3):.0f} MiB/s)")
    if dataset.sha256 is not None:
        check_sha256(destination, dataset.sha256, dataset.uri)


def check_sha256(path: Path, expected: str, name: str) -> None:
    """Raise InvalidDataset unless the file's SHA-256 is `expected`."""
    actual = sha256_of(path)
    if actual != expected:
        raise InvalidDataset(
            f"{name} has the SHA-256 {actual}, but dataset.sha256 asks for {expected}; it was replaced or damaged."
        )


@contextmanager
def _growth_reported(folder: Path, total: int, say: Callable[[str], None]) -> Iterator[None]:
    """Say now and then how much of a download has arrived in `folder`, whatever the unfinished file is called."""
    done = threading.Event()

    def report() -> None:
        while not done.wait(SECONDS_BETWEEN_LINES):
            arrived = sum(path.stat().st_size for path in folder.iterdir())
            say(f"downloaded {arrived / MIB:.0f} of {total / MIB:.0f} MiB")

    # A thread, because an SDK's download call does not come back before its end.
    reporter = threading.Thread(target=report, name="download-progress", daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()


def _missing(uri: str) -> InvalidDataset:
    return InvalidDataset(f"{uri} does not exist; upload the zip, or correct dataset.uri.")


GIB = 1 << 30
COPY_BYTES = 1 << 20
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
TRANSIENT_ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)
"""Errors of the volume, not of the zip."""
# What macOS and Windows put into zips: __MACOSX holds files that have the names of images and are none.
SYSTEM_CLUTTER = ("__MACOSX", ".DS_Store", "Thumbs.db")


@dataclass(frozen=True)
class ArchiveLimits:
    """What an honest data set stays far below. Photographs hardly compress; a bomb is mostly compression."""

    members: int = 4_000_000
    unpacked_bytes: int = 1024 * GIB
    ratio: int = 100
    """Unpacked bytes per packed byte, once more than `ratio_from_bytes` would be unpacked."""
    ratio_from_bytes: int = 64 << 20


@dataclass(frozen=True)
class Member:
    """A file of the archive and the path, relative to the destination, that it is written to."""

    info: zipfile.ZipInfo
    path: PurePosixPath


def extract(archive: Path, destination: Path, *, name: str, limits: ArchiveLimits | None = None) -> int:
    """Unpack `archive` into the new folder `destination`; returns the number of files.

    `name` is what the user calls the archive. Raises InvalidDataset, with nothing written outside `destination`.
    """
    limits = limits or ArchiveLimits()
    try:
        with zipfile.ZipFile(archive) as opened:
            members = list(_checked_members(opened, name, limits))
            destination.mkdir(parents=True)
            _check_space(members, destination, name)
            for member in members:
                _unpack_member(opened, member, destination, name)
    except UserError:
        raise
    # The last five: names that are no text or are empty, versions of the format that do not exist, fields cut off.
    except (*DAMAGE, UnicodeDecodeError, IndexError, NotImplementedError, OverflowError, struct.error) as error:
        raise _not_a_zip(archive, name, error) from None
    return len(members)


def _checked_members(archive: zipfile.ZipFile, name: str, limits: ArchiveLimits) -> Iterator[Member]:
    infos = archive.infolist()
    _check_size(infos, name, limits)
    for info in infos:
        path = _safe_path(info, name)
        if not info.is_dir() and not set(path.parts) & set(SYSTEM_CLUTTER):
            yield Member(info, path)


def _check_size(infos: list[zipfile.ZipInfo], name: str, limits: ArchiveLimits) -> None:
    if len(infos) > limits.members:
        raise InvalidDataset(f"{name} has {len(infos):,} members, more than the limit of {limits.members:,}.")
    unpacked, packed = sum(info.file_size for info in infos), sum(info.compress_size for info in infos)
    if unpacked > limits.unpacked_bytes:
        raise InvalidDataset(
            f"{name} would unpack to {_gib(unpacked)}, more than the limit of {_gib(limits.unpacked_bytes)}."
        )
    # Small zips of text may compress more than a hundredfold and harm nobody, hence the lower bound.
    if unpacked > limits.ratio_from_bytes and unpacked > limits.ratio * packed:
        raise InvalidDataset(
            f"{name} would unpack to {unpacked / max(packed, 1):,.0f} times its size ({_gib(unpacked)}), more than the "
            f"limit of {limits.ratio} times; images do not compress like that, so it is taken for a zip bomb."
        )


def _safe_path(info: zipfile.ZipInfo, name: str) -> PurePosixPath:
    """Where a member goes; backslashes, which some Windows tools write, separate folders too."""
    plain = info.filename.replace("\\", "/")
    path = PurePosixPath(plain)
    # A drive letter of Windows is a plain name to PurePosixPath.
    if path.is_absolute() or plain[1:2] == ":":
        raise InvalidDataset(
            f"{name} has the member {info.filename!r} with an absolute path; make the zip again without it."
        )
    if ".." in path.parts:
        raise InvalidDataset(
            f"{name} has the member {info.filename!r} that points outside the zip; make the zip again without it."
        )
    # The upper half holds the Unix mode, and is 0 in zips that were written on Windows.
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InvalidDataset(
            f"{name} has the member {info.filename!r}, a link or device; store the file itself in the zip."
        )
    if info.flag_bits & 0x1:
        raise InvalidDataset(f"{name} is encrypted (member {info.filename!r}); make the zip again without a password.")
    return path


def _check_space(members: list[Member], destination: Path, name: str) -> None:
    needed, free = sum(member.info.file_size for member in members), shutil.disk_usage(destination).free
    if needed > free:
        raise InvalidDataset(
            f"{name} would unpack to {_gib(needed)}, but the pod's workspace volume has {_gib(free)} free; "
            "use nodes with a larger disk or a smaller data set."
        )


def _unpack_member(archive: zipfile.ZipFile, member: Member, destination: Path, name: str) -> None:
    target = destination / member.path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # "x": two members of one name, perhaps by case or backslash, must not overwrite each other.
        with archive.open(member.info) as source, target.open("xb") as sink:
            shutil.copyfileobj(source, sink, COPY_BYTES)
    except DAMAGE:
        raise InvalidDataset(
            f"{name} is damaged: its member {member.info.filename!r} cannot be unpacked; upload it again."
        ) from None
    except NotImplementedError:
        raise InvalidDataset(
            f"{name} packs {member.info.filename!r} with an unsupported method; make the zip again with 'deflate'."
        ) from None
    except (FileExistsError, NotADirectoryError):
        raise InvalidDataset(
            f"{name} has the member {member.info.filename!r} twice; make the zip again with one of them."
        ) from None
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in TRANSIENT_ERRORS:
            raise
        raise InvalidDataset(
            f"{name} has the member {member.info.filename!r} whose name cannot be used here; rename it."
        ) from None


def _not_a_zip(archive: Path, name: str, error: Exception) -> InvalidDataset:
    with archive.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"PK":
        return InvalidDataset(f"{name} is a damaged zip ({error}); upload it again.")
    return InvalidDataset(f"{name} is not a zip file; export the data set as 'YOLOv5 PyTorch' zip and upload that.")


def _gib(size: int) -> str:
    return f"{size / GIB:,.1f} GiB"
