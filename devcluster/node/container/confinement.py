"""What confines a container's process: a root directory of its own, and no more privileges than it was given.

The root shows the machine's programs read-only, the image's environment, its own /dev, /proc, /tmp. Nothing else of the
machine is visible: no home folders, no state of the cluster, no other process. Paths above a bind are created by us
with mode 0755, so an interpreter that lives below a closed home folder works for any user. Privileges are given up for
good, in the one order in which the kernel allows it.
"""

import os
import subprocess
from pathlib import Path

from devcluster.processes import kernel

from .spec import Bind, ContainerSpec, Credentials

SYSTEM_DIRECTORIES = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
SYSTEM_FILES = (
    "alternatives", "ca-certificates", "fonts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types",
    "nsswitch.conf", "protocols", "services", "ssl",
)  # fmt: skip
OPEN_DIRECTORIES = ("tmp", "var/tmp")
PLAIN_DIRECTORIES = ("dev", "etc", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "var", "var/tmp")
DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\nnonroot:x:65532:65532::/tmp:/bin/sh\n"
GROUP = "root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n"

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


def build_root(spec: ContainerSpec) -> None:
    """Lay out the root at `spec.root`. Must run inside the container's own mount namespace."""
    root = Path(spec.root)
    # pivot_root wants a mount point.
    kernel.bind(root, root, read_only=False, recursive=True)
    _lay_out_directories(root, spec.hostname)
    _show_system(root)
    _mount_kernel_file_systems(root)
    # Outer mounts first: made later they would hide those within them.
    for item in (*spec.image_binds, *_devices(), *spec.devices, *sorted(spec.mounts, key=_depth)):
        show(root, item)
    (root / spec.directory.lstrip("/")).mkdir(parents=True, exist_ok=True)
    if not spec.privileged:
        _hide(root, spec)
    # Last, because all mount points had to be made in it.
    if spec.read_only_root:
        kernel.mount("none", root, flags=kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY)


def enter_root(spec: ContainerSpec) -> None:
    """Make the built directory the root of this mount namespace and let go of the machine's."""
    os.chdir(spec.root)
    # Python 3.11 has no call for it. The old root comes to lie over the new one, from where it is detached.
    subprocess.run(["/sbin/pivot_root", ".", "."], check=True)
    kernel.detach(".")
    os.chdir("/")


def show(root: Path, item: Bind) -> None:
    """Bind one host path into the root, creating the mount point it needs (a file for a file)."""
    source, target = Path(item.source), root / item.target.lstrip("/")
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    kernel.bind(source, target, read_only=item.read_only, recursive=True)


def _depth(item: Bind) -> int:
    return len(Path(item.target).parts)


def _lay_out_directories(root: Path, hostname: str) -> None:
    for name in PLAIN_DIRECTORIES:
        (root / name).mkdir(mode=0o755, exist_ok=True)
    for name in OPEN_DIRECTORIES:
        (root / name).chmod(0o1777)
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUP)
    (root / "etc/hostname").write_text(f"{hostname}\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")


def _show_system(root: Path) -> None:
    for name in SYSTEM_DIRECTORIES:
        source, target = Path("/", name), root / name
        # Where /usr is merged they are links into it.
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_dir():
            target.mkdir()
            kernel.bind(source, target, read_only=True, flags=kernel.MS_NODEV)
    for name in SYSTEM_FILES:
        if Path("/etc", name).exists():
            show(root, Bind(f"/etc/{name}", f"/etc/{name}", read_only=True))


def _mount_kernel_file_systems(root: Path) -> None:
    careful = kernel.MS_NOSUID | kernel.MS_NOEXEC
    kernel.mount("proc", root / "proc", "proc", careful | kernel.MS_NODEV)
    kernel.mount("sysfs", root / "sys", "sysfs", careful | kernel.MS_NODEV | kernel.MS_RDONLY)
    kernel.mount("tmpfs", root / "dev", "tmpfs", kernel.MS_NOSUID, "mode=755,size=64k")
    for name in ("pts", "shm", "mqueue"):
        (root / "dev" / name).mkdir()
    # gid 5 is the group tty of every distribution; `ptmxmode` lets any user open a terminal.
    kernel.mount("devpts", root / "dev/pts", "devpts", careful, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    # 64 MiB, as container runtimes have it: a trainer that forgets to ask for more fails here, too.
    kernel.mount("shm", root / "dev/shm", "tmpfs", careful | kernel.MS_NODEV, "mode=1777,size=64m")
    kernel.mount("mqueue", root / "dev/mqueue", "mqueue", careful | kernel.MS_NODEV)
    (root / "dev/ptmx").symlink_to("pts/ptmx")
    (root / "dev/fd").symlink_to("/proc/self/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (root / "dev" / name).symlink_to(f"/proc/self/fd/{number}")


def _devices() -> list[Bind]:
    return [Bind(f"/dev/{name}", f"/dev/{name}", read_only=False) for name in DEVICES]


def _hide(root: Path, spec: ContainerSpec) -> None:
    for name in spec.masked_paths:
        target = root / name.lstrip("/")
        if target.is_dir():
            kernel.mount("tmpfs", target, "tmpfs", kernel.MS_RDONLY, "size=0k")
        elif target.exists():
            kernel.bind("/dev/null", target, read_only=False)
    for name in spec.read_only_paths:
        target = root / name.lstrip("/")
        if target.exists():
            kernel.bind(target, target, read_only=True, recursive=True)


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


def assume_credentials(credentials: Credentials) -> None:
    """Become the given user. The bounding set goes first: dropping it needs a capability that the user change loses.

    A root process takes its permitted set from the bounding set at the coming exec; any other user has none.
    """
    # A kernel older than this table refuses numbers that it does not know.
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for number, name in enumerate(CAPABILITIES[: last + 1]):
        if name not in credentials.capabilities:
            kernel.prctl(kernel.PR_CAPBSET_DROP, number)
    os.setgroups(credentials.groups)
    os.setresgid(credentials.gid, credentials.gid, credentials.gid)
    os.setresuid(credentials.uid, credentials.uid, credentials.uid)
    if credentials.no_new_privileges:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
