"""Videos of results, read back: as long as their source, of its size, and playable whatever ended them."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath

import cv2
import numpy as np
import pytest

from masktrain_trainer.data.geometry import Image, Size
from masktrain_trainer.detect.outputs.base import Detected
from masktrain_trainer.detect.outputs.pictures import Artist
from masktrain_trainer.detect.outputs.video import Mp4File, VideoFile, VideoFormat, Videos, fitted, padded
from masktrain_trainer.detect.sources.base import Frame, Kind, Medium
from masktrain_trainer.errors import InvalidConfiguration, UnwritableResults
from masktrain_trainer.predict.drawing import BoxStyle
from tests.media.films import Films

STEP = 10


def grey(value: int, size: Size = (32, 48)) -> Image:
    return np.full((*size, 3), value, np.uint8)


def shown(path: Path) -> list[int]:
    """Of each frame the number of `STEP`s of grey that it has."""
    capture = cv2.VideoCapture(str(path))
    values = []
    while (read := capture.read())[0]:
        values.append(round(float(read[1].mean()) / STEP))
    capture.release()
    return values


def rate(path: Path) -> float:
    capture = cv2.VideoCapture(str(path))
    found = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    return found


def play(folder: Path, medium: Medium, seconds: Sequence[float], kind: VideoFormat = VideoFormat.WEBM) -> Path:
    videos = Videos(folder, Artist(["mask"], BoxStyle()), kind)
    for number, moment in enumerate(seconds):
        videos.write(Detected(Frame(medium, number, moment, grey(number * STEP)), []))
    videos.close()
    videos.close()
    assert videos.path is not None
    return videos.path


def video(frames_per_second: float | None, name: str = "clip.mp4", kind: Kind = Kind.VIDEO) -> Medium:
    return Medium(PurePath(name), kind, name, frames_per_second)


@pytest.mark.parametrize("kind", list(VideoFormat))
def test_a_video_has_the_frames_and_the_rate_of_its_source(tmp_path: Path, kind: VideoFormat) -> None:
    path = play(tmp_path / "out", video(12.5, "sub/clip.mkv"), [n / 12.5 for n in range(6)], kind)
    assert path == tmp_path / "out" / "sub" / f"clip.{kind}"
    assert shown(path) == list(range(6))
    assert rate(path) == pytest.approx(12.5, rel=0.01)


def test_frames_that_are_not_evenly_apart_are_shown_at_their_time(tmp_path: Path) -> None:
    seconds = [0, 0.02, 0.1, 0.2, 0.5, 0.6]
    path = play(tmp_path, video(10), seconds)
    assert shown(path) == [0, 2, 3, 3, 3, 4, 5]


def test_a_live_stream_stands_still_for_no_longer_than_two_seconds(tmp_path: Path) -> None:
    path = play(tmp_path, video(None, "camera.example-door", Kind.LIVE), [0, 600, 600.04])
    assert path.name == "camera.example-door.webm"
    assert shown(path) == [0, *([0] * 50), 1, 2]


@pytest.mark.parametrize("size", [(33, 47), (1, 1), (32, 47)])
@pytest.mark.parametrize("make", [VideoFile, Mp4File])
def test_odd_sides_lose_nothing(tmp_path: Path, size: Size, make: type[VideoFile | Mp4File]) -> None:
    path = tmp_path / ("a.webm" if make is VideoFile else "a.mp4")
    file = make(path, size, 10)
    for value in (0, 80):
        file.write(grey(value, size))
    file.close()
    assert shown(path) == [0, 8]


def test_an_odd_picture_gets_its_edge_once_more() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (17, 19, 3), dtype=np.uint8)
    grown = padded(picture)
    assert grown.shape == (18, 20, 3)
    np.testing.assert_array_equal(grown[:17, :19], picture)
    np.testing.assert_array_equal(grown[17, :19], picture[16])
    np.testing.assert_array_equal(grown[:17, 19], picture[:, 18])
    assert padded(grown) is grown


def test_two_videos_that_differ_in_their_ending_become_two(tmp_path: Path) -> None:
    videos = Videos(tmp_path, Artist(["mask"], BoxStyle()), VideoFormat.WEBM)
    for name in ("clip.mp4", "clip.avi"):
        videos.write(Detected(Frame(video(10, name), 0, 0.0, grey(0)), []))
    videos.close()
    assert sorted(path.name for path in tmp_path.glob("*.webm")) == ["clip.avi.webm", "clip.webm"]


def test_streams_that_come_in_turn_have_a_file_each(tmp_path: Path) -> None:
    videos = Videos(tmp_path, Artist(["mask"], BoxStyle()), VideoFormat.WEBM)
    doors = [video(10, name, Kind.LIVE) for name in ("front", "back")]
    for number in range(3):
        for door in doors:
            videos.write(Detected(Frame(door, number, number / 10, grey(number * STEP)), []))
    videos.close()
    assert [shown(tmp_path / f"{door.name}.webm") for door in doors] == [[0, 1, 2]] * 2


def test_a_camera_that_comes_back_with_another_size_is_fitted_in() -> None:
    whole = fitted(grey(90, (10, 40)), (40, 40))
    assert whole.shape == (40, 40, 3)
    assert (whole[15:25] == 90).all()
    assert not whole[:15].any()


def test_mp4_has_the_sound_of_its_source(tmp_path: Path, films: Films) -> None:
    source = films("with-sound.mp4")
    medium = Medium(PurePath("with-sound.mp4"), Kind.VIDEO, str(source), 10)
    path = play(tmp_path, medium, [n / 10 for n in range(20)], VideoFormat.MP4)
    entries = ["-show_entries", "stream=codec_type:format=duration", "-of", "csv=p=0"]
    probed = subprocess.run(["ffprobe", "-v", "error", *entries, str(path)], check=True, stdout=subprocess.PIPE)
    *kinds, duration = probed.stdout.decode().split()
    assert kinds == ["video", "audio"]
    # The sound lasts a second, the picture two.
    assert float(duration) == pytest.approx(2, abs=0.5)
    assert len(shown(path)) == 20


def test_without_an_ffmpeg_mp4_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidConfiguration, match="--format mp4 needs the program ffmpeg, and none is on the PATH"):
        Videos(tmp_path, Artist(["mask"], BoxStyle()), VideoFormat.MP4)


def noise(number: int, size: Size = (64, 96)) -> Image:
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("make", [VideoFile, Mp4File])
def test_a_full_disk_is_one_sentence_and_what_was_written_can_be_played(
    small_disk: Path, make: type[VideoFile | Mp4File]
) -> None:
    path = small_disk / ("a.webm" if make is VideoFile else "a.mp4")
    file = make(path, (64, 96), 30)
    written = 0
    sentence = "cannot be written: No space left on device; what was written before it is kept"
    with pytest.raises(UnwritableResults, match=sentence):  # noqa: PT012 - nobody knows at which frame
        for written in range(2000):
            file.write(noise(written))
    file.close()
    assert written > 3
    assert len(shown(path)) >= written - 1


def test_frames_that_found_no_room_are_missed_at_the_end(tmp_path: Path) -> None:
    """A limit on the size of files stands for a quota, of which the free space of a disk says nothing."""
    script = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.unit.trainer.detect.outputs.test_video import noise
from masktrain_trainer.detect.outputs.video import VideoFile
file = VideoFile(Path(sys.argv[1]), (240, 320), 30)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for number in range(40):
    file.write(noise(number, (240, 320)))
try:
    file.close()
except Exception as error:
    print(type(error).__name__, error)
"""
    root = Path(__file__).parents[5]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.webm"), str(root)], check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("UnwritableResults")
    assert "of 40 frames only" in done.stdout


def test_a_folder_that_may_not_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    for make in (VideoFile, Mp4File):
        with pytest.raises(UnwritableResults, match="cannot be written"):
            make(tmp_path / "out" / "a.webm", (32, 32), 10)
