"""Environments outside the project in which the other trainer, and ours on its version of torch, are run.

Each is made by uv on first use (several GB: torch and its CUDA libraries) and kept. Set UV_TORCH_BACKEND=cpu for the
smaller wheels, where their index can be reached.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

PEERS = Path.home() / ".cache" / "masktrain" / "peers"
PEER_TORCH = "2.5.1"
"""The newest on which the other trainer still runs: later ones refuse to load its checkpoints."""
YOLOV5 = ("yolov5==7.0.14", f"torch=={PEER_TORCH}", "numpy<2", "setuptools<81")
REPOSITORY = Path(__file__).parents[2]
COMPLETE = "complete"


def yolov5_environment() -> Path:
    """Folder of an environment with ultralytics/yolov5 v7.0."""
    return _environment("yolov5-7.0.14", YOLOV5)


@cache
def own_environment_on_peer_torch() -> Path:
    """Folder of an environment with this project, as it is now, on the other trainer's version of torch."""
    name = f"masktrain-torch-{PEER_TORCH}"
    overrides = PEERS / f"{name}.overrides"
    PEERS.mkdir(parents=True, exist_ok=True)
    overrides.write_text(f"torch=={PEER_TORCH}\ntorchvision==0.20.1\n", encoding="utf-8")
    environment = _environment(name, (f"{REPOSITORY}[trainer]", "--override", str(overrides)))
    _uv("pip", "install", "--python", str(environment / "bin" / "python"), "--no-deps", "--reinstall", str(REPOSITORY))
    return environment


def _environment(name: str, requirements: Sequence[str]) -> Path:
    environment = PEERS / name
    mark = environment / COMPLETE
    if not mark.exists():
        print(f"installing {requirements[0]} into {environment}", file=sys.stderr, flush=True)
        _uv("venv", "--clear", "--python", sys.executable, str(environment))
        _uv("pip", "install", "--python", str(environment / "bin" / "python"), *requirements)
        mark.touch()
    return environment


def _uv(*arguments: str) -> None:
    beside = Path(sys.executable).with_name("uv")
    program = str(beside) if beside.exists() else shutil.which("uv")
    if program is None:
        raise FileNotFoundError("uv is not installed: `make setup` puts it beside this Python")
    subprocess.run([program, "--quiet", *arguments], check=True)
