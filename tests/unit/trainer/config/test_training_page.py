"""docs/training.md names every field and says what the presets say."""

import re
from pathlib import Path

import pytest

from masktrain_trainer.config import PRESETS, Hyperparameters, TrainingSpec

PAGE = (Path(__file__).parents[4] / "docs" / "training.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [field.alias for field in TrainingSpec.model_fields.values()])
def test_every_field_has_a_row(name: str) -> None:
    assert f"\n| `{name}` |" in PAGE


def rows() -> dict[str, list[float]]:
    """Hyperparameter to its values in each preset, '=' meaning Low's."""
    found: dict[str, list[float]] = {}
    for line in PAGE.partition("## Hyperparameters")[2].splitlines():
        names, *cells = line.strip("|").split(" | ")
        if len(cells) != 5 or "`" not in names or "." in names:
            continue
        aliases = re.findall(r"`(\w+)`", names)
        low = [float(value) for value in cells[1].split(", ")]
        for index, alias in enumerate(aliases):
            presets = [
                low if "=" in cell else [float(value) for value in cell.strip(" |").split(", ")] for cell in cells[1:]
            ]
            found[alias] = [values[index % len(values)] for values in presets]
    return found


@pytest.mark.parametrize(
    ("name", "alias"), [(name, field.alias) for name, field in Hyperparameters.model_fields.items()]
)
def test_every_hyperparameter_has_its_presets(name: str, alias: str) -> None:
    assert rows()[alias] == [getattr(values, name) for values in PRESETS.values()]
