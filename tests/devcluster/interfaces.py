"""Python modules for kubelet's gRPC interfaces, generated from the .proto files that belong to the built kubelet."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = "masktrain_cri"
PROTOCOL_FILES = ("runtime.proto", "deviceplugin.proto")


def ensure_interfaces(binaries: Path) -> Path:
    """The folder to put on PYTHONPATH for `import masktrain_cri`; generates the package if it is missing."""
    target = binaries / f"python-{importlib.metadata.version('grpcio-tools')}"
    if not target.exists():
        with tempfile.TemporaryDirectory(prefix="unfinished-", dir=binaries) as unfinished:
            _generate(binaries, Path(unfinished))
            _publish(Path(unfinished), target)
    return target


def _generate(binaries: Path, folder: Path) -> None:
    package = folder / PACKAGE
    package.mkdir()
    (package / "__init__.py").touch()
    for name in PROTOCOL_FILES:
        shutil.copyfile(binaries / name, package / name)
    outputs = [f"--{kind}_out={folder}" for kind in ("python", "grpc_python")]
    sources = [f"{PACKAGE}/{name}" for name in PROTOCOL_FILES]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={folder}", *outputs, *sources]
    subprocess.run(command, check=True, cwd=folder)


def _publish(folder: Path, target: Path) -> None:
    folder.chmod(0o755)
    try:
        shutil.copytree(folder, Path(f"{folder}-copy"))
        os.rename(f"{folder}-copy", target)  # noqa: PTH104
    except OSError:
        if not target.exists():
            raise
        shutil.rmtree(f"{folder}-copy", ignore_errors=True)
