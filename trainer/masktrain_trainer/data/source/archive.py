"""The data set's zip: unpack it without trusting it.

Everything that the zip's directory says is checked before the first byte is written; nothing is ever written outside
the destination.
"""

from __future__ import annotations

import errno
import lzma
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from masktrain_trainer.errors import InvalidDataset
from masktrain_trainer.files import RESULTS_MARK

from .file_list import Why, is_clutter, left_out_line, list_files
from .pictures import pixels_in_header

GIB = 1 << 30
COPY_BYTES = 1 << 20
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
DAMAGE_NUMBERS = (None, errno.EINVAL)
"""Of an OSError that is none: bzip2's, which has no number, and a place before the file's beginning."""
TRANSIENT_ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)
"""Errors of the volume, not of the zip."""
LONGEST_LINK = 4096
"""Bytes of a link's target, of which Linux takes no more."""
_ENCRYPTED, _UTF8 = 0x1, 0x800
"""Flags of a member: its content is encrypted, its name is UTF-8."""
_DOS_FOLDER = 0x10
_DRIVE = re.compile(r"[A-Za-z]:/")


@dataclass(frozen=True)
class ArchiveLimits:
    """What an honest data set stays far below. Photographs hardly compress; a bomb is mostly compression."""

    members: int = 4_000_000
    unpacked_bytes: int = 1024 * GIB
    ratio: int = 100
    """Unpacked bytes per packed byte, once more than `ratio_from_bytes` would be unpacked. Pictures that are no larger
    than their pixels do not count: drawings and masks compress a thousandfold.
    """
    ratio_from_bytes: int = 64 << 20


BYTES_PER_PIXEL = 8
"""Of the deepest picture that is read: four channels of 16 bits."""
BYTES_BESIDE_PIXELS = 1 << 20
"""Of a picture's header, profile and preview."""


@dataclass(frozen=True)
class Member:
    """A file or link of the archive and the path, relative to the destination, that it is written to."""

    info: zipfile.ZipInfo
    path: PurePosixPath

    @property
    def kind(self) -> int:
        """As in a Unix mode; 0 in zips that were written on Windows."""
        return stat.S_IFMT(self.info.external_attr >> 16)

    @property
    def is_folder(self) -> bool:
        if self.info.filename.endswith(("/", "\\")):
            return True
        marked = self.kind == stat.S_IFDIR or (self.kind == 0 and self.info.external_attr & _DOS_FOLDER)
        return bool(marked) and self.info.file_size == 0


def extract(
    archive: Path,
    destination: Path,
    *,
    name: str,
    limits: ArchiveLimits | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Unpack `archive` into the new folder `destination`; returns the number of files.

    `name` is what the user calls the archive. Hidden names and results are left out, which `say` is told. Raises
    InvalidDataset, with nothing written outside `destination`.
    """
    limits = limits or ArchiveLimits()
    try:
        with zipfile.ZipFile(archive) as opened:
            files, links, left_out = _sorted_members(opened, name, limits)
            _check_size(opened, files, name, limits)
            destination.mkdir(parents=True)
            _check_space(files, destination, name)
            for member in files:
                _unpack_member(opened, member, destination, name)
            _make_links(opened, links, destination, name)
    # The last: names that are no text or are empty, versions of the format that do not exist, fields cut off.
    except (*DAMAGE, ValueError, IndexError, NotImplementedError, OverflowError, struct.error) as error:
        raise _not_a_zip(archive, name, error) from None
    except OSError as error:
        if error.errno not in DAMAGE_NUMBERS:
            raise
        raise _not_a_zip(archive, name, error) from None
    for why, names in left_out.items():
        if names and say is not None:
            say(left_out_line(why, sorted(names)))
    return len(files) + len(links)


def _sorted_members(
    archive: zipfile.ZipFile, name: str, limits: ArchiveLimits
) -> tuple[list[Member], list[Member], dict[Why, set[str]]]:
    """Files, links, and the names that are left out, as a walk through a folder would name them."""
    infos = archive.infolist()
    if len(infos) > limits.members:
        raise InvalidDataset(
            f"{name} has {len(infos):,} members, more than the limit of {limits.members:,}; leave out what is neither "
            "picture nor label."
        )
    files, links = list[Member](), list[Member]()
    left_out: dict[Why, set[str]] = {Why.HIDDEN: set(), Why.RESULTS: set()}
    members = [Member(info, _safe_path(info, name)) for info in infos]
    results = {each.path.parent for each in members if each.path.name == RESULTS_MARK and len(each.path.parts) > 1}
    for member in members:
        parts = member.path.parts
        clutter = next((position for position, part in enumerate(parts, 1) if is_clutter(part)), None)
        # The outermost, as a walk does not look into it.
        of_results = next((each for each in reversed(member.path.parents) if each in results), None)
        if of_results is not None and not any(map(is_clutter, of_results.parts)):
            left_out[Why.RESULTS].add(str(of_results))
        elif clutter is not None:
            left_out[Why.HIDDEN].add("/".join(parts[:clutter]))
        elif not member.is_folder:
            _check_kind(member, name)
            (links if member.kind == stat.S_IFLNK else files).append(member)
    _refuse_collisions([*files, *links], name)
    return files, links, left_out


def _check_kind(member: Member, name: str) -> None:
    if member.kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        raise InvalidDataset(
            f"{name} has the member {str(member.path)!r}, a device or the like; make the zip again without it."
        )
    if member.info.flag_bits & _ENCRYPTED:
        raise InvalidDataset(
            f"{name} is encrypted (member {str(member.path)!r}); make the zip again without a password."
        )


def _refuse_collisions(members: list[Member], name: str) -> None:
    """Two members that would be one file: whichever was written last would be the data."""
    taken: dict[PurePosixPath, str] = {}
    for member in members:
        if member.path in taken:
            raise _twice(name, taken[member.path], member.info.filename)
        taken[member.path] = member.info.filename
    for folder in {parent for place in {path.parent for path in taken} for parent in (place, *place.parents)}:
        if folder in taken:
            raise _twice(name, taken[folder], f"{taken[folder]}/")


def _twice(name: str, first: str, second: str) -> InvalidDataset:
    as_what = "" if first == second else f", the second time as {second!r}"
    return InvalidDataset(f"{name} has the member {first!r} twice{as_what}; make the zip again with one of them.")


def _check_size(archive: zipfile.ZipFile, members: list[Member], name: str, limits: ArchiveLimits) -> None:
    unpacked, packed = _sizes(members)
    if unpacked > limits.unpacked_bytes:
        raise InvalidDataset(
            f"{name} would unpack to {_gib(unpacked)}, more than the limit of {_gib(limits.unpacked_bytes)}; "
            "make it smaller pictures, or several data sets."
        )
    if not _too_compressed(unpacked, packed, limits):
        return
    unpacked, packed = _sizes([each for each in members if not _is_flat_picture(archive, each, limits, name)])
    if _too_compressed(unpacked, packed, limits):
        raise InvalidDataset(
            f"{name} would unpack to {unpacked / max(packed, 1):,.0f} times its size ({_gib(unpacked)}, pictures that "
            f"are no larger than their pixels not counted), more than the limit of {limits.ratio} times, and is taken "
            "for a zip bomb; leave out what is neither picture nor label, or store it uncompressed (zip -0)."
        )


def _sizes(members: list[Member]) -> tuple[int, int]:
    return sum(each.info.file_size for each in members), sum(each.info.compress_size for each in members)


def _too_compressed(unpacked: int, packed: int, limits: ArchiveLimits) -> bool:
    # Small zips of text may compress more than a hundredfold and harm nobody, hence the lower bound.
    return unpacked > limits.ratio_from_bytes and unpacked > limits.ratio * packed


def _is_flat_picture(archive: zipfile.ZipFile, member: Member, limits: ArchiveLimits, name: str) -> bool:
    """Whether the file compresses that well because it is a picture of few colours, by its header."""
    if member.info.file_size <= limits.ratio * member.info.compress_size:
        return False
    with _damage_said(member, name), archive.open(member.info) as file:
        pixels = pixels_in_header(file)
    return pixels is not None and member.info.file_size <= pixels * BYTES_PER_PIXEL + BYTES_BESIDE_PIXELS


def _safe_path(info: zipfile.ZipInfo, name: str) -> PurePosixPath:
    """Where a member goes; backslashes, which some Windows tools write, separate folders too."""
    plain = _decoded(info).replace("\\", "/")
    path = PurePosixPath(plain)
    # A drive letter of Windows is a plain name to PurePosixPath.
    if path.is_absolute() or _DRIVE.match(plain):
        raise InvalidDataset(
            f"{name} has the member {info.filename!r} with an absolute path; make the zip again without it."
        )
    if not plain:
        raise InvalidDataset(f"{name} has a member without a name; make the zip again without it.")
    if ".." in path.parts:
        raise InvalidDataset(
            f"{name} has the member {info.filename!r} that points outside the zip; make the zip again without it."
        )
    return path


def _decoded(info: zipfile.ZipInfo) -> str:
    """Its name; some tools, the Finder of macOS among them, write UTF-8 and do not say so."""
    if not info.flag_bits & _UTF8 and not info.filename.isascii():
        with suppress(UnicodeError):
            return info.filename.encode("cp437").decode("utf-8")
    return info.filename


def _check_space(members: list[Member], destination: Path, name: str) -> None:
    needed, free = _sizes(members)[0], shutil.disk_usage(destination).free
    if needed > free:
        raise InvalidDataset(
            f"{name} would unpack to {_gib(needed)}, but {_gib(free)} are free where it is unpacked; use a larger disk "
            "(in a cluster, nodes with one) or a smaller data set."
        )


def _unpack_member(archive: zipfile.ZipFile, member: Member, destination: Path, name: str) -> None:
    target = destination / member.path
    with _name_refused(member, name):
        target.parent.mkdir(parents=True, exist_ok=True)
        # "x": where a file system takes two names for one, they must not overwrite each other.
        sink = target.open("xb")
    with sink, _damage_said(member, name), archive.open(member.info) as source:
        shutil.copyfileobj(source, sink, COPY_BYTES)


def _make_links(archive: zipfile.ZipFile, links: list[Member], destination: Path, name: str) -> None:
    """Make the links that `zip -y` stores; what they lead to must be in the zip.

    After all files and folders, so that nothing is written through one of them.
    """
    for member in links:
        with _name_refused(member, name):
            (destination / member.path).parent.mkdir(parents=True, exist_ok=True)
    targets = {member.path: _target(archive, member, name) for member in links}
    for member in links:
        with _name_refused(member, name):
            (destination / member.path).symlink_to(targets[member.path])
    if links:
        astray = {entry.name for entry in list_files(destination).left_out if entry.why in (Why.OUTSIDE, Why.NOWHERE)}
        for path in (path for path in targets if path in astray):
            raise _leads_out(name, path, targets[path])


def _target(archive: zipfile.ZipFile, member: Member, name: str) -> str:
    with _damage_said(member, name), archive.open(member.info) as file:
        content = file.read(LONGEST_LINK + 1)
    target = content.decode("utf-8", "surrogateescape").replace("\\", "/")
    if len(content) > LONGEST_LINK or not target or "\0" in target or target.startswith("/"):
        raise _leads_out(name, member.path, target[:LONGEST_LINK])
    return target


def _leads_out(name: str, path: PurePosixPath, target: str) -> InvalidDataset:
    return InvalidDataset(
        f"{name} has the member {str(path)!r}, a link to {target!r}, which is not in the zip; "
        "store the file itself in its place (zip without -y)."
    )


@contextmanager
def _damage_said(member: Member, name: str) -> Iterator[None]:
    damaged = InvalidDataset(
        f"{name} is damaged: its member {member.info.filename!r} cannot be unpacked; upload it again."
    )
    try:
        yield
    except (*DAMAGE, struct.error, ValueError):
        raise damaged from None
    except OSError as error:
        if error.errno not in DAMAGE_NUMBERS:
            raise
        raise damaged from None
    except NotImplementedError:
        raise InvalidDataset(
            f"{name} packs {member.info.filename!r} with an unsupported method; make the zip again with 'deflate'."
        ) from None


@contextmanager
def _name_refused(member: Member, name: str) -> Iterator[None]:
    """Where the file system says no to a name."""
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        raise _twice(name, member.info.filename, member.info.filename) from None
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
