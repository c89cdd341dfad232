"""The two gRPC services of the Container Runtime Interface: translation between kubelet's calls and the runtime.

gRPC sets the signatures. A pull only notes that the node has the image: its files are on this machine already.
"""

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import grpc
from masktrain_cri import runtime_pb2 as cri
from masktrain_cri import runtime_pb2_grpc as cri_grpc

from devcluster.images import Image, Registry

from .pods import Container, Sandbox
from .process import StartError, run_inside
from .runtime import Runtime

LARGEST_OUTPUT = 16 * 1024 * 1024  # the CRI's cap on ExecSync
NOMINAL_SIZE = 1_000_000


class RuntimeService(cri_grpc.RuntimeServiceServicer):  # type: ignore[misc]  # generated, hence untyped
    """Calls that it does not define answer UNIMPLEMENTED, as the generated base class does."""

    def __init__(self, runtime: Runtime, registry: Registry, streaming: Any) -> None:
        """Serve `runtime`; `streaming` is a stub of the server that exec, attach and port-forward go to."""
        self._runtime = runtime
        self._registry = registry
        self._streaming = streaming

    def Version(self, request: Any, context: Any) -> Any:
        return cri.VersionResponse(
            version="0.1.0", runtime_name="masktrain-devcluster", runtime_version="1.0.0", runtime_api_version="v1"
        )

    def Status(self, request: Any, context: Any) -> Any:
        conditions = [cri.RuntimeCondition(type=name, status=True) for name in ("RuntimeReady", "NetworkReady")]
        return cri.StatusResponse(
            status=cri.RuntimeStatus(conditions=conditions), runtime_handlers=[cri.RuntimeHandler(name="")]
        )

    def RuntimeConfig(self, request: Any, context: Any) -> Any:
        return cri.RuntimeConfigResponse(linux=cri.LinuxRuntimeConfiguration(cgroup_driver=cri.CGROUPFS))

    def UpdateRuntimeConfig(self, request: Any, context: Any) -> Any:
        return cri.UpdateRuntimeConfigResponse()

    def RunPodSandbox(self, request: Any, context: Any) -> Any:
        return cri.RunPodSandboxResponse(pod_sandbox_id=self._runtime.run_sandbox(request.config).id)

    def StopPodSandbox(self, request: Any, context: Any) -> Any:
        self._runtime.stop_sandbox(request.pod_sandbox_id)
        return cri.StopPodSandboxResponse()

    def RemovePodSandbox(self, request: Any, context: Any) -> Any:
        self._runtime.remove_sandbox(request.pod_sandbox_id)
        return cri.RemovePodSandboxResponse()

    def PodSandboxStatus(self, request: Any, context: Any) -> Any:
        return cri.PodSandboxStatusResponse(status=self._sandbox(request.pod_sandbox_id, context).status())

    def ListPodSandbox(self, request: Any, context: Any) -> Any:
        found = [box.summary() for box in self._runtime.sandboxes() if _sandbox_matches(box, request.filter)]
        return cri.ListPodSandboxResponse(items=found)

    def CreateContainer(self, request: Any, context: Any) -> Any:
        reference = request.config.image.image
        image = self._registry.find(reference)
        if image is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"image {reference!r} is not in the registry")
            # abort() has raised already, but its type does not say so.
            raise AssertionError
        try:
            container = self._runtime.create_container(request.pod_sandbox_id, request.config, image)
        except (ValueError, KeyError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise AssertionError from error
        return cri.CreateContainerResponse(container_id=container.id)

    def StartContainer(self, request: Any, context: Any) -> Any:
        try:
            self._container(request.container_id, context).start()
        except StartError as error:
            context.abort(grpc.StatusCode.UNKNOWN, f"failed to start container: {error}")
        return cri.StartContainerResponse()

    def StopContainer(self, request: Any, context: Any) -> Any:
        self._container(request.container_id, context).stop(request.timeout)
        return cri.StopContainerResponse()

    def RemoveContainer(self, request: Any, context: Any) -> Any:
        self._runtime.remove_container(request.container_id)
        return cri.RemoveContainerResponse()

    def ListContainers(self, request: Any, context: Any) -> Any:
        found = [box.summary() for box in self._runtime.containers() if _container_matches(box, request.filter)]
        return cri.ListContainersResponse(containers=found)

    def ContainerStatus(self, request: Any, context: Any) -> Any:
        return cri.ContainerStatusResponse(status=self._container(request.container_id, context).status())

    def UpdateContainerResources(self, request: Any, context: Any) -> Any:
        return cri.UpdateContainerResourcesResponse()

    def UpdatePodSandboxResources(self, request: Any, context: Any) -> Any:
        return cri.UpdatePodSandboxResourcesResponse()

    def ReopenContainerLog(self, request: Any, context: Any) -> Any:
        process = self._container(request.container_id, context).process
        if process:
            process.log.reopen()
        return cri.ReopenContainerLogResponse()

    def ExecSync(self, request: Any, context: Any) -> Any:
        container = self._container(request.container_id, context)
        if container.process is None or container.process.exited.is_set():
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"container {container.id} is not running")
            raise AssertionError
        try:
            done = run_inside(container.folder, list(request.cmd), request.timeout or None)
        except subprocess.TimeoutExpired:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"command timed out after {request.timeout} s")
            raise
        return cri.ExecSyncResponse(
            stdout=done.stdout[:LARGEST_OUTPUT], stderr=done.stderr[:LARGEST_OUTPUT], exit_code=done.returncode
        )

    def Exec(self, request: Any, context: Any) -> Any:
        # The URL in the answer leads kubelet to the streaming server, which may still be starting.
        return self._streaming.Exec(request, wait_for_ready=True)

    def PortForward(self, request: Any, context: Any) -> Any:
        return self._streaming.PortForward(request, wait_for_ready=True)

    def ListContainerStats(self, request: Any, context: Any) -> Any:
        return cri.ListContainerStatsResponse()  # there is no metrics server that would show them

    def ListPodSandboxStats(self, request: Any, context: Any) -> Any:
        return cri.ListPodSandboxStatsResponse()

    def _sandbox(self, identity: str, context: Any) -> Sandbox:
        try:
            return self._runtime.sandbox(identity)
        except KeyError:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no pod sandbox {identity}")
            raise

    def _container(self, identity: str, context: Any) -> Container:
        try:
            return self._runtime.container(identity)
        except KeyError:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no container {identity}")
            raise


def _labelled(labels: Any, selector: Any) -> bool:
    return all(labels.get(name) == value for name, value in selector.items())


def _sandbox_matches(sandbox: Sandbox, wanted: Any) -> bool:
    return (
        wanted.id in ("", sandbox.id)
        and (not wanted.HasField("state") or wanted.state.state == sandbox.state)
        and _labelled(sandbox.config.labels, wanted.label_selector)
    )


def _container_matches(container: Container, wanted: Any) -> bool:
    return (
        wanted.id in ("", container.id)
        and wanted.pod_sandbox_id in ("", container.sandbox.id)
        and (not wanted.HasField("state") or wanted.state.state == container.state)
        and _labelled(container.config.labels, wanted.label_selector)
    )


class ImageService(cri_grpc.ImageServiceServicer):  # type: ignore[misc]  # generated, hence untyped
    """Knows the pulled images of one node."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        """Pull from `registry`; `folder` lies on the disk that ImageFsInfo reports."""
        self._registry = registry
        self._folder = folder
        self._pulled: set[str] = set()

    def ListImages(self, request: Any, context: Any) -> Any:
        wanted = request.filter.image.image
        present = [image for image in self._registry.images() if image.id in self._pulled]
        return cri.ListImagesResponse(images=[_describe(i) for i in present if not wanted or i.answers_to(wanted)])

    def ImageStatus(self, request: Any, context: Any) -> Any:
        image = self._registry.find(request.image.image)
        if image is None or image.id not in self._pulled:
            return cri.ImageStatusResponse()
        return cri.ImageStatusResponse(image=_describe(image))

    def PullImage(self, request: Any, context: Any) -> Any:
        reference = request.image.image
        image = self._registry.find(reference)
        if image is None:
            # containerd's words: kubelet turns NOT_FOUND into ErrImagePull and backs off.
            context.abort(grpc.StatusCode.NOT_FOUND, f'failed to pull and unpack image "{reference}": not found')
            raise AssertionError
        self._pulled.add(image.id)
        return cri.PullImageResponse(image_ref=image.id)

    def RemoveImage(self, request: Any, context: Any) -> Any:
        image = self._registry.find(request.image.image)
        if image:
            self._pulled.discard(image.id)
        return cri.RemoveImageResponse()

    def ImageFsInfo(self, request: Any, context: Any) -> Any:
        usage = shutil.disk_usage(self._folder)
        disk = cri.FilesystemUsage(
            timestamp=time.time_ns(),
            fs_id=cri.FilesystemIdentifier(mountpoint=str(self._folder)),
            used_bytes=cri.UInt64Value(value=usage.used),
            # Anything but 0, of which kubelet complains.
            inodes_used=cri.UInt64Value(value=1),
        )
        return cri.ImageFsInfoResponse(image_filesystems=[disk], container_filesystems=[disk])


def _describe(image: Image) -> Any:
    # kubelet wants a tag or a digest to show.
    tag = image.name if ":" in image.name.rpartition("/")[2] else f"{image.name}:latest"
    return cri.Image(
        id=image.id,
        repo_tags=[tag],
        repo_digests=[image.digest_reference],
        size=NOMINAL_SIZE,
        uid=cri.Int64Value(value=image.user),
        spec=cri.ImageSpec(image=image.id),
    )
