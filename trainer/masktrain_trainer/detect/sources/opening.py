"""From what a person gives as `--source` to the source: a file, a folder, an address, a camera, the screen, a list."""

import glob
import mimetypes
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Final
from urllib.parse import unquote, urlsplit

from masktrain_trainer.config import StoreSpec, shown_url
from masktrain_trainer.errors import InvalidConfiguration, ObjectMissing, StoreUnavailable
from masktrain_trainer.stores import open_object
from masktrain_trainer.stores.web import Head, NotTheFile, Refused, download, look

from .base import Source, SourceOptions
from .files import PICTURE_SUFFIXES, Files, FoundFile, file_source, folder_source, list_source, pattern_source
from .lists import ListLine, read_list
from .video import VIDEO_SUFFIXES

KINDS: Final = (
    "an image or a video, a folder or a pattern of them, an http:// or https:// address, a page of YouTube or Twitch, "
    "an rtsp:// or rtmp:// stream, an s3:// or oci:// object, the number of a camera, screen, or a .txt file with one "
    "of them a line"
)
LARGEST_MEDIUM: Final = 64 << 30
_LIVE_SCHEMES: Final = frozenset({"rtmp", "rtmps", "rtsp", "rtsps", "tcp", "udp"})
_LIVE_TYPES: Final = frozenset(
    {"application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl"}
    | {"multipart/x-mixed-replace"}
)
_PAGE_TYPES: Final = frozenset({"application/xhtml+xml", "text/html"})
_PAGES: Final = re.compile(r"(.*\.)?(youtube\.com|youtube-nocookie\.com|youtu\.be|twitch\.tv)")
"""Hosts whose addresses lead to pages that hold a video, whatever they end in."""
_ADDRESS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_SCREEN: Final = re.compile(r"screen(\s+-?\d+)*", re.ASCII)
_CAMERA: Final = re.compile(r"(?:/dev/video)?(\d{1,4})", re.ASCII)
_LIST_SUFFIXES: Final = frozenset({".streams", ".txt"})


def open_source(text: str, options: SourceOptions = SourceOptions()) -> Source:  # noqa: B008 - frozen
    """The source that `text` names. Raises UserError for what cannot be opened, StoreError for what may pass.

    A file that is there comes before a pattern of the same letters; `./screen` and `./0` are files, too.
    """
    text = text.strip()
    if found := _CAMERA.fullmatch(text):
        from .streams import open_webcam  # noqa: PLC0415 - files need no part of what is live

        return open_webcam(int(found[1]), options)
    if _SCREEN.fullmatch(text):
        from .screen import open_screen  # noqa: PLC0415 - its library is an extra

        return open_screen(text, options)
    if found := _ADDRESS.match(text):
        return _open_address(text, found[1].lower(), options)
    return _open_place(text, options)


def _open_address(text: str, scheme: str, options: SourceOptions) -> Source:
    if scheme in _LIVE_SCHEMES:
        return _open_stream(text, options)
    if scheme in ("http", "https"):
        return _open_web(text, options)
    if scheme in ("s3", "oci"):
        return _fetched(_object(text, options), options)
    if scheme == "file":
        return _open_place(_path_of(text), options)
    raise InvalidConfiguration(f"--source {scheme}://… is of a kind that is not read; give {KINDS}.")


def _open_stream(url: str, options: SourceOptions) -> Source:
    from .streams import open_stream  # noqa: PLC0415 - files need no part of what is live

    return open_stream(url, options)


def _open_page(url: str, options: SourceOptions) -> Source:
    from .pages import open_page  # noqa: PLC0415 - its library is an extra, and takes a second to import

    return open_page(url, options)


def _open_place(text: str, options: SourceOptions) -> Source:
    if not text:
        raise InvalidConfiguration(f"--source is empty; give {KINDS}.")
    path = _expanded(text)
    try:
        if path.is_dir():
            return folder_source(path, options)
        if path.is_file():
            if path.suffix.lower() in _LIST_SUFFIXES:
                return _open_list(path, options)
            return file_source(path, options)
        there = path.exists()
    except OSError as error:
        raise InvalidConfiguration(f"{text} cannot be opened: {error.strerror}.") from None
    if there:
        raise InvalidConfiguration(f"{path} is neither a file nor a folder; give {KINDS}.")
    if glob.has_magic(text):
        return pattern_source(str(path), options)
    raise InvalidConfiguration(f"{_without_login(text)} does not exist; give {KINDS}.")


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # of a user who is not there: then it is a file's name
        return Path(text)


def _open_web(url: str, options: SourceOptions) -> Source:
    """What the server says that it sends comes before what the address ends in: `video.mp4` may be a page about it."""
    host, suffix = _host_and_suffix(url)
    if _PAGES.fullmatch(host):
        return _open_page(url, options)
    if suffix == ".m3u8":
        return _open_stream(url, options)
    with _refusals(url):
        head = look(url, plain=True)
    if head.media_type in _LIVE_TYPES or _is_endless(head, suffix):
        return _open_stream(url, options)
    if head.media_type in _PAGE_TYPES:
        return _open_page(url, options)
    return _fetched(_web_file(url, mimetypes.guess_extension(head.media_type) or ""), options)


def _is_endless(head: Head, suffix: str) -> bool:
    """A camera, or a programme that sends, says no length; neither does many a server of files, whose names end."""
    return (
        head.length is None
        and suffix not in PICTURE_SUFFIXES | VIDEO_SUFFIXES
        and not head.media_type.startswith(("image/", "text/"))
    )


def _host_and_suffix(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise InvalidConfiguration(f"{shown_url(url)} is not an address.") from None
    return host, PurePath(unquote(parts.path)).suffix.lower()


@contextmanager
def _refusals(url: str) -> Iterator[None]:
    """What a server's refusal means to who gave the address."""
    try:
        yield
    except Refused as error:
        given = "@" in urlsplit(url).netloc
        advice = "correct the login in it" if given else "give a login in it (https://user:password@…), or another one"
        raise InvalidConfiguration(f"{shown_url(url)} {error}: look at the address, and {advice}.") from None
    except NotTheFile as error:
        raise InvalidConfiguration(f"{shown_url(url)} {error}; correct --source.") from None


def _web_file(url: str, suffix: str = "") -> FoundFile:
    """`suffix` is taken where the address ends in none of a picture or a video."""

    def fetch(path: Path) -> None:
        try:
            with _refusals(url):
                download(url, path, largest=LARGEST_MEDIUM, plain=True)
        except OSError as error:
            raise StoreUnavailable(f"{shown_url(url)} cannot be downloaded: {error.strerror}.") from None

    _, own = _host_and_suffix(url)
    name = _name_in(shown_url(url)) + ("" if own in PICTURE_SUFFIXES | VIDEO_SUFFIXES else suffix)
    return FoundFile(Path(), PurePath(name), shown_url(url), fetch)


def _object(uri: str, options: SourceOptions) -> FoundFile:
    name = _name_in(uri)
    if uri.endswith("/"):
        raise InvalidConfiguration(f"{uri} is a prefix; give the address of one image or video.")

    def fetch(path: Path) -> None:
        store, key = open_object(uri, StoreSpec(endpoint=options.endpoint), None)
        try:
            store.download(key, path)
        except ObjectMissing:
            raise InvalidConfiguration(f"{uri} does not exist; correct --source.") from None
        except OSError as error:
            raise StoreUnavailable(f"{uri} cannot be downloaded: {error.strerror}.") from None

    return FoundFile(Path(), PurePath(name), uri, fetch)


def _name_in(address: str) -> str:
    """The last part of an address, as a file may be called."""
    last = unquote(address.partition("://")[2].rstrip("/").rpartition("/")[2])
    return re.sub(r"[\x00-\x1f\x7f/\\]", "_", last).strip(". ") or "download"


def _fetched(file: FoundFile, options: SourceOptions) -> Files:
    scratch = Path(tempfile.mkdtemp(prefix="masktrain-"))
    return Files([_in_scratch(file, scratch, 0)], options, alone=True, scratch=scratch)


def _in_scratch(file: FoundFile, scratch: Path, number: int) -> FoundFile:
    # Not under its own name, which may be too long for a file's.
    return replace(file, path=scratch / f"{number}{file.name.suffix}")


def _open_list(path: Path, options: SourceOptions) -> Source:
    """A list of streams, all of them at once, or of images and videos, one after another."""
    lines = read_list(path)
    live = [line for line in lines if _is_live(line.text)]
    lying = [line for line in lines if not _is_live(line.text) and not _is_web_file(line.text)]
    if live and lying and path.suffix.lower() != ".streams":
        raise InvalidConfiguration(
            f"{path} names streams, such as {_shown(live[0])}, and files, such as {_shown(lying[0])}; make two lists "
            "of it."
        )
    if live or path.suffix.lower() == ".streams":
        from .several import open_several  # noqa: PLC0415 - files need no part of what is live

        return open_several(lines, options)
    return _open_files_of_list(path, lines, options)


def _shown(line: ListLine) -> str:
    """With its place, and without a login."""
    return f"{_without_login(line.text)} (line {line.number})"


def _without_login(text: str) -> str:
    """Also of an address that is misspelt, or of a scheme that nothing here reads."""
    return re.sub(r"(:/*)[^@\s]*@", r"\1…@", shown_url(text))


def _open_files_of_list(path: Path, lines: Sequence[ListLine], options: SourceOptions) -> Files:
    found = [_listed(line, path, options) for line in lines]
    if all(file.fetch is None and not file.path.exists() for file in found):
        raise InvalidConfiguration(
            f"None of the files that {path} names exists, such as {_shown(lines[0])}: they are looked for beside the "
            "list and in the current folder."
        )
    if all(file.fetch is None for file in found):
        return list_source(found, options)
    scratch = Path(tempfile.mkdtemp(prefix="masktrain-"))
    here = [_in_scratch(file, scratch, number) if file.fetch else file for number, file in enumerate(found)]
    return list_source(here, options, scratch)


def _listed(line: ListLine, path: Path, options: SourceOptions) -> FoundFile:
    return replace(_named_by(line, path, options), line=line.number)


def _named_by(line: ListLine, path: Path, options: SourceOptions) -> FoundFile:
    if _is_web_file(line.text):
        return _web_file(line.text)
    found = _ADDRESS.match(line.text)
    scheme = found[1].lower() if found else ""
    if scheme in ("s3", "oci"):
        return _object(line.text, options)
    if scheme not in ("", "file"):
        raise InvalidConfiguration(f"Line {line.number} of {path}: {scheme}://… is of a kind that is not read.")
    named = _expanded(_path_of(line.text) if scheme else line.text)
    beside = path.parent / named
    lying = beside if beside.exists() else named
    return FoundFile(lying, PurePath(lying.name), str(lying))


def _path_of(uri: str) -> str:
    return unquote(urlsplit(uri).path, errors="surrogateescape")


def _is_live(line: str) -> bool:
    """Whether a line of a list can only be something that plays now."""
    if _CAMERA.fullmatch(line) or _SCREEN.fullmatch(line):
        return True
    found = _ADDRESS.match(line)
    scheme = found[1].lower() if found else ""
    return scheme in _LIVE_SCHEMES or (scheme in ("http", "https") and not _is_web_file(line))


def _is_web_file(line: str) -> bool:
    """By its ending: each line would have to be asked for, and a list may have thousands."""
    if not line.lower().startswith(("http://", "https://")):
        return False
    host, suffix = _host_and_suffix(line)
    return suffix in PICTURE_SUFFIXES | VIDEO_SUFFIXES and not _PAGES.fullmatch(host)
