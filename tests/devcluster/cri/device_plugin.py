"""A device plugin that offers GPUs by number, so that `nvidia.com/gpu` is counted as on a real node."""

# gRPC sets the signatures

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from masktrain_cri import deviceplugin_pb2 as plugin
from masktrain_cri import deviceplugin_pb2_grpc as plugin_grpc

RESOURCE = "nvidia.com/gpu"
FOLDER = Path("/var/lib/kubelet/device-plugins")
SOCKET = "masktrain-gpu.sock"
KUBELET_SOCKET = FOLDER / "kubelet.sock"


class GpuPlugin(plugin_grpc.DevicePluginServicer):  # type: ignore[misc]  # generated, hence untyped
    """The same healthy devices for as long as the node lives."""

    def __init__(self, node: str, count: int) -> None:
        """Offer `count` devices."""
        self._devices = [plugin.Device(ID=f"GPU-{node}-{number}", health="Healthy") for number in range(count)]

    def GetDevicePluginOptions(self, request: Any, context: Any) -> Any:
        return plugin.DevicePluginOptions()

    def ListAndWatch(self, request: Any, context: Any) -> Iterator[Any]:
        yield plugin.ListAndWatchResponse(devices=self._devices)
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait()

    def Allocate(self, request: Any, context: Any) -> Any:
        responses = [
            plugin.ContainerAllocateResponse(envs={"NVIDIA_VISIBLE_DEVICES": ",".join(container.devices_ids)})
            for container in request.container_requests
        ]
        return plugin.AllocateResponse(container_responses=responses)


def offer(node: str, count: int) -> grpc.Server:
    """Serve the plugin and register it with the kubelet, which must be up. The server ends with its last reference."""
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    plugin_grpc.add_DevicePluginServicer_to_server(GpuPlugin(node, count), server)
    server.add_insecure_port(f"unix://{FOLDER / SOCKET}")
    server.start()
    with grpc.insecure_channel(f"unix://{KUBELET_SOCKET}") as channel:
        request = plugin.RegisterRequest(version="v1beta1", endpoint=SOCKET, resource_name=RESOURCE)
        plugin_grpc.RegistrationStub(channel).Register(request, wait_for_ready=True, timeout=60)
    return server
