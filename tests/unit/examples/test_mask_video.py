"""The drawn video: the same for the same seed, moving, and with its truth in the pictures."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import yaml

from examples.masks.passages import Hardship, passages_of
from examples.masks.video import Box, draw_video, write_truth, write_video

WIDTH, HEIGHT = 160, 96
Drawn = list[tuple[npt.NDArray[np.uint8], list[Box]]]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return list(draw_video(12, WIDTH, HEIGHT, 7))


def test_a_longer_video_begins_with_the_shorter_one(drawn: Drawn) -> None:
    again = list(draw_video(4, WIDTH, HEIGHT, 7))
    for (frame, boxes), (first, first_boxes) in zip(again, drawn, strict=False):
        np.testing.assert_array_equal(frame, first)
        assert boxes == first_boxes


def test_frames_differ_and_boxes_move_but_little(drawn: Drawn) -> None:
    (first, boxes), (second, moved) = drawn[0], drawn[1]
    assert (first != second).any()
    assert [box[0] for box in boxes] == [box[0] for box in moved]
    apart = np.abs(np.array(boxes)[:, 1:] - np.array(moved)[:, 1:])
    assert 0 < apart.max() < WIDTH / 20


def test_an_entrance_is_quiet_but_for_passages_that_are_darker_softer_and_fuller() -> None:
    passages = passages_of(7, 2500)
    middle = {passage.hardship: passage.first + passage.frames // 2 for passage in reversed(passages)}
    assert set(middle) == set(Hardship)
    film = list(draw_video(max(middle.values()) // 5 + 1, WIDTH, HEIGHT, 7, entrance=True, step=5))
    calm = [index for index in range(len(film)) if not any(one.strength(5 * index) for one in passages)]
    people = np.array([len(boxes) for _, boxes in film])
    assert 0.1 < (people[calm] == 0).mean() < 0.7
    assert people[calm].max() <= 2
    assert min(people[middle[Hardship.CROWD] // 5], people[middle[Hardship.FAR] // 5]) >= 3
    brightness = np.array([frame.mean() for frame, _ in film])
    sharpness = np.array([cv2.Laplacian(frame, cv2.CV_64F).var() for frame, _ in film])
    assert brightness[middle[Hardship.DUSK] // 5] < brightness[calm].min() * 0.7
    assert sharpness[middle[Hardship.UNSHARP] // 5] < sharpness[calm].min()


def test_people_far_away_are_small() -> None:
    far = next(passage for passage in passages_of(7, 2500) if passage.hardship is Hardship.FAR)
    (*_, (_, boxes)) = draw_video(far.first // 5 + far.frames // 10, WIDTH, HEIGHT, 7, entrance=True, step=5)
    assert np.median([x2 - x1 for _, x1, _, x2, _ in boxes]) < 0.1 * WIDTH


def test_a_film_of_fewer_moments_shows_the_same_ones() -> None:
    whole, part = (list(draw_video(count, WIDTH, HEIGHT, 7, step=step)) for count, step in ((5, 1), (3, 2)))
    for (frame, boxes), (same, same_boxes) in zip(whole[::2], part, strict=True):
        np.testing.assert_array_equal(frame, same)
        assert boxes == same_boxes


def test_boxes_lie_in_the_picture_and_hold_a_face(drawn: Drawn) -> None:
    boxes = np.array([box for _, held in drawn for box in held])
    assert len(boxes)
    assert (boxes[:, 1:3] >= 0).all()
    assert (boxes[:, 3] <= WIDTH).all()
    assert (boxes[:, 4] <= HEIGHT).all()
    assert (boxes[:, 3:] > boxes[:, 1:3]).all()


def test_video_and_truth_are_of_the_same_frames(drawn: Drawn, tmp_path: Path) -> None:
    film = cv2.VideoCapture(str(write_video(tmp_path / "clip.mp4", (frame for frame, _ in drawn), 25)))
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(25)
    seen = []
    while (read := film.read())[0]:
        seen.append(read[1][..., ::-1])
    assert len(seen) == len(drawn)
    # Compressed, and yet nearer to its own frame than that is to a black one.
    assert np.abs(seen[-1].astype(int) - drawn[-1][0]).mean() < drawn[-1][0].mean() / 4

    with zipfile.ZipFile(write_truth(tmp_path / "truth.zip", drawn, every=5)) as archive:
        assert sum(name.endswith(".jpg") for name in archive.namelist()) == 3
        rows = [archive.read(name).decode().splitlines() for name in sorted(archive.namelist()) if name.endswith("txt")]
        assert yaml.safe_load(archive.read("data.yaml"))["names"] == ["incorrect", "mask", "no mask"]
    assert [len(of_frame) for of_frame in rows] == [len(drawn[number][1]) for number in (0, 5, 10)]
    label, x, y, width, height = (float(field) for field in rows[0][0].split())
    x1, y1, x2, y2 = (
        (x - width / 2) * WIDTH,
        (y - height / 2) * HEIGHT,
        (x + width / 2) * WIDTH,
        (y + height / 2) * HEIGHT,
    )
    assert (label, x1, y1, x2, y2) == pytest.approx(drawn[0][1][0], abs=1e-3)
