"""A video in a bucket as the source of detection, with the login that the environment has."""

from pathlib import Path

import pytest

from masktrain_trainer.config import StoreSpec
from masktrain_trainer.detect.sources.base import Frame, SourceOptions
from masktrain_trainer.detect.sources.opening import open_source
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.stores import open_store
from tests.media.films import FRAMES, Films
from tests.stores.conftest import BUCKET


def test_a_video_in_a_bucket_is_read_and_gone_from_the_disk_at_the_end(
    s3_spec: tuple[StoreSpec, Path], films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, credentials = s3_spec
    for key in credentials.iterdir():
        monkeypatch.setenv(key.name, key.read_text().strip())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    prefix = f"s3://{BUCKET}/media"
    open_store(prefix, spec, credentials).put("my film #1.mp4", films("h264.mp4"))
    options = SourceOptions(endpoint=spec.endpoint)
    source = open_source(f"{prefix}/my film #1.mp4", options)
    frames = [item for item in source if isinstance(item, Frame)]
    assert (source.frames, len(frames)) == (FRAMES, FRAMES)
    assert (str(frames[0].medium.name), frames[0].medium.origin) == ("my film #1.mp4", f"{prefix}/my film #1.mp4")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidConfiguration) as caught:
        open_source(f"{prefix}/none.mp4", options)
    assert str(caught.value) == f"{prefix}/none.mp4 does not exist; correct --source."
