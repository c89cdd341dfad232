"""Fixtures for tests with real media, servers and browsers."""

from collections.abc import Iterator

import pytest

from tests.media.browser import browser

from .bright_squares import NAMES, SQUARES, SquareSource, square_detector
from .serving import Served, served

__all__ = ["browser"]


@pytest.fixture
def live() -> Iterator[Served]:
    with served(SquareSource(SQUARES), square_detector(NAMES), NAMES) as site:
        next(site.pictures())
        yield site
