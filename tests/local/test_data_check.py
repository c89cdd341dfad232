"""`masktrain data check --deep` as a person calls it: small models judge pictures that they have not seen."""

import subprocess
import sys
from pathlib import Path

from examples.masks.build import build_dataset


def test_small_models_are_trained_and_judge_what_they_have_not_seen(tmp_path: Path) -> None:
    archive = build_dataset(tmp_path / "faces.zip", images=20, size=96)
    options = ["--deep", "--folds", "2", "--epochs", "1", "--image-size", "64", "--weights", "scratch"]
    output = tmp_path / "suspects"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "masktrain_trainer.cli.main",
            "data",
            "check",
            str(archive),
            *options,
            "--output",
            str(output),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for number in (1, 2):
        assert f"fold {number} of 2: training without 10 of 20 pictures" in done.stdout
    assert done.stdout.count("checkpoint of epoch 0") == 2
