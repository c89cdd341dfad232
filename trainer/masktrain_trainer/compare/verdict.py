"""Which of two models is better, in one sentence with its reasons: by labels if there are some, else by their boxes.

Without labels three things speak: how well each agrees with the objects that both show over time (`witness.py`), how
steady its boxes are, and how sure it is of them. Where they don't speak clearly there is no verdict.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from masktrain_trainer.report.evaluation import ClassScores

from .recording import Recording
from .tracks import Steadiness, Track, follow, patience, steadiness
from .witness import Agreement, Witness, agreement, call_witness

LEAST_DIFFERENCE = 0.03
"""In mAP50 on the objects of the witness: what is less is no difference."""
LEAST_ERRORS = 1.0
"""The difference as a multiple of its standard error, likewise."""
LEAST_OBJECTS = 30
"""Boxes of the witness, below which it is no witness."""
LEAST_LABELLED_DIFFERENCE = 0.005
"""In mAP50 on labels."""
NOTABLE = 1.2
"""From which ratio on speed and size are worth a word."""


@dataclass(frozen=True)
class Numbers:
    """What is known of one model. `megabytes` is None for a file elsewhere, `labelled` without a labelled set."""

    title: str
    frames_per_second: float
    megabytes: float | None
    boxes_per_frame: float
    confidence: float
    """Mean of the boxes that are shown."""
    steadiness: Steadiness
    agreement: float
    labelled: ClassScores | None = None


@dataclass(frozen=True)
class Evidence:
    """Everything that the verdict is made of. `tracks`: of each model's own boxes."""

    numbers: tuple[Numbers, Numbers]
    agreement: Agreement
    witness: Witness
    tracks: tuple[list[Track], list[Track]]
    moving: bool
    identical: bool
    """Both found the same boxes everywhere."""


@dataclass(frozen=True)
class Verdict:
    """`better`: 0 or 1, None if they are alike. `sentence` says why."""

    better: int | None
    sentence: str


def gather(
    recording: Recording,
    megabytes: tuple[float | None, float | None],
    labelled: tuple[ClassScores, ClassScores] | None = None,
) -> Evidence:
    witness = call_witness(recording)
    agreed = agreement(recording, witness)
    tracks = tuple(_own_tracks(recording, model) for model in (0, 1))
    numbers = tuple(
        _numbers(
            recording,
            model,
            megabytes=megabytes[model],
            tracks=tracks[model],
            agreed=agreed,
            labelled=labelled[model] if labelled else None,
        )
        for model in (0, 1)
    )
    return Evidence(
        (numbers[0], numbers[1]),
        agreed,
        witness,
        (tracks[0], tracks[1]),
        recording.moving,
        all(_equal(recording, index) for index in range(len(recording))),
    )


def _own_tracks(recording: Recording, model: int) -> list[Track]:
    if not recording.moving:
        return []
    return follow(recording.compared(model), patience_frames=patience(recording.rate), cuts=frozenset(recording.cuts))


def _numbers(
    recording: Recording,
    model: int,
    *,
    megabytes: float | None,
    tracks: list[Track],
    agreed: Agreement,
    labelled: ClassScores | None,
) -> Numbers:
    shown = recording.shown(model)
    boxes = sum(len(found) for found in shown)
    return Numbers(
        title=recording.titles[model],
        frames_per_second=recording.frames_per_second(model),
        megabytes=megabytes,
        boxes_per_frame=boxes / max(1, len(recording)),
        confidence=sum(float(found.confidence_N.sum()) for found in shown) / max(1, boxes),
        steadiness=steadiness(tracks),
        agreement=agreed.scores[model],
        labelled=labelled,
    )


def _equal(recording: Recording, index: int) -> bool:
    first, second = (boxes[index] for boxes in recording.boxes)
    return (
        len(first) == len(second)
        and bool((first.label_N == second.label_N).all())
        and bool((first.confidence_N == second.confidence_N).all())
        and bool((first.xyxy_N4 == second.xyxy_N4).all())
    )


def judge(evidence: Evidence) -> Verdict:
    """By the labels if there are some: they decide, whatever the boxes say."""
    if evidence.identical:
        return Verdict(None, f"No verdict: {_both(evidence)} find the same boxes everywhere, as the same model does.")
    better, reasons = _by_labels(evidence) if evidence.numbers[0].labelled else _by_boxes(evidence)
    if better is None:
        return Verdict(None, _sentence(f"No verdict: {_both(evidence)} are alike", reasons, _in_favour(evidence)))
    named = evidence.numbers[better].title
    return Verdict(better, _sentence(f"{named} is the better one", reasons, _cost(evidence, better)))


def _both(evidence: Evidence) -> str:
    return " and ".join(numbers.title for numbers in evidence.numbers)


def _by_labels(evidence: Evidence) -> tuple[int | None, list[str]]:
    scores = [numbers.labelled.map50 for numbers in evidence.numbers if numbers.labelled is not None]
    apart = scores[0] - scores[1]
    if abs(apart) < LEAST_LABELLED_DIFFERENCE:
        return None, [f"mAP50 is {scores[0]:.3f} and {scores[1]:.3f} on the labelled set"]
    better = 0 if apart > 0 else 1
    decides = f"mAP50 on the labelled set decides, {scores[better]:.3f} against {scores[1 - better]:.3f}"
    return better, [decides, *_steadier(evidence, better)]


def _by_boxes(evidence: Evidence) -> tuple[int | None, list[str]]:
    agreed = evidence.agreement
    if agreed.objects < LEAST_OBJECTS:
        return None, [f"they show only {agreed.objects} boxes that last, which is too few to tell"]
    better = 0 if agreed.difference > 0 else 1
    what = "what both see over time" if evidence.moving else "what both see"
    high, low = agreed.scores[better], agreed.scores[1 - better]
    if abs(agreed.difference) < max(LEAST_DIFFERENCE, LEAST_ERRORS * agreed.error):
        scores = f"{agreed.scores[0]:.2f} and {agreed.scores[1]:.2f} mAP50"
        return None, [f"they agree with {what} to {scores}, with an uncertainty of {agreed.error:.2f}"]
    return better, [
        f"without labels, it agrees better with {what} ({high:.2f} against {low:.2f} mAP50)",
        *_steadier(evidence, better),
    ]


def _steadier(evidence: Evidence, better: int) -> Iterator[str]:
    """How its boxes are steadier than the other one's, where they are."""
    if not evidence.moving:
        return
    mine, other = evidence.numbers[better].steadiness, evidence.numbers[1 - better].steadiness
    if mine.missing < 0.8 * other.missing:
        shares = f"{100 * mine.missing:.0f} % of a track's frames against {100 * other.missing:.0f} %"
        yield f"its boxes blink less ({shares})"
    if mine.isolated_share < 0.8 * other.isolated_share:
        shares = f"{100 * mine.isolated_share:.1f} % against {100 * other.isolated_share:.1f} %"
        yield f"fewer of them last for one frame only ({shares})"
    if mine.switches < 0.8 * other.switches:
        yield f"its classes switch less often ({mine.switches} times against {other.switches})"


def _cost(evidence: Evidence, better: int) -> str | None:
    """What the better one costs, or saves, in speed and size."""
    mine, other = evidence.numbers[better], evidence.numbers[1 - better]
    faster = _ratio(mine.frames_per_second, other.frames_per_second, "as fast")
    slower = _ratio(other.frames_per_second, mine.frames_per_second, "as fast")
    bigger = _ratio(mine.megabytes, other.megabytes, "the size")
    smaller = _ratio(other.megabytes, mine.megabytes, "the size")
    gains = [f"{faster}"] if faster else []
    if smaller:
        gains.append(f"{100 / _quotient(other.megabytes, mine.megabytes):.0f} % of the size")
    costs = [f"{slower}"] if slower else []
    if bigger:
        costs.append(f"{100 / _quotient(mine.megabytes, other.megabytes):.0f} % of the size")
    parts = [f"it is {' and '.join(gains)}"] if gains else []
    parts += [f"{other.title} is {' and '.join(costs)}"] if costs else []
    return ", but ".join(parts) or None


def _in_favour(evidence: Evidence) -> str | None:
    """Of two that are alike the faster one is to be had for nothing."""
    first, second = evidence.numbers
    faster = 0 if first.frames_per_second >= second.frames_per_second else 1
    mine, other = evidence.numbers[faster], evidence.numbers[1 - faster]
    told = _ratio(mine.frames_per_second, other.frames_per_second, "as fast")
    return f"{mine.title} is {told}: take that one" if told else None


def _ratio(mine: float | None, other: float | None, what: str) -> str | None:
    if not mine or not other or mine / other < NOTABLE:
        return None
    return f"{mine / other:.1f} times {what}"


def _quotient(mine: float | None, other: float | None) -> float:
    assert mine
    assert other
    return mine / other


def _sentence(claim: str, reasons: list[str], remark: str | None) -> str:
    text = claim + (f": {', '.join(reasons)}" if reasons else "")
    return f"{text}; {remark}." if remark else f"{text}."
