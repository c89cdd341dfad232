"""Fixtures of media for every test below `tests/`."""

import pytest

from .films import Films


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    """Each film is made when it is first asked for, once in a run."""
    return Films(tmp_path_factory.mktemp("films"))
