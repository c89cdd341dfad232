"""A node's first process: `python -m tests.devcluster.cri.node CONFIG`, PID 1 of the node's own PID namespace.

Killing it ends kubelet, runtime and every container at once, and the kernel drops their mounts and network namespaces:
exactly a machine that loses power.
"""

import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from masktrain_cri import runtime_pb2_grpc as cri_grpc

from tests.devcluster.container import kernel
from tests.devcluster.cri import device_plugin
from tests.devcluster.cri.image_service import ImageService
from tests.devcluster.cri.pod_network import PodNetwork
from tests.devcluster.cri.process import PYTHON
from tests.devcluster.cri.runtime import Runtime
from tests.devcluster.cri.runtime_service import RuntimeService
from tests.devcluster.images import Registry
from tests.devcluster.node_config import NodeConfig
from tests.devcluster.waiting import wait_until

# A StopContainer call holds its thread for the whole grace period, and a node has at most 110 pods.
THREADS = 256
KUBELET_SECONDS = 120
RESTART_DELAY_SECONDS = 1
CRI_SOCKET = "/run/cri.sock"
STREAMING_SOCKET = "/run/streaming.sock"
KUBELET_PATHS = ("/var/lib/kubelet", "/var/log/pods", "/var/log/containers")


def main() -> None:
    """Serve the runtime and keep a kubelet running until killed."""
    config = NodeConfig.read(Path(sys.argv[1]))
    state = Path(config.state)
    # Still the /proc of the cluster, where this process has another number than 1.
    (state / "pid").write_text(str(Path("/proc/self").readlink()))
    socket.sethostname(config.name)
    mount_private_paths(state)
    server = serve(config, state)  # noqa: F841  # it serves for as long as it is referenced
    while True:
        code = run_kubelet(config)
        print(f"kubelet ended with exit code {code}; starting it again", flush=True)
        time.sleep(RESTART_DELAY_SECONDS)


def run_kubelet(config: NodeConfig) -> int:
    """Run a kubelet to its end, with the GPUs offered to it; returns its exit code."""
    device_plugin.KUBELET_SOCKET.unlink(missing_ok=True)
    kubelet = subprocess.Popen([config.kubelet, *config.kubelet_arguments], start_new_session=True)
    if config.gpus == 0:
        return kubelet.wait()
    # A starting kubelet empties the plugins' folder; its own socket there says that it is done.
    ended = kubelet.poll
    wait_until(lambda: device_plugin.KUBELET_SOCKET.exists() or ended() is not None, "kubelet", KUBELET_SECONDS)
    gpus = device_plugin.offer(config.name, config.gpus)
    code = kubelet.wait()
    gpus.stop(grace=None)
    return code


def mount_private_paths(state: Path) -> None:
    """Give the node its own /proc, pod networks and the fixed paths of a kubelet, without a trace on the machine."""
    kernel.mount("proc", "/proc", "proc")
    kernel.mount("tmpfs", "/run", "tmpfs")
    Path("/run/netns").mkdir()
    for parent in ("lib", "log"):
        _overlay(Path("/var", parent), state / "overlay" / parent)
    for path in KUBELET_PATHS:
        own = state / path.lstrip("/")
        own.mkdir(parents=True, exist_ok=True)
        Path(path).mkdir(exist_ok=True)
        kernel.bind(own, path, read_only=False)


def _overlay(target: Path, scratch: Path) -> None:
    """Let folders be created below `target` in this mount namespace alone. The scratch layer must not be an overlay."""
    scratch.mkdir(parents=True, exist_ok=True)
    kernel.mount("tmpfs", scratch, "tmpfs")
    upper, work = scratch / "upper", scratch / "work"
    upper.mkdir()
    work.mkdir()
    kernel.mount("overlay", target, "overlay", data=f"lowerdir={target},upperdir={upper},workdir={work}")


def start_streaming(config: NodeConfig, containers: Path) -> grpc.Channel:
    """Start the server behind exec and port-forward; it ends with the node."""
    programs = {"enter": "container.enter", "port-forward": "container.port_forward"}
    helpers = (f"--{flag}={' '.join(PYTHON)} tests.devcluster.{module}" for flag, module in programs.items())
    subprocess.Popen([config.streaming, f"--socket={STREAMING_SOCKET}", f"--containers={containers}", *helpers])
    return grpc.insecure_channel(f"unix://{STREAMING_SOCKET}")


def serve(config: NodeConfig, state: Path) -> grpc.Server:
    """Start the CRI server on the node's socket."""
    registry = Registry(Path(config.images))
    runtime = Runtime(state / "runtime", config.address, PodNetwork(config.pod_subnet))
    streaming = cri_grpc.RuntimeServiceStub(start_streaming(config, state / "runtime/containers"))
    server = grpc.server(ThreadPoolExecutor(max_workers=THREADS))
    cri_grpc.add_RuntimeServiceServicer_to_server(RuntimeService(runtime, registry, streaming), server)
    cri_grpc.add_ImageServiceServicer_to_server(ImageService(registry, state), server)
    server.add_insecure_port(f"unix://{CRI_SOCKET}")
    server.start()
    return server


if __name__ == "__main__":
    main()
