"""Runs a further program in a running container: `python -m devcluster.node.container.enter FOLDER TTY -- ARGV…`.

FOLDER is the container's, with its spec and the id of its PID 1. It is what `kubectl exec` and exec probes end in.
With TTY `1` the program gets a terminal of its own.
"""

import os
import pty
import sys
from pathlib import Path

from devcluster.processes import kernel

from .launch import COMMAND_NOT_FOUND, exit_code, run
from .spec import ContainerSpec

# The mount namespace comes last: after it the paths of the others are gone.
NAMESPACES = ("net", "ipc", "uts", "pid", "mnt")


def main() -> None:
    """Enter the container's namespaces, run the program there and leave with its exit code."""
    folder, terminal = Path(sys.argv[1]), sys.argv[2] == "1"
    spec, process = ContainerSpec.read(folder / "spec.json"), (folder / "pid").read_text()
    argv = tuple(sys.argv[sys.argv.index("--") + 1 :])
    for name in NAMESPACES:
        kernel.enter_namespace(f"/proc/{process}/ns/{name}")
    if terminal:
        sys.exit(exit_code(_run_on_terminal(spec, argv)))
    child = os.fork()
    if child == 0:
        _run_or_fail(spec, argv)
    sys.exit(exit_code(os.waitpid(child, 0)[1]))


def _run_on_terminal(spec: ContainerSpec, argv: tuple[str, ...]) -> int:
    child, master = pty.fork()
    if child == 0:
        _run_or_fail(spec, argv)
    pty._copy(master)  # type: ignore[attr-defined]  # the loop that pty.spawn uses; spawn itself cannot run code before exec
    return os.waitpid(child, 0)[1]


def _run_or_fail(spec: ContainerSpec, argv: tuple[str, ...]) -> None:
    try:
        run(spec, argv)
    except OSError as error:
        sys.stderr.write(f"exec of {argv[0]!r} in the container failed: {error}\n")
        sys.stderr.flush()
    os._exit(COMMAND_NOT_FOUND)


if __name__ == "__main__":
    main()
