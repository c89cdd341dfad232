"""Frames of real videos: which, when, upright, and what is said where one is missing."""

import os
import random
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
import pytest

from masktrain_trainer.detect.sources.base import Frame, Kind, Skipped, SourceOptions
from masktrain_trainer.detect.sources.matroska import broken_at
from masktrain_trainer.detect.sources.video import Video, open_video, read_timeline
from masktrain_trainer.errors import InvalidConfiguration
from tests.media.films import FRAMES, HEIGHT, LONG_FRAMES, RATE, WIDTH, Films, ffmpeg, number_shown, packets


def opened(path: Path, stride: int = 1) -> Video:
    return open_video(path, PurePath(path.name), path.name, SourceOptions(stride=stride))


def read(path: Path, stride: int = 1) -> tuple[Video, list[Frame], list[str]]:
    video = opened(path, stride)
    items = list(video)
    frames = [item for item in items if isinstance(item, Frame)]
    return video, frames, [item.sentence for item in items if isinstance(item, Skipped)]


def numbers(frames: Sequence[Frame]) -> list[int]:
    return [frame.number for frame in frames]


@pytest.mark.parametrize(
    "name",
    [
        "h264.mp4",
        "mpeg4.mp4",
        "h264.mkv",
        "mpeg4.avi",
        "h264.avi",
        "mpeg4-reordered.avi",
        "mjpeg.avi",
        "vp8.webm",
        "vp9.webm",
        "h264.ts",
        "fragments.mp4",
    ],
)
def test_every_frame_comes_with_its_number_its_time_and_its_pixels(name: str, films: Films) -> None:
    video, frames, said = read(films(name))
    assert (video.medium.frames, video.medium.kind, said) == (FRAMES, Kind.VIDEO, [])
    assert video.medium.frames_per_second == pytest.approx(RATE)
    assert numbers(frames) == list(range(FRAMES))
    assert [frame.seconds for frame in frames] == pytest.approx([number / RATE for number in range(FRAMES)], abs=2e-3)
    assert [number_shown(frame.pixels_HWC) for frame in frames] == list(range(FRAMES))
    assert all(frame.pixels_HWC.shape == (HEIGHT, WIDTH, 3) and frame.medium is video.medium for frame in frames)


@pytest.mark.parametrize("stride", [2, 3, 7, 50])
def test_a_stride_takes_every_so_many_th_frame_and_keeps_the_duration(stride: int, films: Films) -> None:
    video, frames, said = read(films("h264.mp4"), stride)
    assert [number_shown(frame.pixels_HWC) for frame in frames] == numbers(frames) == list(range(0, FRAMES, stride))
    assert (video.medium.frames, said) == (len(frames), [])
    assert video.medium.frames_per_second == pytest.approx(RATE / stride)


@pytest.mark.parametrize("name", ["uneven.mp4", "uneven.mkv"])
def test_a_variable_rate_keeps_true_times_and_lasts_as_long(name: str, films: Films) -> None:
    video, frames, said = read(films(name))
    assert ([number_shown(frame.pixels_HWC) for frame in frames], said) == (list(range(FRAMES)), [])
    true = [n * 0.04 if n < 10 else 0.4 + (n - 10) * 0.16 for n in range(FRAMES)]
    assert [frame.seconds for frame in frames] == pytest.approx(true, abs=2e-3)
    rate = video.medium.frames_per_second
    assert rate is not None
    # One frame's time more or less: of the last one no container says how long it is shown.
    assert FRAMES / rate == pytest.approx(true[-1], abs=0.16)


@pytest.mark.parametrize(
    ("angle", "corners"),
    [
        # Top left, top right, bottom left, bottom right, of a picture with red, lime, blue, black.
        (90, "blue red black lime"),
        (180, "black blue lime red"),
        (270, "lime black red blue"),
    ],
)
def test_a_rotated_film_is_upright_as_a_player_shows_it(angle: int, corners: str, films: Films) -> None:
    """As ffmpeg, which players follow, turns it for a picture."""
    path = films(f"rotated-{angle}.mp4")
    _, frames, _ = read(path)
    height, width = (WIDTH, HEIGHT) if angle in (90, 270) else (HEIGHT, WIDTH)
    assert frames[0].pixels_HWC.shape == (height, width, 3)
    assert corners_of(frames[0].pixels_HWC) == corners.split()
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    assert corners_of(np.frombuffer(raw, np.uint8).reshape(height, width, 3)) == corners.split()


def corners_of(pixels_HWC: np.ndarray) -> list[str]:
    height, width = pixels_HWC.shape[:2]
    names = {(1, 0, 0): "red", (0, 1, 0): "lime", (0, 0, 1): "blue", (0, 0, 0): "black"}
    places = [(y, x) for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    return [names[tuple(int(value > 127) for value in pixels_HWC[place])] for place in places]  # type: ignore[index]


def test_odd_sizes_stay_as_they_are(films: Films) -> None:
    _, frames, said = read(films("odd.mkv"))
    assert {frame.pixels_HWC.shape for frame in frames} == {(63, 97, 3)}
    assert (len(frames), said) == (FRAMES, [])


def test_colours_are_red_green_blue(films: Films) -> None:
    _, frames, _ = read(films("corners.mp4"))
    assert corners_of(frames[0].pixels_HWC) == ["red", "lime", "blue", "black"]


def test_packets_of_frames_that_are_never_shown_are_no_frames(films: Films) -> None:
    path = films("hidden-frames.webm")
    assert len(packets(path)) > 24
    video, frames, said = read(path)
    assert (video.medium.frames, numbers(frames), said) == (24, list(range(24)), [])


def test_a_stream_without_times_and_counts_has_the_usual_rate(films: Films) -> None:
    video, frames, said = read(films("bare.h264"))
    assert ([number_shown(frame.pixels_HWC) for frame in frames], said) == (list(range(FRAMES)), [])
    assert video.medium.frames_per_second == 25
    assert [frame.seconds for frame in frames] == pytest.approx([number / 25 for number in range(FRAMES)])


@pytest.mark.parametrize("name", ["corrupt-mjpeg.avi", "corrupt-mpeg4.avi", "corrupt-mpeg4.mp4"])
def test_what_comes_after_a_corrupt_frame_is_read_and_the_frame_named(name: str, films: Films) -> None:
    _, frames, said = read(films(name))
    assert numbers(frames) == [number for number in range(FRAMES) if number not in (9, 10)]
    assert said == [f"Frames 10 to 11 of {name} cannot be decoded; it goes on."]
    assert [frame.seconds for frame in frames] == pytest.approx([number / RATE for number in numbers(frames)])


def test_damage_in_h264_costs_frames_and_no_more(films: Films) -> None:
    """Frames refer to others, and decoders make something up; what comes stays in order, and something is said."""
    _, frames, said = read(films("corrupt-h264.mp4"))
    assert 10 <= len(frames) < FRAMES
    assert numbers(frames) == sorted(set(numbers(frames)))
    assert [frame.seconds for frame in frames] == sorted(frame.seconds for frame in frames)
    assert any("cannot be decoded" in sentence or "is damaged" in sentence for sentence in said)


def test_damage_that_costs_the_rest_of_a_film_is_said(films: Films) -> None:
    _, frames, said = read(films("corrupt-vp8.webm"))
    assert numbers(frames) == list(range(9))
    assert said == [
        "corrupt-vp8.webm is damaged, or shorter than it says: its frames end after 0.8 s of 2.0 s.",
    ]


def test_damage_in_an_avi_whose_frames_are_reordered_is_named(films: Films, tmp_path: Path) -> None:
    data, (start, size) = bytearray(films("h264.avi").read_bytes()), packets(films("h264.avi"))[8]
    data[start : start + size] = bytes(size)
    (tmp_path / "a.avi").write_bytes(data)
    _, frames, said = read(tmp_path / "a.avi")
    missing = sorted(set(range(FRAMES)) - set(numbers(frames)))
    assert said == [f"Frame {number + 1} of a.avi cannot be decoded; it goes on." for number in missing]
    assert len(missing) == 1


@pytest.mark.parametrize("name", ["long.mkv", "long.webm"])
def test_damage_that_costs_frames_in_the_middle_is_said_with_counts(name: str, films: Films, tmp_path: Path) -> None:
    """FFmpeg goes on at the next cluster and says nothing; what is missing looks like a variable rate."""
    whole = films(name)
    assert read(whole)[2] == []
    data, (start, _), (end, _) = bytearray(whole.read_bytes()), packets(whole)[30], packets(whole)[34]
    data[start:end] = random.Random(0).randbytes(end - start)
    (tmp_path / name).write_bytes(data)
    _, frames, said = read(tmp_path / name)
    assert 30 <= len(frames) < LONG_FRAMES
    assert frames[-1].number == len(frames) - 1
    assert frames[-1].seconds == pytest.approx((LONG_FRAMES - 1) / RATE, abs=0.01)
    (sentence,) = said
    told = re.fullmatch(
        rf"{re.escape(name)} is damaged from byte [\d,]+ on: (\d+) frames of it can be read, and about (\d+) between "
        r"[\d.]+ and [\d.]+ s are missing\.",
        sentence,
    )
    assert told is not None, sentence
    assert int(told[1]) + int(told[2]) == LONG_FRAMES


@pytest.mark.parametrize("name", ["h264.mkv", "vp8.webm", "vp9.webm", "uneven.mkv", "odd.mkv", "hidden-frames.webm"])
def test_a_whole_matroska_file_is_found_whole(name: str, films: Films) -> None:
    assert broken_at(films(name)) is None


def test_matroska_that_was_live_and_knows_no_sizes_is_whole(films: Films, tmp_path: Path) -> None:
    ffmpeg("-i", str(films("long.mkv")), "-c", "copy", "-f", "matroska", "-live", "1", str(tmp_path / "live.mkv"))
    assert broken_at(tmp_path / "live.mkv") is None
    assert read(tmp_path / "live.mkv")[2] == []


@pytest.mark.parametrize(
    "name", ["cut-fast-start.mp4", "cut-h264.mkv", "cut-mpeg4.avi", "cut-vp8.webm", "cut-mjpeg.avi"]
)
def test_of_a_cut_file_what_is_there_is_taken(name: str, films: Films) -> None:
    _, frames, said = read(films(name))
    assert 1 < len(frames) < FRAMES
    assert numbers(frames) == list(range(len(frames)))
    (sentence,) = said
    assert sentence.startswith(f"{name} is cut off: it ends after frame {len(frames)} ")
    assert f"({frames[-1].seconds:.1f} s), and what came before is taken." in sentence


def test_a_file_that_is_cut_without_its_end_marked_still_ends(films: Films) -> None:
    data = films("h264.ts").read_bytes()
    path = films("h264.ts").with_name("half.ts")
    path.write_bytes(data[: len(data) // 2])
    _, frames, _ = read(path)
    assert 1 < len(frames) < FRAMES


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("sound.m4a", "holds sound and no video."),
        ("sound.wav", "holds sound and no video."),
        ("no-frames.mp4", "holds no video."),
        ("cut-h264.mp4", "is cut off, and no frame of what is there can be read"),
        ("unknown-codec.mp4", "its codec zzz9 is not known here"),
        ("av1.mp4", "its codec av01 is not known here"),
    ],
)
def test_what_gives_no_frame_is_one_sentence(
    name: str, sentence: str, films: Films, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        opened(films(name))
    assert str(caught.value).startswith(f"{name} ")
    assert sentence in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "a.mp4 is an empty file, not a video."),
        (b"no film" * 100, "a.mp4 is not a video that can be read, such as MP4, MKV, AVI or WebM."),
        (bytes(5000), "a.mp4 is not a video that can be read, such as MP4, MKV, AVI or WebM."),
        (b"\0\0\0\x20ftypisom" + bytes(500), "a.mp4 is cut off, and no frame of what is there can be read"),
    ],
)
def test_what_is_no_video_is_one_sentence(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InvalidConfiguration) as caught:
        opened(tmp_path / "a.mp4")
    assert str(caught.value).startswith(sentence)


def test_a_missing_file_and_a_name_that_is_no_text(tmp_path: Path, films: Films) -> None:
    with pytest.raises(InvalidConfiguration, match=r"none\.mp4 cannot be read: No such file or directory"):
        opened(tmp_path / "none.mp4")
    odd = tmp_path / "caf\udce9.mp4"
    odd.write_bytes(films("h264.mp4").read_bytes())
    with pytest.raises(InvalidConfiguration, match="has a name that is no UTF-8; rename it"):
        opened(odd)


def test_a_name_that_looks_like_an_address_is_a_file(
    tmp_path: Path, films: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = Path("concat:100%03d.mp4")
    name.write_bytes(films("h264.mp4").read_bytes())
    _, frames, _ = read(name)
    assert len(frames) == FRAMES


def as_at_home() -> dict[str, str]:
    """Variables without what the run of the tests has set of OpenCV's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OPENCV_")}


def test_nothing_of_ffmpegs_reaches_the_terminal(films: Films) -> None:
    """In a process of its own, whose first video is the one that makes FFmpeg talk."""
    paths = [str(films(name)) for name in ("corrupt-mpeg4.mp4", "cut-fast-start.mp4", "corrupt-h264.mp4", "av1.mp4")]
    script = (
        "import sys; from pathlib import Path; from tests.unit.trainer.detect.sources.test_video import read\n"
        "for path in sys.argv[1:]:\n"
        "    try: read(Path(path))\n"
        "    except Exception: pass\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, *paths], check=True, capture_output=True, env=as_at_home())
    assert (ended.stdout, ended.stderr) == (b"", b"")


def test_importing_changes_no_environment() -> None:
    script = (
        "import os, cv2; before = dict(os.environ); import masktrain_trainer.detect.sources.opening\n"
        "assert dict(os.environ) == before and cv2.utils.logging.getLogLevel() > 0"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=as_at_home())


def test_close_ends_the_iteration_in_another_thread(films: Films) -> None:
    video = opened(films("h264.mp4"))
    seen: list[object] = []
    first, may_go_on = threading.Event(), threading.Event()

    def watch() -> None:
        for item in video:
            seen.append(item)
            first.set()
            may_go_on.wait(10)

    thread = threading.Thread(target=watch)
    thread.start()
    assert first.wait(10)
    video.close()
    may_go_on.set()
    thread.join(10)
    assert not thread.is_alive()
    assert len(seen) == 1
    video.close()
    assert list(video) == []


def test_a_video_that_is_closed_before_it_is_read_gives_nothing(films: Films) -> None:
    video = opened(films("h264.mp4"))
    video.close()
    assert list(video) == []


def test_a_single_frame_and_a_slow_film_have_a_rate_that_can_be_written(tmp_path: Path, films: Films) -> None:
    ffmpeg("-i", str(films("mjpeg.avi")), "-frames:v", "1", "-c", "copy", str(tmp_path / "one.avi"))
    video, frames, _ = read(tmp_path / "one.avi")
    assert (len(frames), video.medium.frames_per_second) == (1, RATE)
    ffmpeg("-itsscale", "600", "-i", str(films("mjpeg.avi")), "-c", "copy", str(tmp_path / "slow.mkv"))
    video, frames, said = read(tmp_path / "slow.mkv")
    assert (len(frames), video.medium.frames_per_second, said) == (FRAMES, 0.1, [])
    assert frames[-1].seconds == pytest.approx(60 * (FRAMES - 1), abs=0.01)


def test_a_timeline_says_which_frame_is_shown_when(films: Films) -> None:
    timeline = read_timeline(str(films("uneven.mp4")))
    assert [timeline.number_at(0.04), timeline.number_at(0.56), timeline.number_at(0.5)] == [1, 11, None]
