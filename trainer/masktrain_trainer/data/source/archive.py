"""The data set's zip: unpack it without trusting it.

Everything that the zip's directory says is checked before the first byte is written; nothing is ever written outside
the destination.
"""

from __future__ import annotations

import errno
import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from masktrain_trainer.errors import InvalidDataset, UserError

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
    if what := other_than_zip(archive):
        return InvalidDataset(f"{name} {what}.")
    return InvalidDataset(f"{name} is not a zip file; export the data set as 'YOLOv5 PyTorch' zip and upload that.")


_PAGES = (b"<!doctype html", b"<html", b"<head", b"<body")
_ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"Rar!": "RAR",
    b"7z\xbc\xaf": "7z",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


def other_than_zip(path: Path) -> str | None:
    """What the file is in place of a zip, where its first bytes tell, as the rest of a sentence that begins with it."""
    if zipfile.is_zipfile(path):
        return None
    with path.open("rb") as file:
        start = file.read(1024)
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(_PAGES) or (text.startswith((b"<!--", b"<?xml")) and b"<html" in text):
        return "is a web page, not a zip; give the address of the zip itself, not that of a console, a login or a page"
    if text.startswith((b"<?xml", b"<error")):
        return "is an answer in XML, not a zip; what it says in it is why the zip did not come"
    if text.startswith((b"{", b"[")):
        return "is a text in JSON, not a zip; give the download link that stands in it"
    if text.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not a zip; fetch the file itself with 'git lfs pull'"
    kind = next((kind for magic, kind in _ARCHIVES.items() if start.startswith(magic)), None)
    kind = "tar" if start[257:262] == b"ustar" else kind
    return None if kind is None else f"is not a zip file but packed with {kind}; pack the data set as a zip"


def _gib(size: int) -> str:
    return f"{size / GIB:,.1f} GiB"
