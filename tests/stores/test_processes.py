"""The real processes of a pod, started as the supervisor starts them, with a real S3 server."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from masktrain_trainer.checkpoint.snapshot import write_snapshot
from masktrain_trainer.checkpoint.spool import UploaderStatus
from masktrain_trainer.config import CONFIG_VARIABLE, POD_UID_VARIABLE, StoreSpec
from masktrain_trainer.run_directory import RestoreResult, RunDirectory
from masktrain_trainer.stores import open_store
from tests.stores.training_run import OUTPUTS, artifacts, meta, objects, run_config, state

ACCESS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@dataclass(frozen=True)
class Pod:
    """Credentials come by environment, since the mounted Secret's path is fixed."""

    folder: Path
    uri: str
    endpoint: str | None
    keys: dict[str, str]

    def run(self, module: str, *options: object, orders: str = "") -> int:
        return subprocess.run(
            [sys.executable, "-m", f"masktrain_trainer.checkpoint.{module}", *map(str, options)],
            env={**os.environ, **self.keys, **self._configuration()},
            input=orders,
            text=True,
            check=False,
            timeout=120,
        ).returncode

    def restore(self) -> tuple[int, RestoreResult]:
        result = self.folder / "restore.json"
        code = self.run("restore", "--output", self.folder / "restore", "--result", result)
        return code, RestoreResult.model_validate_json(result.read_text())

    def upload(self, order: str) -> tuple[int, UploaderStatus]:
        artifacts(self.folder)
        options = ("--spool", self.folder / "spool", "--run-directory", self.folder)
        code = self.run("uploader", *options, "--run", 0, orders=order)
        status = RunDirectory(self.folder).uploader_status
        return code, UploaderStatus.model_validate_json(status.read_text())

    def _configuration(self) -> dict[str, str]:
        config = json.loads(run_config().to_json())
        config["checkpoint"] = {"uri": self.uri, "store": {"endpoint": self.endpoint} if self.endpoint else None}
        return {CONFIG_VARIABLE: json.dumps(config), POD_UID_VARIABLE: "pod-1"}


@pytest.fixture
def pod(s3_spec: tuple[StoreSpec, Path], tmp_path: Path) -> Callable[..., Pod]:
    spec, credentials = s3_spec
    keys = {name: (credentials / name).read_text().strip() for name in ACCESS_KEYS}

    def start(bucket: str = "checkpoints", **changed: str) -> Pod:
        return Pod(tmp_path, f"s3://{bucket}/{tmp_path.name}", spec.endpoint, {**keys, **changed})

    return start


def test_a_pod_restores_uploads_and_completes(
    pod: Callable[..., Pod], s3_spec: tuple[StoreSpec, Path], tmp_path: Path
) -> None:
    code, restored = pod().restore()
    assert (code, restored.run, restored.restored, restored.completed) == (0, 0, None, False)
    write_snapshot(tmp_path / "spool", state(10), meta(10))
    code, status = pod().upload("")
    assert (code, status.finished, status.uploaded) == (0, True, 1), "the input's end means drain"
    write_snapshot(tmp_path / "spool", state(20), meta(20))
    code, status = pod().upload("complete\n")
    assert (code, status.finished, len(status.outputs)) == (0, True, 3)
    assert objects(open_store(f"s3://checkpoints/{tmp_path.name}", *s3_spec)) == OUTPUTS
    code, restored = pod().restore()
    assert restored.best is not None
    assert (code, restored.completed, restored.best.step, len(restored.outputs)) == (0, True, 20, 3)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"bucket": "no-such-bucket"}, "Bucket 'no-such-bucket' does not exist at http://127.0.0.1"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong-and-secret"}, "refuses access to s3://checkpoints/"),
    ],
)
def test_a_store_that_cannot_work_ends_the_job_with_one_sentence(
    pod: Callable[..., Pod], changes: dict[str, str], sentence: str
) -> None:
    code, restored = pod(**changes).restore()
    assert restored.failure is not None
    assert (code, restored.failure.reason) == (64, "StoreDenied")
    assert sentence in restored.failure.message
    assert "wrong-and-secret" not in restored.failure.message


def test_a_store_that_does_not_answer_is_worth_another_try(tmp_path: Path) -> None:
    keys = dict.fromkeys(ACCESS_KEYS, "AKSOMETHING")
    code, restored = Pod(tmp_path, "s3://checkpoints", "http://127.0.0.1:9", keys).restore()
    assert (code, restored.failure and restored.failure.reason) == (1, "StoreUnavailable")


def test_restoring_does_not_wait_for_torch() -> None:
    program = "import sys, masktrain_trainer.checkpoint.restore; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
