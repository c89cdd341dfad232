"""Which video of a page is taken, and yt-dlp's reasons in our words.

YouTube is not asked: YOUTUBE is a fixture, written by hand after what yt-dlp's extractor for YouTube answers, with its
keys, its names of formats and codecs, and addresses that lead nowhere.
"""

import sys
from pathlib import Path
from typing import Any

import pytest
from yt_dlp.networking.exceptions import TransportError
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError, UnsupportedError

from masktrain_trainer.detect.sources.base import SourceOptions
from masktrain_trainer.detect.sources.pages import (
    is_page,
    is_stream_of,
    medium_name,
    objection,
    open_page,
    page_origin,
    shorten,
    stream_address,
    youtube_dl,
)
from masktrain_trainer.errors import InvalidConfiguration

SHOWN = "https://www.youtube.com/watch"


def video(number: str, height: int, codec: str, sound: str = "none", protocol: str = "https") -> dict[str, Any]:
    return {
        "format_id": number,
        "url": f"{protocol.partition('_')[0].replace('m3u8', 'https')}://video.invalid/{number}",
        "ext": "mp4" if codec.startswith(("avc1", "av01")) else "webm",
        "height": height,
        "width": height * 16 // 9,
        "fps": 30,
        "vcodec": codec,
        "acodec": sound,
        "protocol": protocol,
    }


FORMATS = {
    "140": {**video("140", 0, "none", "mp4a.40.2"), "height": None, "width": None, "fps": None, "ext": "m4a"},
    "18": video("18", 360, "avc1.42001E", "mp4a.40.2"),
    "136": video("136", 720, "avc1.64001f"),
    "398": video("398", 720, "av01.0.05M.08"),
    "137": video("137", 1080, "avc1.640028"),
    "248": video("248", 1080, "vp09.00.40.08"),
    "399": video("399", 1080, "av01.0.08M.08"),
    "313": video("313", 2160, "vp09.00.50.08"),
}


def youtube(*formats: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "aBcDeFgHiJk",
        "title": "A walk / in the city: masks?",
        "webpage_url": f"{SHOWN}?v=aBcDeFgHiJk",
        "extractor": "youtube",
        "extractor_key": "Youtube",
        "is_live": False,
        "live_status": "not_live",
        "duration": 12,
        "formats": [dict(FORMATS[number]) for number in formats],
        **more,
    }


@pytest.mark.parametrize(
    ("formats", "chosen"),
    [
        (tuple(FORMATS), "137"),
        (("140", "18", "136", "398", "399", "248", "313"), "248"),
        (("140", "18", "398", "399", "313"), "18"),
        (("140", "313"), "313"),
        (("140", "399"), "399"),
    ],
    ids=["the tallest up to 1080, H.264", "VP9", "never AV1 while there is another", "only taller", "only AV1"],
)
def test_the_best_video_that_opencv_reads(formats: tuple[str, ...], chosen: str, tmp_path: Path) -> None:
    with youtube_dl(tmp_path, SourceOptions()) as downloader:
        info = downloader.process_ie_result(youtube(*formats), download=False)

    assert info["format_id"] == chosen, "one format: nothing is to be merged"
    assert not is_stream_of(info)


def test_a_live_video_is_the_tallest_hls_up_to_1080() -> None:
    live = youtube(
        "137",
        is_live=True,
        formats=[
            video("93", 360, "avc1.4D401E", "mp4a.40.2", "m3u8_native"),
            video("300", 720, "avc1.4D4020", "mp4a.40.2", "m3u8_native"),
            video("301", 1080, "avc1.64002A", "mp4a.40.2", "m3u8_native"),
            video("311", 2160, "vp09.00.51.08", "mp4a.40.2", "m3u8_native"),
            video("700", 1080, "av01.0.09M.08", "none", "m3u8_native"),
            video("137", 1080, "avc1.640028"),
        ],
    )

    assert is_stream_of(live)
    assert stream_address(live, SHOWN) == "https://video.invalid/301"
    with pytest.raises(InvalidConfiguration, match="is live, but not as HLS"):
        stream_address(youtube("137", is_live=True), SHOWN)


def test_a_video_is_named_by_its_title_and_number() -> None:
    info = youtube("18")

    assert medium_name(info) == "A-walk-in-the-city-masks-aBcDeFgHiJk"
    assert page_origin(info, SHOWN) == f"{SHOWN} (A walk / in the city: masks?)"
    assert medium_name({"title": "../..", "id": "/"}) == "video"
    assert len(medium_name({"title": "マ" * 500, "id": "x" * 500}).encode()) < 255
    assert page_origin({}, SHOWN) == SHOWN


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://www.youtube.com/watch?v=x", True),
        ("https://youtu.be/x", True),
        ("HTTPS://m.twitch.tv/somebody", True),
        ("https://notyoutube.com/x", False),
        ("https://camera.example/youtube.com", False),
        ("rtsp://youtube.com/x", False),
        ("https://[broken", False),
    ],
)
def test_pages_are_known_by_their_host(url: str, page: bool) -> None:
    assert is_page(url) is page


def told(error: Exception) -> str:
    """As yt-dlp says it, with colours."""
    return str(DownloadError(f"\x1b[0;31mERROR:\x1b[0m {error}", (type(error), error, None)))


def of_youtube(words: str) -> str:
    return told(ExtractorError(words, expected=True, video_id="aBcDeFgHiJk", ie="youtube"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            of_youtube(
                "Private video. Sign in if you've been granted access to this video. Use --cookies-from-browser"
            ),
            "is private (yt-dlp: Private video. Sign in if you've been granted access to this video).",
        ),
        (of_youtube("Video unavailable. This video has been removed by the uploader"), "is not there, or no longer"),
        (of_youtube("Video unavailable"), "is not there, or no longer (yt-dlp: Video unavailable)."),
        (
            of_youtube("Sign in to confirm your age. This video may be inappropriate for some users."),
            "is for grown-ups who are logged in",
        ),
        (
            of_youtube("The uploader has not made this video available in your country"),
            "is not shown in this country",
        ),
        (told(GeoRestrictedError("This video is not available from your location due to geo restriction")), "country"),
        (of_youtube("Sign in to confirm you’re not a bot. Use --cookies for the authentication."), "who are logged in"),
        (of_youtube("Join this channel to get access to members-only content"), "who are logged in"),
        (of_youtube("Premieres in 3 hours"), "has not begun, or is not live now"),
        (of_youtube("This live event will begin in 2 days."), "has not begun, or is not live now"),
        (
            told(ExtractorError("somebody: The channel is not currently live", expected=True, ie="twitch:stream")),
            "live",
        ),
        (of_youtube("This video is DRM protected"), "is protected against copies"),
        (told(UnsupportedError("http://page.example/x?key=secret")), "is a web page on which yt-dlp finds no video"),
        (
            told(ExtractorError("Unable to download webpage", cause=TransportError("timed out"), expected=True)),
            "cannot be had (yt-dlp: Unable to download webpage).",
        ),
        (told(ExtractorError("Unable to download webpage: HTTP Error 403: Forbidden", expected=True)), "logged in"),
        (told(ExtractorError("Failed to resolve 'www.youtube.com'", expected=True)), "cannot be reached"),
        ("ERROR: unable to write data: [Errno 28] No space left on device", "finds no space on the disk"),
        (told(ExtractorError("Something new", video_id="x", ie="youtube")), "cannot be had (yt-dlp: Something new)."),
        ("", "cannot be had (yt-dlp: no reason)."),
    ],
)
def test_reasons_become_one_sentence(words: str, sentence: str) -> None:
    said = objection(SHOWN, words)

    assert said.startswith(f"The video of {SHOWN} ")
    assert sentence in said
    assert said.count("yt-dlp") <= 2
    for noise in ("\x1b", "ERROR", "report", "--cookies", "secret", "Traceback", "[youtube]"):
        assert noise not in said


def test_a_long_reason_is_cut_between_words() -> None:
    reason = shorten("ERROR: [generic] page: " + "word " * 100)

    assert len(reason) < 170
    assert reason.endswith("word …")


def test_without_yt_dlp_the_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(InvalidConfiguration, match=r"pip install 'masktrain\[trainer,media\]'"):
        open_page(f"{SHOWN}?v=aBcDeFgHiJk", SourceOptions())
