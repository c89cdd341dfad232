"""Numbers as options: what Python reads as one and no person means is refused in words."""

import math
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """Without `nan`, which is within every range because it is outside of none, and without `inf`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number.", param, ctx)
        return number


class ClassNumber(click.IntRange):
    """Of a model's class, from 0."""

    name = "class number"

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).strip().isdecimal():
            self.fail(f"{value!r} is no number of a class; the first of the model's names is 0.", param, ctx)
        return super().convert(value, param, ctx)
