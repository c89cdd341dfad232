"""The CRI's ImageService over the registry. A pull only notes that the node has the image: the files are here."""

# gRPC sets the signatures

import shutil
import time
from pathlib import Path
from typing import Any

import grpc
from masktrain_cri import runtime_pb2 as cri
from masktrain_cri import runtime_pb2_grpc as cri_grpc

from tests.devcluster.images import Image, Registry

NOMINAL_SIZE = 1_000_000


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
            inodes_used=cri.UInt64Value(value=1),
        )
        return cri.ImageFsInfoResponse(image_filesystems=[disk], container_filesystems=[disk])


def _describe(image: Image) -> Any:
    tag = image.name if ":" in image.name.rpartition("/")[2] else f"{image.name}:latest"
    return cri.Image(
        id=image.id,
        repo_tags=[tag],
        repo_digests=[image.digest_reference],
        size=NOMINAL_SIZE,
        uid=cri.Int64Value(value=image.user),
        spec=cri.ImageSpec(image=image.id),
    )
