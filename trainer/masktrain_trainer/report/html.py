"""report.html: one file that opens anywhere, with its pictures inside and nothing fetched from elsewhere."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from .evaluation import ClassScores, Evaluation

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2430; }
body { margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
p.facts { color: #5a6675; margin-top: .2rem; }
table { border-collapse: collapse; }
th, td { padding: .3rem .9rem; text-align: right; border-bottom: 1px solid #dde3ea; }
th:first-child, td:first-child { text-align: left; } tr.all { font-weight: 600; }
img { max-width: 100%; border: 1px solid #dde3ea; }
"""
_HEADINGS = ("class", "images", "labels", "precision", "recall", "mAP50", "mAP50-95")


def render_report(evaluation: Evaluation, pictures: Sequence[tuple[str, Path]]) -> str:
    """`pictures`: a heading and an image file each, in order."""
    title = escape(evaluation.title)
    early = ", stopped early" if evaluation.stopped_early else ""
    facts = (
        f"{evaluation.architecture} at {evaluation.image_size} px, {evaluation.epochs_trained} epochs{early}; "
        f"these are the weights of epoch {evaluation.epoch}, which are in best.pt."
    )
    return "\n".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body>",
            f'<h1>{title}</h1><p class="facts">{escape(facts)}</p>',
            "<h2>Validation</h2>",
            _table(evaluation),
            *_advice(evaluation),
            *(f"<h2>{escape(heading)}</h2>{_image(path, heading)}" for heading, path in pictures),
            "</body></html>\n",
        )
    )


def _table(evaluation: Evaluation) -> str:
    heading = "".join(f"<th>{word}</th>" for word in _HEADINGS)
    rows = [_row(evaluation.overall, "all"), *(_row(scores, "class") for scores in evaluation.classes)]
    return f"<table><tr>{heading}</tr>{''.join(rows)}</table>"


def _advice(evaluation: Evaluation) -> Iterable[str]:
    """What the next training could do better."""
    if evaluation.advice:
        lines = "".join(f"<li>{escape(line)}</li>" for line in evaluation.advice)
        yield f"<h2>Advice</h2><ul>{lines}</ul>"


def _row(scores: ClassScores, style: str) -> str:
    numbers = (scores.precision, scores.recall, scores.map50, scores.map50_95)
    cells: Iterable[str] = (
        escape(scores.name),
        str(scores.images),
        str(scores.labels),
        *(f"{number:.3f}" for number in numbers),
    )
    return f'<tr class="{style}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _image(path: Path, description: str) -> str:
    kind = "jpeg" if path.suffix == ".jpg" else "png"
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{escape(description)}" src="data:image/{kind};base64,{data}">'
