"""What gangs are made of."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from masktrain_trainer.config import CONFIG_VARIABLE
from masktrain_trainer.data import prepare
from tests.ddp.fork_host import ForkHost
from tests.ddp.gang import run_config
from tests.ddp.tiny_dataset import write_dataset


@pytest.fixture(scope="session")
def host() -> Iterator[ForkHost]:
    with ForkHost() as host:
        yield host


@pytest.fixture(scope="session")
def prepared_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty training pictures at 64 px."""
    folder = tmp_path_factory.mktemp("data")
    archive = write_dataset(folder / "tiny.zip", training=20)
    config = run_config(f"file://{folder}", {"imageSize": 64}, dataset=f"file://{archive}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CONFIG_VARIABLE, json.dumps(config))
        assert prepare.main(["--output", str(folder / "data"), "--result", str(folder / "prepare.json")]) == 0
    return folder / "data"
