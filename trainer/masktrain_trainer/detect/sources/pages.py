"""Pages with a video: YouTube, Twitch, and what else yt-dlp knows.

A finished video is downloaded first, so that its frames are all there and can be gone through at any speed; a live one
is read as the stream that it is.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from masktrain_trainer.config import shown_text, shown_url
from masktrain_trainer.errors import InvalidConfiguration

from .base import Frame, Skipped, Source, SourceOptions
from .streams import open_stream

if TYPE_CHECKING:
    from yt_dlp import YoutubeDL

    from .video import Video

PAGE_HOSTS = ("youtube.com", "youtu.be", "youtube-nocookie.com", "twitch.tv")
"""Whose addresses are pages, with what stands before them."""
TALLEST = 1080
"""Detectors look at 640 pixels or 1280; more is only slow."""
UNREAD_CODEC = "av01"
"""AV1, which OpenCV's FFmpeg cannot decode without a graphics card."""
FINISHED_FORMATS = "/".join(
    (
        f"bv*[height<=?{TALLEST}][vcodec!^=?{UNREAD_CODEC}]",
        f"wv*[vcodec!^=?{UNREAD_CODEC}]",
        "bv*",
    )
)
"""In yt-dlp's words: the best video, with or without sound; the lowest if all are taller."""
PREFERENCES = (f"res:{TALLEST}", "vcodec:h264", "proto")
"""H.264 is decoded fastest; one file is more certain to come than many parts."""
MOST_REASON = 160
"""Characters of yt-dlp's own words."""
LONGEST_TITLE = 60

# What yt-dlp's reasons mean, the first that fits.
MEANINGS = (
    ("drm", "is protected against copies"),
    (
        "premieres in|live event will begin|not yet (?:started|begun)|upcoming|is offline|not currently live",
        "has not begun, or is not live now",
    ),
    ("confirm your age|age.restrict|inappropriate for some|adult content", "is for grown-ups who are logged in"),
    ("private", "is private"),
    (
        "geo.?restrict|in your country|available (?:in|from) your (?:country|location)",
        "is not shown in this country",
    ),
    ("sign in|log ?in|members|subscriber|password|registered users|40[13]:|cookies", "is for those who are logged in"),
    (
        "removed|terminated|does not exist|no longer available|deleted|video unavailable|not available|404:",
        "is not there, or no longer",
    ),
    ("no space left", "finds no space on the disk"),
    ("resolve|timed? ?out|connection|unreachable|network|certificate|ssl|http error 5", "cannot be reached"),
    ("unsupported url|no video", "is a web page on which yt-dlp finds no video"),
)


_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_ADVICE = re.compile(r"; please report|\s*\(caused by|\. (?:Use --|See |Confirm you|Also see)|\n")


def is_page(url: str) -> bool:
    """Whether the address is one of PAGE_HOSTS."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    host = f".{parts.hostname or ''}"
    return parts.scheme.lower() in ("http", "https") and host.endswith(tuple(f".{known}" for known in PAGE_HOSTS))


def open_page(url: str, options: SourceOptions) -> Source:
    """The one video of a page; a finished one is downloaded first. Raises UserError."""
    shown = shown_url(url)
    folder = tempfile.TemporaryDirectory(prefix="masktrain-page-")
    try:
        with youtube_dl(Path(folder.name), options) as downloader:
            info = _one_video(_ask(downloader, url, shown), shown)
            if not is_stream_of(info):
                return Downloaded(download(downloader, info, shown, options), folder)
    except BaseException:  # also a Ctrl-C in the middle of a download
        folder.cleanup()
        raise
    folder.cleanup()
    name, origin = PurePath(medium_name(info)), page_origin(info, shown)
    return open_stream(stream_address(info, shown), options, name=name, origin=origin)


def is_stream_of(info: Mapping[str, Any]) -> bool:
    """A live video; also HLS of which the page does not say whether it has an end: it is seen when it is opened."""
    unknown = info.get("is_live") is None and str(info.get("protocol", "")).startswith("m3u8")
    return bool(info.get("is_live")) or unknown


def _library() -> ModuleType:
    try:
        import yt_dlp  # noqa: PLC0415 - an extra

        library: ModuleType = yt_dlp
    except ImportError:
        raise InvalidConfiguration(
            "Pages with videos are read by yt-dlp, which is not installed: pip install 'masktrain[trainer,media]'."
        ) from None
    return library


def youtube_dl(folder: Path, options: SourceOptions) -> "YoutubeDL":
    library = _library()
    # Code from folders beside yt-dlp's own; there is no setting of one downloader for it.
    library.globals.plugin_dirs.value = []
    return library.YoutubeDL(
        {
            "logger": _Silent(),
            "quiet": True,
            "no_warnings": True,
            "noprogress": True,
            "color": "never",
            "cachedir": False,
            "noplaylist": True,
            "playlist_items": "1:2",
            "extract_flat": "in_playlist",
            "format": FINISHED_FORMATS,
            "format_sort": list(PREFERENCES),
            "outtmpl": {"default": str(folder / "video.%(ext)s")},
            # Nothing is merged or mended by an ffmpeg that may not be there.
            "fixup": "never",
            "hls_prefer_native": True,
            "socket_timeout": options.timeout_seconds,
            "retries": 3,
            "fragment_retries": 3,
            "extractor_retries": 1,
            "overwrites": True,
        }
    )


class _Silent:
    """Errors come as exceptions, whose words become ours."""

    def debug(self, message: str) -> None: ...

    def info(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None: ...


def _ask(downloader: "YoutubeDL", url: str, shown: str) -> Mapping[str, Any]:
    try:
        return downloader.extract_info(url, download=False) or {}
    except (_library().utils.YoutubeDLError, OSError, ValueError) as error:
        _hang_up(error)
        raise InvalidConfiguration(objection(shown, str(error))) from None


def _hang_up(error: Exception) -> None:
    """A refusal holds the server's answer, which nobody reads."""
    _, told, _ = getattr(error, "exc_info", None) or (None, None, None)
    # yt-dlp hands on what its own error was made of, if it was made of one.
    for refusal in (told, getattr(told, "cause", None)):
        if isinstance(refusal, _library().networking.exceptions.HTTPError):
            refusal.close()


def _one_video(info: Mapping[str, Any], shown: str) -> Mapping[str, Any]:
    """What yt-dlp says of the page's video. Raises InvalidConfiguration if there are several, or none."""
    if info.get("_type") not in ("playlist", "multi_video"):
        if not info.get("url") and not info.get("formats") and not info.get("requested_formats"):
            raise InvalidConfiguration(objection(shown, "no video"))
        return info
    entries = [entry for entry in info.get("entries") or () if entry]
    if len(entries) != 1 or not entries[0].get("formats"):
        raise InvalidConfiguration(f"{shown} is a list of videos: give the address of one of them.")
    return dict(entries[0])


def download(downloader: "YoutubeDL", info: Mapping[str, Any], shown: str, options: SourceOptions) -> "Video":
    """The format that FINISHED_FORMATS choose, in the downloader's folder. Raises UserError."""
    from .video import open_video  # noqa: PLC0415 - a page that is live needs none of it

    try:
        done = downloader.process_ie_result(dict(info), download=True)
    except (_library().utils.YoutubeDLError, OSError) as error:
        _hang_up(error)
        raise InvalidConfiguration(objection(shown, str(error))) from None
    path = Path(done["requested_downloads"][0]["filepath"])
    name = PurePath(f"{medium_name(info)}{path.suffix}")
    return open_video(path, name, page_origin(info, shown), options)


def stream_address(info: Mapping[str, Any], shown: str) -> str:
    """Of the best HLS stream up to TALLEST that OpenCV can read, else the lowest; yt-dlp has the best last.

    Raises InvalidConfiguration.
    """
    streams = [
        found
        for found in info.get("formats") or (info,)
        if str(found.get("protocol", "")).startswith("m3u8")
        and found.get("vcodec") != "none"
        and not str(found.get("vcodec")).startswith(UNREAD_CODEC)
    ]
    if not streams:
        raise InvalidConfiguration(f"{shown} is live, but not as HLS, which is what can be read.")
    fitting = [found for found in streams if (found.get("height") or 0) <= TALLEST]
    return str((fitting[-1] if fitting else streams[0])["url"])


def medium_name(info: Mapping[str, Any]) -> str:
    """`A-walk-in-the-city-dQw4w9WgXcQ`, without an ending."""
    title = re.sub(r"[^\w.-]+", "-", str(info.get("title") or "video"))[:LONGEST_TITLE].strip("-.")
    identity = re.sub(r"[^\w-]+", "-", str(info.get("id") or ""))[:LONGEST_TITLE].strip("-")
    return "-".join(filter(None, (title, identity if identity != title else ""))) or "video"


def page_origin(info: Mapping[str, Any], shown: str) -> str:
    title = info.get("title")
    return f"{shown} ({title})" if title else shown


def objection(shown: str, words: str) -> str:
    """One sentence of ours with yt-dlp's reason, shortened."""
    reason = shorten(words)
    for pattern, meaning in MEANINGS:
        if re.search(pattern, reason, re.IGNORECASE):
            return f"The video of {shown} {meaning} (yt-dlp: {reason})."
    return f"The video of {shown} cannot be had (yt-dlp: {reason or 'no reason'})."


def shorten(words: str) -> str:
    """yt-dlp's reason without colours, the names of its parts, addresses' keys, advice about itself, and causes."""
    words = _COLOUR.sub("", words).strip().removeprefix("ERROR:").strip()
    # Which of its parts speaks, and of which video: of a page it does not know that is the end of the address.
    words = re.sub(r"^\[[^\]]+\] (?:\S+: )?", "", words)
    words = shown_text(_ADVICE.split(words)[0]).strip().rstrip(".;: ")
    return words if len(words) <= MOST_REASON else words[:MOST_REASON].rsplit(" ", 1)[0] + " …"


class Downloaded:
    """A video in a folder that goes with it."""

    def __init__(self, video: "Video", folder: "tempfile.TemporaryDirectory[str]") -> None:
        self._video = video
        self._folder = folder

    live = False

    @property
    def frames(self) -> int | None:
        return self._video.medium.frames

    def __iter__(self) -> Iterator[Frame | Skipped]:
        try:
            yield from self._video
        finally:
            self.close()

    def close(self) -> None:
        self._video.close()
        self._folder.cleanup()
