"""A node's first process: `python -m devcluster.node CONFIG`, PID 1 of the node's own PID namespace.

It serves the container runtime and offers GPUs by number, so that `nvidia.com/gpu` is counted as on a real node, and
keeps a kubelet running. Killing it ends kubelet, runtime and every container at once, and the kernel drops their mounts
and network namespaces: exactly a machine that loses power.
"""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from masktrain_cri import deviceplugin_pb2 as plugin
from masktrain_cri import deviceplugin_pb2_grpc as plugin_grpc
from masktrain_cri import runtime_pb2_grpc as cri_grpc

from devcluster.images import Registry
from devcluster.processes import kernel
from devcluster.waiting import wait_until

from .network import NodeConfig, PodNetwork
from .process import CONTAINER_PROGRAM
from .runtime import Runtime
from .services import ImageService, RuntimeService

GPU_RESOURCE = "nvidia.com/gpu"
PLUGIN_FOLDER = Path("/var/lib/kubelet/device-plugins")
PLUGIN_SOCKET = "masktrain-gpu.sock"
KUBELET_SOCKET = PLUGIN_FOLDER / "kubelet.sock"

# A StopContainer call holds its thread for the whole grace period, and a node has at most 110 pods.
THREADS = 256
KUBELET_SECONDS = 120
RESTART_DELAY_SECONDS = 1
CRI_SOCKET = "/run/cri.sock"
STREAMING_SOCKET = "/run/streaming.sock"
KUBELET_PATHS = ("/var/lib/kubelet", "/var/log/pods", "/var/log/containers")


class GpuPlugin(plugin_grpc.DevicePluginServicer):  # type: ignore[misc]  # generated, hence untyped
    """The same healthy devices for as long as the node lives."""

    def __init__(self, node: str, count: int) -> None:
        """Offer `count` devices."""
        self._devices = [plugin.Device(ID=f"GPU-{node}-{number}", health="Healthy") for number in range(count)]

    def GetDevicePluginOptions(self, request: Any, context: Any) -> Any:
        return plugin.DevicePluginOptions()

    def ListAndWatch(self, request: Any, context: Any) -> Iterator[Any]:
        yield plugin.ListAndWatchResponse(devices=self._devices)
        # The stream has to stay open: a kubelet takes the devices of a plugin that hangs up for gone.
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait()

    def Allocate(self, request: Any, context: Any) -> Any:
        responses = [
            plugin.ContainerAllocateResponse(envs={"NVIDIA_VISIBLE_DEVICES": ",".join(container.devices_ids)})
            for container in request.container_requests
        ]
        return plugin.AllocateResponse(container_responses=responses)


def offer_gpus(node: str, count: int) -> grpc.Server:
    """Serve the plugin and register it with the kubelet, which must be up. The server ends with its last reference."""
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    plugin_grpc.add_DevicePluginServicer_to_server(GpuPlugin(node, count), server)
    server.add_insecure_port(f"unix://{PLUGIN_FOLDER / PLUGIN_SOCKET}")
    server.start()
    with grpc.insecure_channel(f"unix://{KUBELET_SOCKET}") as channel:
        request = plugin.RegisterRequest(version="v1beta1", endpoint=PLUGIN_SOCKET, resource_name=GPU_RESOURCE)
        plugin_grpc.RegistrationStub(channel).Register(request, wait_for_ready=True, timeout=60)
    return server


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
        print(f"kubelet ended with exit code {code}; starting it again", flush=True)  # noqa: T201 - its log
        time.sleep(RESTART_DELAY_SECONDS)


def run_kubelet(config: NodeConfig) -> int:
    """Run a kubelet to its end, with the GPUs offered to it; returns its exit code."""
    # The last one's would look like a kubelet that is up.
    KUBELET_SOCKET.unlink(missing_ok=True)
    kubelet = subprocess.Popen([config.kubelet, *config.kubelet_arguments], start_new_session=True)
    if config.gpus == 0:
        return kubelet.wait()
    # A starting kubelet empties the plugins' folder; its own socket there says that it is done.
    ended = kubelet.poll
    wait_until(lambda: KUBELET_SOCKET.exists() or ended() is not None, "kubelet", KUBELET_SECONDS)
    gpus = offer_gpus(config.name, config.gpus)
    code = kubelet.wait()
    # A restarted kubelet has forgotten its plugins: it is offered the GPUs anew.
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
    commands = {"enter": "enter", "port-forward": "forward"}
    helpers = (f"--{flag}={' '.join(CONTAINER_PROGRAM)} {command}" for flag, command in commands.items())
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
