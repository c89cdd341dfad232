"""Giving up privileges for good, in the one order in which the kernel allows it."""

import os
from pathlib import Path

from tests.devcluster.container import kernel
from tests.devcluster.container.spec import Credentials

# Numbers of linux/capability.h, in order from 0.
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip

# What containerd grants when a pod says nothing.
DEFAULT_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip


def bounding_set(add: list[str], drop: list[str]) -> tuple[str, ...]:
    """The capabilities left after a pod's `add` and `drop` lists; `ALL` is understood in both.

    >>> bounding_set(["NET_BIND_SERVICE"], ["ALL"])
    ('NET_BIND_SERVICE',)
    """
    added, dropped = _bare_names(add), _bare_names(drop)
    granted = set(CAPABILITIES if "ALL" in added else DEFAULT_CAPABILITIES)
    granted = set() if "ALL" in dropped else granted - dropped
    return tuple(name for name in CAPABILITIES if name in granted | (added - {"ALL"}))


def _bare_names(names: list[str]) -> set[str]:
    return {name.upper().removeprefix("CAP_") for name in names}


def assume(credentials: Credentials) -> None:
    """Become the given user. The bounding set goes first: dropping it needs a capability that the user change loses.

    A root process takes its permitted set from the bounding set at the coming exec; any other user has none.
    """
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for number, name in enumerate(CAPABILITIES[: last + 1]):
        if name not in credentials.capabilities:
            kernel.prctl(kernel.PR_CAPBSET_DROP, number)
    os.setgroups(credentials.groups)
    os.setresgid(credentials.gid, credentials.gid, credentials.gid)
    os.setresuid(credentials.uid, credentials.uid, credentials.uid)
    if credentials.no_new_privileges:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
