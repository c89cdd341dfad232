"""Starts one container: `python -m devcluster.node.container.launch SPEC STATUS`.

The caller's process becomes the shim: it stays outside, waits for PID 1 and leaves with its exit code (128 + signal
when a signal ended it). STATUS is a descriptor on which one JSON line tells PID 1's process id or what went wrong.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path

from devcluster.processes import kernel

from . import confinement
from .spec import ContainerSpec

COMMAND_NOT_FOUND = 127
NEW_NAMESPACES = kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWPID


def main() -> None:
    """Fork PID 1, tell its id once it runs the container's program, and wait for its end."""
    spec, status = ContainerSpec.read(Path(sys.argv[1])), int(sys.argv[2])
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
    sys.exit(exit_code(os.waitpid(child, 0)[1]))


def exit_code(wait_status: int) -> int:
    """The shell's convention, which Kubernetes shows: 137 for a process that SIGKILL ended."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def _become_first_process(spec: ContainerSpec, status: int) -> None:
    try:
        kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
        confinement.build_root(spec)
        confinement.enter_root(spec)
        socket.sethostname(spec.hostname)
        run(spec, spec.argv)
    except (OSError, ValueError) as error:
        _report(status, {"error": str(error)})
    os._exit(COMMAND_NOT_FOUND)


def run(spec: ContainerSpec, argv: tuple[str, ...]) -> None:
    """Replace this process by `argv` as the container's user, in its directory and environment."""
    os.umask(0o022)
    os.chdir(spec.directory)
    confinement.assume_credentials(spec.credentials)
    # After the change of user, which clears it: the program must not outlive the process that waits for it.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.execvpe(argv[0], argv, spec.environment)


def _report(status: int, message: dict[str, object]) -> None:
    os.write(status, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
