"""report.html: one file that opens anywhere, with its pictures inside and nothing fetched from elsewhere."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .evaluation import ClassScores, Evaluation
from .illustration import SECTIONS, Illustration

_TEMPLATE = "report.html.j2"


def render_report(evaluation: Evaluation, illustrations: Sequence[Illustration]) -> str:
    """The page; `illustrations` stand in their sections in the given order."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["scores"] = _scores
    sections = {name: [figure for figure in illustrations if figure.section == name] for name in SECTIONS}
    return environment.get_template(_TEMPLATE).render(
        evaluation=evaluation, sections={name: figures for name, figures in sections.items() if figures}
    )


def _scores(row: ClassScores) -> list[str]:
    """A class without labels has none."""
    numbers = (row.precision, row.recall, row.map50, row.map50_95)
    return [f"{number:.3f}" if row.labels else "–" for number in numbers]
