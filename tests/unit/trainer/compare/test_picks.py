"""Which frames are picked for labelling, and the zip that they become."""

import zipfile
from pathlib import Path, PurePath

import numpy as np
import pytest
import yaml
from PIL import Image

from masktrain_trainer.compare.candidates import Candidates, interest
from masktrain_trainer.compare.matching import Classes, FrameBoxes
from masktrain_trainer.compare.picks import Labelled, choose, perceptual_hash, write_picks
from masktrain_trainer.compare.recording import Recording, Seen, beginning
from masktrain_trainer.compare.witness import call_witness
from masktrain_trainer.data.geometry import Image as Pixels
from masktrain_trainer.detect.sources.base import Frame, Kind, Medium, Skipped
from masktrain_trainer.errors import InvalidConfiguration

from .staged import NAMES, Skill, imagined, labels, truth

FRAMES = 160
SHARED = frozenset(range(len(NAMES)))
CLIP = Medium(PurePath("clip.mp4"), Kind.VIDEO, "clip.mp4", 25.0, FRAMES)


def picture(seed: int) -> Pixels:
    """Blots that no other seed has."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((64, 48)), np.uint8)


def recorded(
    folder: Path, first: list[FrameBoxes], second: list[FrameBoxes], *, wanted: int, alike: bool = False
) -> tuple[Recording, Candidates]:
    recording = Recording(("a", "b"), Classes.matched(NAMES, NAMES), 0.25)
    candidates = Candidates(folder, wanted, 0.25, SHARED)
    for index, boxes in enumerate(zip(first, second, strict=True)):
        seen = Seen(Frame(CLIP, index, index / 25, picture(0 if alike else index)), boxes)
        recording.add(seen)
        candidates.offer(index, seen)
    return recording, candidates


def test_picked_frames_hold_the_mistakes_and_are_spread(tmp_path: Path) -> None:
    objects = truth(FRAMES, 4)
    found = [imagined(objects, Skill(0.6, 0.1, 0.05, 0.1), 1), imagined(objects, Skill(0.55, 0.12, 0.05, 0.1), 2)]
    # Around two moments the first model sees almost nothing.
    for frame in (*range(40, 48), *range(110, 118)):
        found[0][frame] = found[0][frame].above(0.7)
    recording, candidates = recorded(tmp_path, found[0], found[1], wanted=16)
    picks = [pick.index for pick in choose(recording, call_witness(recording), candidates, 0, 16)]
    assert len(picks) == len(set(picks)) == 16
    assert picks == sorted(picks)
    missed = np.array([len(labels(row)) - len(found[0][i].above(0.25)) for i, row in enumerate(objects)]).clip(0)
    assert missed[picks].mean() >= 2 * missed.mean()
    assert sum(index in range(36, 52) for index in picks) <= 8


def at(*places: float, confidence: float = 0.4) -> FrameBoxes:
    """Boxes beside each other, of one class."""
    boxes = [[x, 10, x + 8, 20] for x in places]
    count = len(boxes)
    return FrameBoxes(
        np.array(boxes, np.float32).reshape(-1, 4), np.full(count, confidence, np.float32), np.zeros(count, np.int64)
    )


def test_frames_that_look_alike_are_picked_once(tmp_path: Path) -> None:
    found = [at(10, 40) for _ in range(40)]
    recording, candidates = recorded(tmp_path, found, found, wanted=10, alike=True)
    assert len(choose(recording, call_witness(recording), candidates, 0, 10)) == 1


def test_a_still_camera_has_as_many_frames_to_pick_as_people_move(tmp_path: Path) -> None:
    """The picture as a whole stays alike, however somebody small walks through it."""
    found = [at(index / 4) for index in range(200)]
    recording, candidates = recorded(tmp_path, found, found, wanted=5, alike=True)
    assert len(choose(recording, call_witness(recording), candidates, 0, 5)) == 5


def test_a_still_camera_has_frames_to_pick_where_no_box_lasts(tmp_path: Path) -> None:
    """Nobody knows of an object, and yet each of these frames holds another mistake."""
    found = [at(index // 10 * 7 % 50) if index % 10 < 3 else FrameBoxes() for index in range(200)]
    recording, candidates = recorded(tmp_path, found, [FrameBoxes()] * 200, wanted=5, alike=True)
    witness = call_witness(recording)
    assert witness.tracks == []
    picks = choose(recording, witness, candidates, 0, 5)
    assert len(picks) == 5
    assert all(len(found[pick.index]) for pick in picks)


def test_a_short_busy_passage_of_a_long_quiet_film_keeps_most_of_what_can_be_picked(tmp_path: Path) -> None:
    busy = range(1500, 1575)
    found = [at(*range(0, 60, 10)) if index in busy else at(index % 50) for index in range(3000)]
    _, candidates = recorded(tmp_path, found, [at(confidence=0.1)] * 3000, wanted=4)
    kept = candidates.indices
    assert len(kept) == 32
    assert sum(index in busy for index in kept) >= 8
    assert np.diff([index for index in kept if index in busy]).min() >= 2
    assert min(kept) < 400
    assert max(kept) > 2600


def test_pictures_are_not_near_each_other_in_time(tmp_path: Path) -> None:
    candidates = Candidates(tmp_path, 1, 0.25, SHARED)
    for index in range(20):
        medium = Medium(PurePath(f"{index}.jpg"), Kind.PICTURE, "a folder")
        candidates.offer(index, Seen(Frame(medium, 0, 0, picture(index)), (at(*range(index)), FrameBoxes())))
    assert candidates.indices == list(range(12, 20))


def test_however_long_the_material_few_frames_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    found = [at(10, confidence=confidence) for confidence in rng.uniform(0.1, 0.9, 300)]
    found[137] = at(10, 30, 50)
    _, candidates = recorded(tmp_path, found, [FrameBoxes()] * 300, wanted=4)
    kept = candidates.indices
    assert 8 <= len(kept) <= 32
    assert sorted(int(path.stem) for path in tmp_path.glob("*.jpg")) == kept
    assert max(range(300), key=lambda i: interest((found[i], FrameBoxes()), 0.25, SHARED)) in kept
    assert min(kept) < 40
    assert max(kept) > 260


def test_doubt_and_disagreement_are_of_interest() -> None:
    def one(confidence: float, label: int = 0) -> FrameBoxes:
        return FrameBoxes(np.array([[0, 0, 9, 9]], np.float32), np.array([confidence], np.float32), np.array([label]))

    def worth(first: FrameBoxes, second: FrameBoxes) -> float:
        return interest((first, second), 0.25, SHARED)

    sure = worth(one(0.9), one(0.9))
    assert worth(one(1), one(1)) == pytest.approx(0)
    assert worth(one(0.3), one(0.3)) > sure
    assert worth(one(0.9), FrameBoxes()) > sure
    assert worth(one(0.9), one(0.9, label=1)) > worth(one(0.9), FrameBoxes())


def test_the_hash_sees_through_brightness_and_tells_pictures_apart() -> None:
    same = perceptual_hash(picture(1)) ^ perceptual_hash((picture(1) * 0.8 + 20).astype(np.uint8))
    other = perceptual_hash(picture(1)) ^ perceptual_hash(picture(2))
    assert same.bit_count() <= 4 < other.bit_count()


def test_labels_are_in_yolov5s_format(tmp_path: Path) -> None:
    Image.new("RGB", (200, 100)).save(tmp_path / "a.jpg")
    boxes = FrameBoxes(
        np.array([[-10, 20, 50, 60], [300, 0, 310, 9]], np.float32), np.array([0.9, 0.5], np.float32), np.array([1, 0])
    )
    target = tmp_path / "to-label.zip"
    write_picks(target, [Labelled("clip-000007", tmp_path / "a.jpg", boxes, (100, 200))], ["yes", "no: 'never'"])
    with zipfile.ZipFile(target) as archive:
        described = yaml.safe_load(archive.read("data.yaml"))
        # Cut at the picture's edges; what lies outside of it is no box.
        assert archive.read("train/labels/clip-000007.txt").decode() == "1 0.125000 0.400000 0.250000 0.400000\n"
        assert archive.read("train/images/clip-000007.jpg") == (tmp_path / "a.jpg").read_bytes()
    assert described == {"train": "train/images", "val": "train/images", "nc": 2, "names": ["yes", "no: 'never'"]}


def frames(*media: tuple[Medium, int]) -> list[Frame]:
    pixels = np.zeros((2, 2, 3), np.uint8)
    return [Frame(medium, number, number / 10, pixels) for medium, count in media for number in range(count)]


@pytest.mark.parametrize(("seconds", "expected"), [(None, 12), (0.5, 5), (1.0, 10), (9, 12)])
def test_so_many_seconds_of_all_videos_together(seconds: float | None, expected: int) -> None:
    other = Medium(PurePath("b.mp4"), Kind.VIDEO, "b.mp4", 10.0)
    items: list[Frame | Skipped] = [Skipped("one was broken."), *frames((CLIP, 6), (other, 6))]
    found = list(beginning(iter(items), seconds))
    assert found[0] is items[0]
    # The first video's last frame lasts until the second one begins.
    assert abs(len(found) - 1 - expected) <= 1


def test_several_live_streams_are_refused() -> None:
    live = [Medium(PurePath(name), Kind.LIVE, name) for name in ("a", "b")]
    with pytest.raises(InvalidConfiguration, match="one at a time"):
        list(beginning(iter(frames((live[0], 1), (live[1], 1))), 9))
