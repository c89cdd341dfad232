"""Pictures and videos that lie on a disk, or will when their turn comes: one, those of a folder, a pattern, a list."""

import glob
import os
import shutil
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, takewhile
from pathlib import Path, PurePath
from threading import Event
from typing import Final

from masktrain_trainer.data.geometry import Image
from masktrain_trainer.data.source.file_list import is_clutter
from masktrain_trainer.data.source.pictures import LIKELY_PICTURES, READ_SUFFIXES, UnreadablePicture, read_picture
from masktrain_trainer.errors import InvalidConfiguration, StoreError, UserError
from masktrain_trainer.files import RESULTS_MARK

from .base import Frame, Kind, Medium, Skipped, SourceOptions
from .containers import look_at
from .video import VIDEO_SUFFIXES, Video, open_video

PICTURE_SUFFIXES: Final = READ_SUFFIXES | LIKELY_PICTURES
_EXAMPLES: Final = ".jpg, .png, .webp, .mp4, .mkv, .avi, .webm and others"
_LONGEST_PART: Final = 200
"""Bytes of a file's or folder's name among results: systems take 255, and results add endings."""
_LONGEST_SUFFIX: Final = 10


@dataclass(frozen=True)
class FoundFile:
    """A picture's or a video's file, the name that its results get, and where it comes from, as people read it.

    `fetch` writes it to `path` if it is not there yet; it raises UserError or StoreError. `line`: of the list that
    names it.
    """

    path: Path
    name: PurePath
    origin: str
    fetch: Callable[[Path], None] | None = None
    line: int | None = None


@dataclass(frozen=True)
class _UnreadFolder:
    path: Path
    reason: str

    @classmethod
    def of(cls, error: OSError) -> "_UnreadFolder":
        return cls(Path(os.fsdecode(error.filename)), error.strerror or "no reason")

    def __str__(self) -> str:
        return f"The folder {self.path} cannot be read: {self.reason}."


class Files:
    """A source of files, one after another.

    `alone`: the file is the one thing that was asked for, so what is wrong with it is an error, and it is fetched and
    opened at once. `scratch`: a folder that goes when the source is closed, or has come to its end. `unread`: folders
    whose files are not among them, said first.
    """

    live = False

    def __init__(
        self,
        files: Sequence[FoundFile],
        options: SourceOptions,
        *,
        alone: bool = False,
        scratch: Path | None = None,
        unread: Sequence[_UnreadFolder] = (),
    ) -> None:
        self._files, self._options, self._alone, self._unread = files, options, alone, unread
        # Also at the interpreter's end: what was downloaded may have gigabytes.
        self._clean_up = weakref.finalize(self, shutil.rmtree, scratch or "", ignore_errors=True) if scratch else None
        self._closed = Event()
        self._first = _open(files[0], options, alone=True) if alone else None
        self._video = self._first if isinstance(self._first, Video) else None

    @property
    def paths(self) -> Sequence[Path]:
        """Of all files, those that are still to be fetched among them."""
        return [file.path for file in self._files]

    @property
    def frames(self) -> int | None:
        """Of one file, or of pictures; opening many videos to count would keep everybody waiting."""
        if self._first is not None:
            return self._first.medium.frames
        return len(self._files) if all(file.path.suffix.lower() in PICTURE_SUFFIXES for file in self._files) else None

    def __iter__(self) -> Iterator[Frame | Skipped]:
        try:
            yield from (Skipped(str(folder)) for folder in self._unread)
            for file in self._files:
                if self._closed.is_set():
                    return
                yield from self._frames_of(file)
        finally:
            self._remove_scratch()

    def close(self) -> None:
        self._closed.set()
        if (video := self._video) is not None:
            video.close()
        self._remove_scratch()

    def _frames_of(self, file: FoundFile) -> Iterator[Frame | Skipped]:
        try:
            opened = self._first or _open(file, self._options, alone=False)
        except (UserError, StoreError) as error:
            yield Skipped(str(error) if file.line is None else f"Line {file.line}: {error}")
            return
        if isinstance(opened, Frame):
            yield opened
        else:
            self._video = opened
            if self._closed.is_set():  # between the look above and now
                opened.close()
            yield from opened
        if file.fetch is not None:
            file.path.unlink(missing_ok=True)

    def _remove_scratch(self) -> None:
        if self._clean_up is not None:
            self._clean_up()


def _open(file: FoundFile, options: SourceOptions, *, alone: bool) -> Frame | Video:
    """Raises UserError and StoreError, with a sentence each."""
    if file.fetch is not None:
        file.fetch(file.path)
    suffix = file.path.suffix.lower()
    if suffix in LIKELY_PICTURES and not alone:
        # By its ending, as in training: of many a raw file of a camera the thumbnail could be read.
        raise InvalidConfiguration(f"{file.origin} is of a kind that is not read; save it as JPEG or PNG.")
    try:
        if suffix in VIDEO_SUFFIXES or (suffix not in PICTURE_SUFFIXES and look_at(file.path).kind is not None):
            return open_video(file.path, file.name, file.origin, options)
        pixels_HWC: Image | UnreadablePicture = read_picture(file.path)
    except OSError as error:
        raise InvalidConfiguration(f"{file.origin} cannot be read: {error.strerror}.") from None
    if isinstance(pixels_HWC, UnreadablePicture):
        kind = "image" if suffix in PICTURE_SUFFIXES else "image or video"
        raise InvalidConfiguration(f"{file.origin} is not a readable {kind}: {pixels_HWC.reason}.")
    return Frame(Medium(file.name, Kind.PICTURE, file.origin, frames=1), 0, 0.0, pixels_HWC)


def file_source(path: Path, options: SourceOptions) -> Files:
    """One picture or video. Raises UserError."""
    (name,) = unique_names([PurePath(path.absolute().name)])
    return Files([FoundFile(path, name, str(path))], options, alone=True)


def folder_source(folder: Path, options: SourceOptions) -> Files:
    """The pictures and videos at any depth, by name. Raises InvalidConfiguration if there are none.

    Folders with results of an earlier run are passed over: they hold the same pictures with boxes on them.
    """
    unread: list[_UnreadFolder] = []
    # Sorted, since the order of a folder differs from one file system to the next.
    # A link to nothing is named, too; what is neither, a pipe for instance, would be waited for.
    files = sorted(path for path in _files_below(folder, unread) if _may_be_read(path))
    if any(each.path == folder for each in unread):
        raise InvalidConfiguration(str(unread[0]))
    return _found(files, folder, f"The folder {folder} holds", options, unread)


def pattern_source(pattern: str, options: SourceOptions) -> Files:
    """The pictures and videos that a pattern of a shell matches, with `**` for folders at any depth.

    Raises InvalidConfiguration if there are none. Sub-folders below the part without a wildcard are kept.
    """
    root = _fixed_part(pattern)
    # Path.glob takes no pattern with a root, and counts hidden names as matches.
    matches = {Path(match) for match in glob.iglob(pattern, recursive=True)}  # noqa: PTH207
    files = sorted(path for path in matches if _may_be_read(path) and not _in_results(path, root))
    unread = _unread_by(pattern)
    if matches and not files:
        raise InvalidConfiguration(f"{pattern} matches folders only; end it with /* or /**, or give one of them.")
    if not files:
        raise InvalidConfiguration(
            f"Nothing matches {pattern}; ** stands for folders at any depth, and quotes keep the shell from it."
            f"{_as_well(unread)}"
        )
    return _found(files, root, f"What matches {pattern} is", options, unread)


def list_source(files: Sequence[FoundFile], options: SourceOptions, scratch: Path | None = None) -> Files:
    """What a list names, in its order; results of local files keep the folders below the one that all are in."""
    folders = [file.path.absolute().parent for file in files if file.fetch is None]
    root = Path(os.path.commonpath(folders)) if folders else Path()
    wanted = [file.name if file.fetch else file.path.absolute().relative_to(root) for file in files]
    named = [replace(file, name=name) for file, name in zip(files, unique_names(wanted), strict=True)]
    return Files(named, options, scratch=scratch)


def unique_names(wanted: Iterable[PurePath]) -> list[PurePath]:
    """For each a relative path that no other has, and that leads out of no folder that it is put into.

    As wanted where that can be, else numbered; none is the folder of another.
    """
    files: set[PurePath] = set()
    folders: set[PurePath] = {PurePath()}
    names = []
    for path in wanted:
        candidates = _candidates(_inside(path), files)
        name = next(each for each in candidates if each not in files | folders and files.isdisjoint(each.parents))
        files.add(name)
        folders.update(name.parents)
        names.append(name)
    return names


def _candidates(name: PurePath, files: set[PurePath]) -> Iterator[PurePath]:
    yield name
    if files.isdisjoint(name.parents):
        yield from (name.with_name(f"{name.stem}-{number}{name.suffix}") for number in count(2))
    yield from (PurePath(str(number), name) for number in count(2))


def _inside(path: PurePath) -> PurePath:
    parts = [part for part in path.parts if part not in (path.anchor, "..")]
    return PurePath(*map(_shortened, parts)) if parts else PurePath("unnamed")


def _shortened(part: str) -> str:
    whole = part.encode("utf-8", "surrogatepass")
    if len(whole) <= _LONGEST_PART:
        return part
    suffix = PurePath(part).suffix if len(PurePath(part).suffix) <= _LONGEST_SUFFIX else ""
    return whole[: _LONGEST_PART - 4 * len(suffix)].decode("utf-8", "ignore") + suffix


def _found(
    files: Sequence[Path], root: Path, beginning: str, options: SourceOptions, unread: Sequence[_UnreadFolder]
) -> Files:
    """`beginning`: of the sentence that says that none of them is a picture or video."""
    if not any(path.suffix.lower() in READ_SUFFIXES | VIDEO_SUFFIXES for path in files):
        others = _other_kinds(files)
        raise InvalidConfiguration(f"{beginning} no image or video ({_EXAMPLES}){others}.{_as_well(unread)}")
    # Those of other kinds become a line that says so.
    taken = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES]
    names = unique_names(Path(os.path.relpath(path, root)) for path in taken)
    found = [FoundFile(path, name, str(path)) for path, name in zip(taken, names, strict=True)]
    return Files(found, options, unread=unread)


def _other_kinds(files: Sequence[Path]) -> str:
    others = [path for path in files if path.suffix.lower() in LIKELY_PICTURES]
    return f"; {others[0]} is one of {len(others)} of other kinds: save them as JPEG or PNG" if others else ""


def _as_well(unread: Sequence[_UnreadFolder]) -> str:
    """Behind a sentence that says that nothing was found."""
    return f" {unread[0]}" if unread else ""


def _may_be_read(path: Path) -> bool:
    return _is_file(path) or not _exists(path)


# Path's own questions raise where a folder may be listed and not entered.


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110


def _files_below(source: Path, unread: list[_UnreadFolder]) -> Iterator[Path]:
    """Links to folders are followed, each folder once: they may lead to one around them. `unread` is added to."""
    seen = {source.resolve()}

    def refuse(error: OSError) -> None:
        unread.append(_UnreadFolder.of(error))

    for folder, folders, names in os.walk(source, onerror=refuse, followlinks=True):
        here = Path(folder)
        folders[:] = [name for name in sorted(folders) if not is_clutter(name) and _is_new(here / name, seen)]
        yield from (here / name for name in names if not is_clutter(name))


def _unread_by(pattern: str) -> list[_UnreadFolder]:
    """The folders that a pattern would look into and cannot, about which glob is silent."""
    parts = Path(pattern).parts
    unread: dict[Path, _UnreadFolder] = {}
    for place, part in enumerate(parts):
        if glob.has_magic(part):
            above = str(Path(*parts[:place], "**" if part == "**" else "", ""))
            for folder in glob.iglob(above, recursive=True):  # noqa: PTH207 - as the pattern itself is matched
                if _is_folder(folder) and (found := _refused(folder)) is not None:
                    unread[found.path] = found
    return list(unread.values())


def _refused(folder: str) -> _UnreadFolder | None:
    try:
        os.scandir(folder).close()
    except OSError as error:
        return _UnreadFolder.of(error)
    return None


def _is_new(folder: Path, seen: set[Path]) -> bool:
    real = folder.resolve()
    if real in seen or _exists(folder / RESULTS_MARK):
        return False
    seen.add(real)
    return True


def _fixed_part(pattern: str) -> Path:
    """The folders before the first wildcard."""
    parts = Path(pattern).parts
    fixed = list(takewhile(lambda part: not glob.has_magic(part), parts))
    return Path(*fixed[: len(parts) - 1])


def _in_results(path: Path, root: Path) -> bool:
    """Whether a folder between the two holds results of an earlier run."""
    between = takewhile(lambda folder: folder != root, path.parents)
    return any(_exists(folder / RESULTS_MARK) for folder in between)
