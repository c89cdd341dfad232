"""What the last validation found, as the worker leaves it for the report: numbers and a few pictures' boxes."""

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


class Evaluation(Contract):
    """`confusion[predicted][true]` counts; the last row and column are the background. `advice`: a sentence each."""

    title: str
    architecture: str
    image_size: int
    epoch: int
    epochs_trained: int
    stopped_early: bool
    overall: ClassScores
    classes: list[ClassScores]
    confusion: list[list[float]] = Field(default=[])
    pictures: list[EvaluatedPicture] = Field(default=[])
    advice: list[str] = Field(default=[])
