"""The project's own images: one environment for each Dockerfile target, from the locked requirements and this checkout.

They hold what the real images hold, so an operator that imports torch or a trainer that imports kopf fails here too.
They lie in the cache and not in the checkout, which may be below /tmp: pods mount a volume of their own there.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

from tests.devcluster.images import Image, python_image
from tests.devcluster.layout import REPOSITORY, cache

ENTRYPOINTS = {"operator": "masktrain-operator", "trainer": "masktrain"}
UV = Path(sys.executable).with_name("uv")


def build_project_images() -> list[Image]:
    """Build or refresh the environments of `masktrain-operator:dev` and `masktrain-trainer:dev`.

    Raises subprocess.CalledProcessError with uv's own message if a package cannot be installed.
    """
    checkout = hashlib.sha256(str(REPOSITORY).encode()).hexdigest()[:12]
    folder = cache() / "images" / checkout
    return [_build(folder / target, target, entrypoint) for target, entrypoint in ENTRYPOINTS.items()]


def _build(environment: Path, target: str, entrypoint: str) -> Image:
    _install_requirements(environment, REPOSITORY / "requirements" / f"{target}.txt")
    _uv(
        "pip",
        "install",
        "--python",
        str(environment),
        "--no-deps",
        "--compile-bytecode",
        "--reinstall-package",
        "masktrain",
        str(REPOSITORY),
    )
    return python_image(f"masktrain-{target}:dev", environment, (f"{environment}/bin/{entrypoint}",))


def _install_requirements(environment: Path, requirements: Path) -> None:
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    stamp = environment / "requirements.sha256"
    if stamp.exists() and stamp.read_text() == digest:
        return
    _uv("venv", "--clear", "--python", sys.executable, str(environment))
    _uv(
        "pip",
        "install",
        "--python",
        str(environment),
        "--require-hashes",
        "--compile-bytecode",
        "--requirement",
        str(requirements),
    )
    stamp.write_text(digest)


def _uv(*arguments: str) -> None:
    subprocess.run([UV, *arguments, "--quiet"], check=True)
