"""What the last evaluation found, as the worker leaves it for the report: numbers and a few pictures' boxes."""

from pydantic import Field

from masktrain_trainer.config import Contract


class ClassScores(Contract):
    """Precision and recall are those at the confidence with the best mean F1."""

    name: str
    images: int
    labels: int
    precision: float
    recall: float
    map50: float
    map50_95: float


class SplitScores(Contract):
    overall: ClassScores
    classes: list[ClassScores]


class ClassCurve(Contract):
    """One class at IoU 0.5: precision and recall at `Evaluation.confidences`, and the curve of both at recalls from 0
    to 1 in equal steps.
    """

    class_index: int
    precision: list[float]
    recall: list[float]
    precision_at_recall: list[float]


class PictureBox(Contract):
    """`xyxy` in pixels of the original picture; labels have no confidence."""

    class_index: int
    xyxy: tuple[float, float, float, float]
    confidence: float | None = None


class EvaluatedPicture(Contract):
    name: str
    path: str
    labels: list[PictureBox]
    predictions: list[PictureBox]


class Fact(Contract):
    """One line of what was trained, on what, and how long."""

    name: str
    value: str


class Evaluation(Contract):
    """`confusion[predicted][true]` counts; the last row and column are the background. `advice`: a sentence each.
    `fitness_warning`: why `epoch` is the newest and not the best, if none had a fitness above 0.

    `confidence` is the threshold with the best mean F1; `settings` are all in force, by their dotted names.
    """

    title: str
    architecture: str
    image_size: int
    epoch: int
    epochs_trained: int
    stopped_early: bool
    fitness_warning: str | None = None
    overall: ClassScores
    classes: list[ClassScores]
    test: SplitScores | None = None
    confidence: float = 0.0
    confidences: list[float] = Field(default=[])
    curves: list[ClassCurve] = Field(default=[])
    confusion: list[list[float]] = Field(default=[])
    pictures: list[EvaluatedPicture] = Field(default=[])
    advice: list[str] = Field(default=[])
    facts: list[Fact] = Field(default=[])
    settings: dict[str, str] = Field(default={})
