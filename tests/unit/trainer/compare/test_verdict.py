"""Which of two models is better, told from their boxes alone, by staged models whose skill is known."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from masktrain_trainer.compare.matching import FrameBoxes
from masktrain_trainer.compare.recording import Recording
from masktrain_trainer.compare.verdict import Verdict, gather, judge
from masktrain_trainer.compare.witness import call_witness
from masktrain_trainer.model.metrics import DetectionMetrics, DetectionStatistics
from masktrain_trainer.report.evaluation import ClassScores

from .staged import Skill, imagined, labels, staged, truth

FRAMES = 120
SKILLS = {
    "great": Skill(0.8, 0.08, 0.03, 0.1),
    "fair": Skill(0.5, 0.15, 0.2, 0.5),
    "weak": Skill(0.22, 0.12, 0.4, 1.0),
    "ghosts": Skill(0.6, 0.12, 0.1, 0.3, ghosts=5),
}


def verdict_of(recording: Recording) -> Verdict:
    return judge(gather(recording, (4.0, 14.0)))


def true_map50(found: list[FrameBoxes], objects: list[FrameBoxes]) -> float:
    parts = []
    for boxes, of_frame in zip(found, objects, strict=True):
        columns = (boxes.xyxy_N4, boxes.confidence_N[:, None], boxes.label_N[:, None])
        detections = torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))
        plain = labels(of_frame)
        rows = torch.from_numpy(np.concatenate((plain.label_N[:, None], plain.xyxy_N4), axis=1).astype(np.float32))
        parts.append(DetectionStatistics.of_image(detections, rows))
    return DetectionMetrics.from_statistics(DetectionStatistics.concatenate(parts)).map50


def test_the_better_of_two_is_named_whichever_comes_first() -> None:
    objects = truth(FRAMES, 3)
    found = {name: imagined(objects, skill, number) for number, (name, skill) in enumerate(SKILLS.items())}
    scores = {name: true_map50(boxes, objects) for name, boxes in found.items()}
    apart = [pair for pair in combinations(SKILLS, 2) if abs(scores[pair[0]] - scores[pair[1]]) >= 0.1]
    assert len(apart) >= 4
    for first, second in apart:
        better = 0 if scores[first] > scores[second] else 1
        assert verdict_of(staged(found[first], found[second])).better == better, (first, second)
        assert verdict_of(staged(found[second], found[first])).better == 1 - better, (second, first)


def test_two_of_one_skill_are_alike_and_the_faster_one_is_recommended() -> None:
    objects = truth(FRAMES, 5)
    found = [imagined(objects, SKILLS["great"], seed) for seed in (1, 2)]
    verdict = verdict_of(staged(found[0], found[1]))
    assert verdict.better is None
    assert verdict.sentence.startswith("No verdict: first.pt (yolov5n) and second.pt (yolov5s) are alike")
    assert verdict.sentence.endswith("first.pt (yolov5n) is 2.5 times as fast: take that one.")


def test_the_same_model_is_said_to_be_the_same() -> None:
    found = imagined(truth(30, 5), SKILLS["fair"], 1)
    assert "the same boxes everywhere" in verdict_of(staged(found, found)).sentence


def test_nothing_seen_is_no_verdict() -> None:
    one = FrameBoxes(np.array([[0, 0, 9, 9]], np.float32), np.array([0.1], np.float32), np.array([0]))
    verdict = verdict_of(staged([FrameBoxes()] * 9, [one, *[FrameBoxes()] * 8]))
    assert verdict.better is None
    assert "too few to tell" in verdict.sentence


def scores(map50: float) -> ClassScores:
    return ClassScores(name="all", images=9, labels=20, precision=0.5, recall=0.5, map50=map50, map50_95=map50 / 2)


@pytest.mark.parametrize(
    ("map50", "better", "words"),
    [((0.3, 0.6), 1, "0.600 against 0.300"), ((0.6, 0.3), 0, "0.600 against 0.300"), ((0.5, 0.502), None, "are alike")],
)
def test_labels_decide_whatever_the_boxes_say(map50: tuple[float, float], better: int | None, words: str) -> None:
    objects = truth(FRAMES, 3)
    recording = staged(imagined(objects, SKILLS["great"], 1), imagined(objects, SKILLS["weak"], 2))
    verdict = judge(gather(recording, (4.0, 14.0), (scores(map50[0]), scores(map50[1]))))
    assert verdict.better == better
    assert words in verdict.sentence
    assert "labelled set" in verdict.sentence


def test_speed_and_size_are_in_the_sentence() -> None:
    objects = truth(FRAMES, 3)
    great, weak = imagined(objects, SKILLS["great"], 1), imagined(objects, SKILLS["weak"], 2)
    assert verdict_of(staged(great, weak)).sentence.endswith("it is 2.5 times as fast and 29 % of the size.")
    slower = verdict_of(staged(weak, great)).sentence
    assert slower.endswith("first.pt (yolov5n) is 2.5 times as fast and 29 % of the size.")


def test_a_witness_fills_gaps_and_believes_no_moment() -> None:
    """An object that neither model sees for some frames was there; a box of one frame was not."""
    objects = truth(60, 8, objects=1)
    there = [frame for frame, row in enumerate(objects) if len(row)]
    hidden = set(there[10:14])
    found = [FrameBoxes() if frame in hidden else labels(row) for frame, row in enumerate(objects)]
    elsewhere = np.array([[600, 320, 635, 355]], np.float32)
    moment = FrameBoxes(elsewhere, np.array([0.9], np.float32), np.array([0]))
    lone = next(frame for frame in there if frame not in hidden)
    second = [replace(moment) if frame == lone else row for frame, row in enumerate(found)]
    witness = call_witness(staged(found, second))
    assert len(witness.tracks) == 1
    assert [frame for frame, row in enumerate(witness.frames) if len(row)] == there


def standing(frames: int, *stretches: range) -> list[FrameBoxes]:
    box = FrameBoxes(np.array([[300, 100, 340, 150]], np.float32), np.array([0.8], np.float32), np.array([1]))
    return [box if any(frame in there for there in stretches) else FrameBoxes() for frame in range(frames)]


def test_of_two_that_see_the_same_people_the_one_with_a_ghost_is_worse() -> None:
    people = [labels(row) for row in truth(FRAMES, 3)]
    ghost = FrameBoxes(np.array([[300, 100, 340, 150]], np.float32), np.array([0.8], np.float32), np.array([1]))
    appears = [*range(10, 50), *range(70, 110)]
    people = [FrameBoxes(row.xyxy_N4, row.confidence_N * 0.7, row.label_N) for row in people]
    haunted = [FrameBoxes.joined([ghost, row]) if frame in appears else row for frame, row in enumerate(people)]
    assert verdict_of(staged(people, haunted)).better == 0


def test_pictures_have_no_tracks_and_still_a_verdict() -> None:
    objects = truth(FRAMES, 3)
    recording = staged(
        imagined(objects, SKILLS["great"], 1), imagined(objects, SKILLS["weak"], 2), rate=2, moving=False
    )
    evidence = gather(recording, (None, None))
    assert evidence.witness.tracks == []
    assert judge(evidence).better == 0
    assert "over time" not in judge(evidence).sentence
