"""What the runtime runs for its containers: `python -m devcluster.node.container launch|enter|forward …`.

`launch SPEC STATUS` starts a container. The caller's process becomes the shim: it stays outside, waits for PID 1 and
leaves with its exit code (128 + signal when a signal ended it). STATUS is a descriptor on which one JSON line tells
PID 1's process id or what went wrong.

`enter FOLDER TTY -- ARGV…` runs a further program in a running container, whose folder holds its spec and the id of its
PID 1. It is what `kubectl exec` and exec probes end in. With TTY `1` the program gets a terminal of its own.

`forward NETNS PORT` connects its input and output to a pod's port.
"""

import json
import os
import pty
import signal
import socket
import sys
import threading
from pathlib import Path

from devcluster.processes import kernel

from .confinement import assume_credentials, build_root, enter_root
from .spec import ContainerSpec

COMMAND_NOT_FOUND = 127
NEW_NAMESPACES = kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWPID
# The mount namespace comes last: after it the paths of the others are gone.
NAMESPACES = ("net", "ipc", "uts", "pid", "mnt")
CHUNK = 64 * 1024


def main() -> None:
    """Carry out the command named first."""
    command, *arguments = sys.argv[1:]
    {"launch": launch, "enter": enter, "forward": forward}[command](arguments)


def launch(arguments: list[str]) -> None:
    """Fork PID 1, tell its id once it runs the container's program, and wait for its end."""
    spec, status = ContainerSpec.read(Path(arguments[0])), int(arguments[1])
    # The descriptor must end with the exec of the container's program: its end tells the runtime that this succeeded.
    os.set_inheritable(status, False)
    try:
        if spec.network:
            kernel.enter_namespace(spec.network)
        kernel.unshare(NEW_NAMESPACES)
    except OSError as error:
        _report(status, {"error": str(error)})
        sys.exit(COMMAND_NOT_FOUND)
    child = os.fork()
    if child == 0:
        _become_first_process(spec, status)
    _report(status, {"pid": child})
    os.close(status)
    sys.exit(_exit_code(os.waitpid(child, 0)[1]))


def enter(arguments: list[str]) -> None:
    """Enter the container's namespaces, run the program there and leave with its exit code."""
    folder, terminal = Path(arguments[0]), arguments[1] == "1"
    spec, process = ContainerSpec.read(folder / "spec.json"), (folder / "pid").read_text()
    argv = tuple(arguments[arguments.index("--") + 1 :])
    for name in NAMESPACES:
        kernel.enter_namespace(f"/proc/{process}/ns/{name}")
    # A process stays in its PID namespace; only its children are in the one entered.
    if terminal:
        sys.exit(_exit_code(_run_on_terminal(spec, argv)))
    child = os.fork()
    if child == 0:
        _run_or_fail(spec, argv)
    sys.exit(_exit_code(os.waitpid(child, 0)[1]))


def forward(arguments: list[str]) -> None:
    """Copy both ways until the pod closes the connection."""
    kernel.enter_namespace(arguments[0])
    with socket.create_connection(("127.0.0.1", int(arguments[1]))) as connection:
        threading.Thread(target=_send, args=(connection,), daemon=True).start()
        while chunk := connection.recv(CHUNK):
            os.write(sys.stdout.fileno(), chunk)


def _exit_code(wait_status: int) -> int:
    """The shell's convention, which Kubernetes shows: 137 for a process that SIGKILL ended."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def _become_first_process(spec: ContainerSpec, status: int) -> None:
    try:
        # Else every mount below would show on the machine, whose mounts are shared by default.
        kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
        build_root(spec)
        enter_root(spec)
        socket.sethostname(spec.hostname)
        _run(spec, spec.argv)
    except (OSError, ValueError) as error:
        _report(status, {"error": str(error)})
    os._exit(COMMAND_NOT_FOUND)


def _run(spec: ContainerSpec, argv: tuple[str, ...]) -> None:
    """Replace this process by `argv` as the container's user, in its directory and environment."""
    # Not that of whoever started the cluster, which is inherited all the way down.
    os.umask(0o022)
    os.chdir(spec.directory)
    assume_credentials(spec.credentials)
    # After the change of user, which clears it: the program must not outlive the process that waits for it.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.execvpe(argv[0], argv, spec.environment)


def _run_on_terminal(spec: ContainerSpec, argv: tuple[str, ...]) -> int:
    child, master = pty.fork()
    if child == 0:
        _run_or_fail(spec, argv)
    # The loop that pty.spawn uses; spawn itself cannot run code before exec.
    pty._copy(master)  # type: ignore[attr-defined]  # noqa: SLF001
    return os.waitpid(child, 0)[1]


def _run_or_fail(spec: ContainerSpec, argv: tuple[str, ...]) -> None:
    try:
        _run(spec, argv)
    except OSError as error:
        sys.stderr.write(f"exec of {argv[0]!r} in the container failed: {error}\n")
        sys.stderr.flush()
    os._exit(COMMAND_NOT_FOUND)


def _send(connection: socket.socket) -> None:
    while chunk := os.read(sys.stdin.fileno(), CHUNK):
        connection.sendall(chunk)
    connection.shutdown(socket.SHUT_WR)


def _report(status: int, message: dict[str, object]) -> None:
    os.write(status, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
