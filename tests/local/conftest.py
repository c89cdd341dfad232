"""A tiny data set and a job for it, as a person has them in a folder; commands run as processes of their own."""

import zipfile
from pathlib import Path

import pytest

from tests.ddp.tiny_dataset import write_dataset
from tests.local.workplace import Workplace

JOB = """\
apiVersion: masktrain.dev/v1alpha1
kind: MaskTrainingJob
metadata: {name: tiny}
spec:
  model: {architecture: yolov5n, weights: scratch}
  dataset: {uri: s3://datasets/tiny.zip, store: {credentialsSecretRef: {name: store-credentials}}}
  training: {epochs: 60, batchSize: 4, imageSize: 64, workers: 0}
  checkpoint: {uri: s3://checkpoints, store: {credentialsSecretRef: {name: store-credentials}}}
  compute: {nodes: 3, gpusPerNode: 2, nodePoolRef: {name: v100}}
  limits: {maxCost: 12.5}
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    write_dataset(tmp_path / "tiny.zip")
    with zipfile.ZipFile(tmp_path / "tiny.zip") as archive:
        archive.extractall(tmp_path / "tiny")
    (tmp_path / "job.yaml").write_text(JOB)
    return Workplace(tmp_path)
