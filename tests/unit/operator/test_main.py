"""The operator's command: what it says to people who start it wrongly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def started(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "masktrain_operator", *arguments]
    variables = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)


def test_without_its_one_required_setting_the_operator_names_it() -> None:
    done = started()

    assert (done.returncode, done.stderr) == (1, "MASKTRAIN_OPERATOR_TRAINER_IMAGE: Field required.\n")


@pytest.mark.parametrize(
    ("mirror", "words"),
    [
        ("http://hunter2.example.com", "must be a prefix that begins with s3://bucket, oci://bucket@namespace or"),
        ("https://me:hunter2@mirror.example.com", "must not hold a login"),
        ("https://mirror.example.com/v7.0?signature=hunter2", "must not hold a login (user:password@), a query"),
        ("https://objects.example.com/p/hunter2/n/ns/b/weights/o", "or a pre-authenticated request (/p/token/)"),
    ],
)
def test_a_mirror_with_a_key_in_it_is_refused_without_showing_it(mirror: str, words: str) -> None:
    done = started(MASKTRAIN_OPERATOR_TRAINER_IMAGE="trainer:1", MASKTRAIN_OPERATOR_WEIGHTS_MIRROR=mirror)

    assert done.returncode == 1
    assert done.stderr.startswith("MASKTRAIN_OPERATOR_WEIGHTS_MIRROR: must ")
    assert words in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sweep", "--stale-seconds=-1"), "-1 is not a positive number of seconds"),
        (("sweep", "--limit-seconds=soon"), "soon is not a positive number of seconds"),
        (("swep",), "invalid choice: 'swep'"),
    ],
)
def test_a_wrong_argument_is_named(arguments: tuple[str, ...], words: str) -> None:
    done = started(*arguments)

    assert done.returncode == 2
    assert words in done.stderr


def test_a_sweep_that_finds_no_cluster_says_so_in_a_sentence(tmp_path: Path) -> None:
    done = started("sweep", KUBECONFIG=str(tmp_path / "none"))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("The API server cannot be reached: ")


def test_a_sweep_that_nobody_answers_says_so_in_a_sentence(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        """
        {"apiVersion": "v1", "kind": "Config", "current-context": "c",
         "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
         "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
         "users": [{"name": "u", "user": {"token": "t"}}]}
        """
    )

    done = started("sweep", KUBECONFIG=str(kubeconfig))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("The API server cannot be reached: ")


def test_a_sweep_loads_no_kopf() -> None:
    program = "import sys, masktrain_operator.__main__; sys.exit('kopf' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
