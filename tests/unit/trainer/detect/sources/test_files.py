"""Pictures and videos of a disk: which, in which order, by which names, and what is said of the rest."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from masktrain_trainer.detect.sources.base import Frame, Kind, Skipped, SourceOptions
from masktrain_trainer.detect.sources.files import (
    FoundFile,
    file_source,
    folder_source,
    list_source,
    pattern_source,
    unique_names,
)
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.files import RESULTS_MARK
from tests.media.films import FRAMES, Films

OPTIONS = SourceOptions()


def save(path: Path, colour: str = "red", kind: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), colour).save(path, kind)
    return path


def names(source: Iterable[Frame | Skipped]) -> list[str]:
    """Of the media, in the order in which they come."""
    return list(dict.fromkeys(str(item.medium.name) for item in source if isinstance(item, Frame)))


def said(source: Iterable[Frame | Skipped]) -> list[str]:
    return [item.sentence for item in source if isinstance(item, Skipped)]


def test_a_picture_is_one_frame(tmp_path: Path) -> None:
    path = save(tmp_path / "a b.png")
    source = file_source(path, OPTIONS)
    assert (source.live, source.frames) == (False, 1)
    (frame,) = source
    assert isinstance(frame, Frame)
    medium = frame.medium
    assert (medium.name, medium.kind, medium.origin, medium.frames) == (PurePath("a b.png"), Kind.PICTURE, str(path), 1)
    assert (frame.number, frame.seconds, frame.pixels_HWC.shape) == (0, 0.0, (30, 40, 3))
    assert frame.pixels_HWC[0, 0].tolist() == [255, 0, 0]


def test_of_an_animated_gif_the_first_picture_is_taken(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (40, 30), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    (frame,) = file_source(tmp_path / "a.gif", OPTIONS)
    assert isinstance(frame, Frame)
    assert frame.pixels_HWC[0, 0].tolist() == [255, 0, 0]


def test_a_video_says_how_many_frames_come(films: Films) -> None:
    source = file_source(films("h264.mp4"), SourceOptions(stride=3))
    assert source.frames == 7
    assert [item.number for item in source if isinstance(item, Frame)] == list(range(0, FRAMES, 3))


def test_a_file_without_an_ending_is_what_its_content_is(tmp_path: Path, films: Films) -> None:
    save(tmp_path / "picture", kind="PNG")
    shutil.copy(films("h264.mkv"), tmp_path / "video")
    assert file_source(tmp_path / "picture", OPTIONS).frames == 1
    assert file_source(tmp_path / "video", OPTIONS).frames == FRAMES


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jpg", b"no picture", "a.jpg is not a readable image: it cannot be decoded as an image."),
        ("a.heic", b"no picture", "a.heic is not a readable image: it cannot be decoded as an image."),
        ("a.bin", b"\0" * 99, "a.bin is not a readable image or video: it cannot be decoded as an image"),
        ("a.mp4", b"no video", "a.mp4 is not a video that can be read"),
    ],
)
def test_what_is_wrong_with_a_file_that_was_named_ends_the_source(
    name: str, content: bytes, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidConfiguration) as caught:
        file_source(tmp_path / name, OPTIONS)
    assert sentence in str(caught.value)


def test_a_folder_gives_pictures_and_videos_at_any_depth_by_name(tmp_path: Path, films: Films) -> None:
    save(tmp_path / "b" / "-a b.jpg")
    save(tmp_path / "c.PNG")
    save(tmp_path / ".hidden" / "d.png")
    (tmp_path / "notes.txt").write_text("not an image")
    shutil.copy(films("h264.mp4"), tmp_path / "b" / "a.MP4")
    shutil.copy(films("vp8.webm"), tmp_path / "z.webm")
    source = folder_source(tmp_path, OPTIONS)
    assert source.frames is None
    items = list(source)
    assert names(items) == ["b/-a b.jpg", "b/a.MP4", "c.PNG", "z.webm"]
    assert len(items) == 2 + 2 * FRAMES
    assert all(item.medium.origin.startswith(str(tmp_path)) for item in items if isinstance(item, Frame))


def test_what_is_wrong_in_a_folder_is_said_and_passed_over(tmp_path: Path, films: Films) -> None:
    save(tmp_path / "a.jfif", kind="JPEG")
    save(tmp_path / "b.NEF", kind="TIFF")
    (tmp_path / "c.jpg").write_bytes(b"no picture")
    (tmp_path / "d.mp4").write_bytes(b"no video")
    (tmp_path / "e.png").symlink_to("nothing.png")
    shutil.copy(films("sound.m4a"), tmp_path / "f.mov")
    save(tmp_path / "g.png")
    items = list(folder_source(tmp_path, OPTIONS))
    assert names(items) == ["a.jfif", "g.png"]
    assert said(items) == [
        f"{tmp_path}/b.NEF is of a kind that is not read; save it as JPEG or PNG.",
        f"{tmp_path}/c.jpg is not a readable image: it cannot be decoded as an image.",
        f"{tmp_path}/d.mp4 is not a video that can be read, such as MP4, MKV, AVI or WebM.",
        f"{tmp_path}/e.png is not a readable image: it cannot be read (No such file or directory).",
        f"{tmp_path}/f.mov holds sound and no video.",
    ]


_AS_NOBODY = """
import os, sys
from pathlib import Path
from PIL import Image
from masktrain_trainer.detect.sources.base import SourceOptions
from masktrain_trainer.detect.sources.files import folder_source, pattern_source
from masktrain_trainer.errors import InvalidConfiguration
Image.init()
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    given, options = sys.argv[1], SourceOptions()
    for item in pattern_source(given, options) if "*" in given else folder_source(Path(given), options):
        print(getattr(item, "sentence", None) or item.medium.name)
except InvalidConfiguration as error:
    print("ends:", error)
"""
"""Rights do not bind root, as whom tests may run. Pillow's formats are modules that another user may not find."""


def seen_by_nobody(source: str) -> list[str]:
    run = [sys.executable, "-c", _AS_NOBODY, source]
    ended = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return sorted(ended.stdout.splitlines())


@pytest.fixture
def locked() -> Iterator[Path]:
    """Folders that may be neither listed nor entered, or only one of the two; pytest's own is not open to others."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        rights = {"none": 0o000, "list": 0o444, "enter": 0o111}
        for name, right in rights.items():
            save(folder / name / "b.png")
            (folder / name).chmod(right)
        yield folder
        for name in rights:
            (folder / name).chmod(0o755)


def test_folders_that_cannot_be_read_are_said_and_the_rest_is_taken(locked: Path) -> None:
    save(locked / "a.png")
    enter, none = (f"The folder {locked}/{name} cannot be read: Permission denied." for name in ("enter", "none"))
    unread = f"{locked}/list/b.png is not a readable image: it cannot be read (Permission denied)."
    assert seen_by_nobody(str(locked)) == sorted([enter, none, unread, "a.png"])
    assert seen_by_nobody(f"{locked}/**/*.png") == sorted([enter, none, unread, "a.png"])
    assert seen_by_nobody(f"{locked}/*.png") == ["a.png"], "nobody wanted to look into them"


def test_where_nothing_is_left_the_folder_that_cannot_be_read_is_said(locked: Path) -> None:
    said = f"The folder {locked}/enter cannot be read: Permission denied."
    (one,) = seen_by_nobody(f"{locked}/enter")
    assert one == f"ends: {said}"
    (one,) = seen_by_nobody(f"{locked}/e*/*.png")
    assert one.startswith("ends: Nothing matches")
    assert one.endswith(said)
    shutil.rmtree(locked / "list")
    (one,) = seen_by_nobody(str(locked))
    assert one.startswith("ends: The folder")
    assert one.endswith("cannot be read: Permission denied.")
    save(locked / "list" / "b.png")


def test_a_folder_of_pictures_says_how_many(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "sub/c.png"):
        save(tmp_path / name)
    assert folder_source(tmp_path, OPTIONS).frames == 3


def test_a_folder_without_media_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=r"The folder .* holds no image or video \(.jpg, .png"):
        folder_source(tmp_path, OPTIONS)
    (tmp_path / "a.heic").touch()
    with pytest.raises(InvalidConfiguration, match=r"a\.heic is one of 1 of other kinds: save them as JPEG or PNG\."):
        folder_source(tmp_path, OPTIONS)


def test_results_of_an_earlier_run_are_no_source(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "out" / "a.png")
    (tmp_path / "out" / RESULTS_MARK).touch()
    assert names(folder_source(tmp_path, OPTIONS)) == ["a.png"]
    assert names(pattern_source(f"{tmp_path}/**/*.png", OPTIONS)) == ["a.png"]
    # Who names the folder itself means it.
    assert names(folder_source(tmp_path / "out", OPTIONS)) == ["a.png"]


def test_links_are_followed_once_and_those_to_nothing_are_named(tmp_path: Path) -> None:
    there, source = tmp_path / "elsewhere", tmp_path / "source"
    source.mkdir()
    save(there / "a.png")
    (source / "images").symlink_to(there)
    (source / "the same").symlink_to(there)
    (source / "around").symlink_to(tmp_path)
    (source / "b.png").symlink_to("nothing.png")
    (there / "back").symlink_to(source)
    items = list(folder_source(source, OPTIONS))
    assert names(items) == ["images/a.png"]
    assert [str(source / "b.png") in sentence for sentence in said(items)] == [True]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.png", ["a.png", "b[1].png"]),
        ("**/*.png", ["a.png", "b[1].png", "one/c.png", "one/two/d.png"]),
        ("o*/*.png", ["one/c.png"]),
        ("one/*", ["c.png"]),
        ("one/**", ["c.png", "two/d.png"]),
        ("?.png", ["a.png"]),
        ("[ab].png", ["a.png"]),
        ("one/two/*/../*.png", ["d.png"]),
    ],
)
def test_a_pattern_finds_what_a_shell_would(
    pattern: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b[1].png", "one/c.png", "one/two/d.png", "one/two/three/none.txt"):
        path = tmp_path / name
        if path.suffix == ".png":
            save(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    assert names(pattern_source(f"{tmp_path}/{pattern}", OPTIONS)) == found
    monkeypatch.chdir(tmp_path)
    assert names(pattern_source(pattern, OPTIONS)) == found


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("*.jpg", "Nothing matches"),
        ("f*", "matches folders only; end it with /* or /**"),
        ("folder/*", "is no image or video (.jpg, .png"),
    ],
)
def test_a_pattern_that_gives_nothing_is_one_sentence(pattern: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").touch()
    with pytest.raises(InvalidConfiguration) as caught:
        pattern_source(f"{tmp_path}/{pattern}", OPTIONS)
    assert sentence in str(caught.value)


def found(path: Path) -> FoundFile:
    return FoundFile(path, PurePath(path.name), str(path))


def test_a_list_keeps_its_order_and_the_folders_below_the_common_one(tmp_path: Path) -> None:
    paths = [save(tmp_path / name) for name in ("b/2.png", "a/1.png", "b/c/1.png")]
    source = list_source([found(path) for path in (*paths, tmp_path / "b" / "none.png", paths[0])], OPTIONS)
    items = list(source)
    assert names(items) == ["b/2.png", "a/1.png", "b/c/1.png", "b/2-2.png"]
    assert len(said(items)) == 1


def test_close_ends_a_folder(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / name)
    source = folder_source(tmp_path, OPTIONS)
    frames = iter(source)
    next(frames)
    source.close()
    source.close()
    assert list(frames) == []


parts = st.text(min_size=1, max_size=12).filter(lambda text: "/" not in text and "\0" not in text) | st.sampled_from(
    ["..", ".", "a", "b", "a.jpg", "a-2.jpg", "2", "x" * 300, "ü" * 150 + ".jpg", "." + "y" * 250]
)
paths = st.lists(parts, max_size=5).map("/".join) | st.builds("/{}".format, parts)


@given(st.lists(paths.map(PurePath), max_size=20))
def test_names_are_their_own_and_lead_out_of_no_folder(wanted: list[PurePath]) -> None:
    given = unique_names(wanted)
    assert len(given) == len(wanted) == len(set(given))
    folders = {parent for name in given for parent in name.parents}
    # A file where another's folder would be could not be written.
    assert folders.isdisjoint(given)
    for name in given:
        assert not name.is_absolute()
        assert ".." not in name.parts
        assert all(len(part.encode("utf-8", "surrogatepass")) <= 220 for part in name.parts)
        assert Path("/out").joinpath(name).is_relative_to("/out")


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), unique_by=tuple, max_size=20))
def test_names_of_a_tree_stay_as_they_are(tree: list[list[str]]) -> None:
    """Whatever its folders are called: no file's name is that of a folder, on a disk."""
    wanted = [PurePath(*folders, "x.jpg") for folders in tree]
    assert unique_names(wanted) == wanted
