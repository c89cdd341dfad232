"""A copy of YOLOv5's release in a bucket, read with the login of the job's checkpoints."""

from pathlib import Path

import pytest

from devcluster.oracle.object_storage import NAMESPACE
from masktrain_trainer.config import WEIGHTS_MIRROR_VARIABLE, Architecture, ModelSpec, StoreSpec
from masktrain_trainer.errors import InvalidWeights
from masktrain_trainer.stores import open_store
from masktrain_trainer.weights.load import fetch_weights
from tests.stores.conftest import BUCKET
from tests.unit.trainer.weights.yolov5_files import as_released

OFFICIAL = ModelSpec(architecture=Architecture.YOLOV5N, weights="official")


@pytest.fixture(params=["s3", "oci"])
def mirror(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, StoreSpec, Path]:
    """An empty one, and how to log in there."""
    place = {"s3": f"s3://{BUCKET}", "oci": f"oci://{BUCKET}@{NAMESPACE}"}[request.param]
    prefix = f"{place}/{tmp_path.name}/v7.0"
    monkeypatch.setenv(WEIGHTS_MIRROR_VARIABLE, prefix)
    spec, credentials = request.getfixturevalue(f"{request.param}_spec")
    return prefix, spec, credentials


def test_official_weights_come_from_a_bucket(mirror: tuple[str, StoreSpec, Path], tmp_path: Path) -> None:
    prefix, spec, credentials = mirror
    open_store(prefix, spec, credentials).put("yolov5n.pt", as_released(tmp_path / "yolov5n.pt"))
    weights = fetch_weights(OFFICIAL, spec, credentials, tmp_path / "weights.pt")
    assert (weights.architecture, len(weights.names)) == (Architecture.YOLOV5N, 80)


def test_a_file_that_the_mirror_lacks_ends_the_job(mirror: tuple[str, StoreSpec, Path], tmp_path: Path) -> None:
    prefix, spec, credentials = mirror
    with pytest.raises(InvalidWeights, match=f"{prefix}/yolov5n.pt cannot be had .it does not exist.: .*weightsMirror"):
        fetch_weights(OFFICIAL, spec, credentials, tmp_path / "weights.pt")


def test_a_mirror_that_lets_the_job_not_in_ends_it(mirror: tuple[str, StoreSpec, Path], tmp_path: Path) -> None:
    _, spec, _ = mirror
    with pytest.raises(InvalidWeights, match=r"cannot be had \(.*: create the job anew with model\.weights scratch"):
        fetch_weights(OFFICIAL, spec, tmp_path / "no such Secret", tmp_path / "weights.pt")
