"""Where results go: the folder of a run, files in it that nothing else has, and one sentence where a disk is full."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePath

from masktrain_trainer.errors import InvalidConfiguration, UnwritableResults
from masktrain_trainer.files import RESULTS_MARK, claimed_output, finished_whole, make_results_folder

HOLDS = "the pictures with boxes"
_OF_A_SERIES = re.compile(r"(.+)_[1-9][0-9]*", re.DOTALL)
SPARE_BYTES = 1 << 20
"""Bytes that are left on a disk: the end of a video, by which players find their way in it, must find room."""


@dataclass(frozen=True)
class Destination:
    """The folder that is asked for. `overwrite`: results of an earlier run there are replaced.

    `told`: whether a person gave it by name, and is to hear of another one.
    """

    folder: Path
    overwrite: bool = False
    told: bool = True

    @contextmanager
    def claimed(self) -> Iterator[Path]:
        """The folder itself if nothing lies there, else a numbered one beside it: nothing is ever overwritten, nor
        shared with another run. What nothing was written to is gone again at the end.

        With `overwrite` it is the folder itself, if it holds results. Raises InvalidConfiguration, UnwritableResults.
        """
        if self._is_replaced:
            yield self.folder
            return
        with ExitStack() as stack:
            with writing(self.folder):
                folder = stack.enter_context(claimed_output(self.folder, HOLDS))
            if folder != self.folder and self.overwrite:
                raise InvalidConfiguration(
                    f"{self.folder} holds other things than results, and --exist-ok is not to overwrite them; leave it "
                    "out, and a numbered folder beside it is taken."
                )
            yield folder

    @property
    def _is_replaced(self) -> bool:
        return self.overwrite and (self.folder / RESULTS_MARK).exists()

    def refuse_source_inside(self, files: Iterable[Path]) -> None:
        """Raises InvalidConfiguration if one of the source's files lies where results are overwritten."""
        if not self._is_replaced:
            return
        folder = self.folder.resolve()
        inside = next((file for file in files if file.resolve().is_relative_to(folder)), None)
        if inside is not None:
            raise InvalidConfiguration(
                f"{inside} lies in {self.folder}, where --exist-ok would overwrite it; give another --output."
            )


class FreeNames:
    """Names below a folder, each given once: two pictures of one name, but for the ending, have labels of their own.

    A series is a name with `_1`, `_2` and so on behind it, however far it goes: the frames of a video.
    """

    def __init__(self) -> None:
        self._given: set[str] = set()
        self._series: set[str] = set()
        self._taken_from: set[str] = set()
        """Names of series that can no longer be, because one of their members was given alone."""
        self._numbers: dict[PurePath, int] = {}
        """The last number that was put behind a name: a frame may have a thousand crops."""

    def give(self, *wanted: PurePath) -> PurePath:
        """The first of `wanted` that is free, else the last with a number behind its stem."""
        name = next(name for name in self._candidates(wanted) if self._is_free(_key(name)))
        self._given.add(_key(name))
        if member := _OF_A_SERIES.fullmatch(_key(name)):
            self._taken_from.add(member[1])
        return name

    def give_series(self, *wanted: PurePath) -> PurePath:
        """The same for the name that numbers are put behind."""
        free = (name for name in self._candidates(wanted) if self._is_free(_key(name)))
        name = next(name for name in free if _key(name) not in self._taken_from)
        self._given.add(_key(name))
        self._series.add(_key(name))
        return name

    def _candidates(self, wanted: Sequence[PurePath]) -> Iterator[PurePath]:
        yield from wanted
        last = wanted[-1]
        for number in count(self._numbers.get(last, 1) + 1):
            self._numbers[last] = number
            yield last.with_name(f"{last.stem}-{number}{last.suffix}")

    def _is_free(self, key: str) -> bool:
        member = _OF_A_SERIES.fullmatch(key)
        return key not in self._given and (member is None or member[1] not in self._series)


def _key(name: PurePath) -> str:
    """Without regard to case, as on disks of Macs and Windows."""
    return str(name).casefold()


def write_whole(root: Path, path: Path, content: bytes) -> None:
    """A file below the folder of results `root`; it is there whole or not at all. Raises UnwritableResults."""
    with writing(path):
        make_results_folder(root)
        with finished_whole(path) as unfinished:
            unfinished.write_bytes(content)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make one sentence of what the disk refuses. Raises UnwritableResults."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error.strerror or str(error)) from None


def unwritable(path: Path, reason: str) -> UnwritableResults:
    return UnwritableResults(f"{path} cannot be written: {reason}; what was written before it is kept.")


def require_space(path: Path) -> None:
    """Raises UnwritableResults before the disk is full: some writers would go on without a word."""
    with writing(path):
        disk = os.statvfs(path.parent)
    if disk.f_bavail * disk.f_frsize < SPARE_BYTES:
        raise unwritable(path, "No space left on device")
