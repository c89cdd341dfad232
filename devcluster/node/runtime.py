"""The pods and containers of one node, kept in memory: they end with the node, as on a machine that loses power."""

import shutil
import threading
import uuid
from pathlib import Path
from typing import Any

from devcluster.images import Image

from .network import PodNetwork
from .pods import Container, Sandbox

NODE_NETWORK = 2  # NamespaceMode.NODE


class Runtime:
    """Creates, finds and removes sandboxes and containers. Look-ups raise KeyError for an unknown id."""

    def __init__(self, folder: Path, address: str, network: PodNetwork) -> None:
        """Keep files under `folder`; `address` is the node's own."""
        self._folder = folder
        self._address = address
        self._network = network
        self._lock = threading.Lock()
        self._sandboxes: dict[str, Sandbox] = {}
        self._containers: dict[str, Container] = {}

    def run_sandbox(self, config: Any) -> Sandbox:
        """Give a pod its network."""
        identity = uuid.uuid4().hex
        on_node = config.linux.security_context.namespace_options.network == NODE_NETWORK
        address = self._address if on_node else self._network.connect(identity)
        folder = self._folder / "sandboxes" / identity
        folder.mkdir(parents=True)
        sandbox = Sandbox(identity, config, folder, address, on_node)
        sandbox.write_resolver_settings()
        with self._lock:
            self._sandboxes[identity] = sandbox
        return sandbox

    def stop_sandbox(self, identity: str) -> None:
        """End the pod's containers and give its address back; an unknown or stopped pod is fine."""
        sandbox = self._sandboxes.get(identity)
        if sandbox is None:
            return
        # kubelet has stopped them with their grace before; what still runs is a leftover.
        for container in self.containers_of(identity):
            container.stop(0)
        self._network.disconnect(identity)
        sandbox.ready = False

    def remove_sandbox(self, identity: str) -> None:
        """Forget a pod."""
        self.stop_sandbox(identity)
        for container in self.containers_of(identity):
            self.remove_container(container.id)
        with self._lock:
            sandbox = self._sandboxes.pop(identity, None)
        if sandbox:
            shutil.rmtree(sandbox.folder)

    def create_container(self, sandbox_id: str, config: Any, image: Image) -> Container:
        """Prepare a container. Raises ValueError for one that can never start."""
        identity = uuid.uuid4().hex
        folder = self._folder / "containers" / identity
        container = Container(identity, self.sandbox(sandbox_id), config, image, folder)
        container.prepare()
        with self._lock:
            self._containers[identity] = container
        return container

    def remove_container(self, identity: str) -> None:
        """End and forget a container; an unknown one is fine."""
        container = self._containers.get(identity)
        if container is None:
            return
        container.stop(0)
        shutil.rmtree(container.folder)
        with self._lock:
            self._containers.pop(identity, None)

    def sandbox(self, identity: str) -> Sandbox:
        """The sandbox with this id."""
        return self._sandboxes[identity]

    def container(self, identity: str) -> Container:
        """The container with this id."""
        return self._containers[identity]

    def sandboxes(self) -> list[Sandbox]:
        """All sandboxes, stopped ones included."""
        with self._lock:
            return list(self._sandboxes.values())

    def containers(self) -> list[Container]:
        """All containers, ended ones included."""
        with self._lock:
            return list(self._containers.values())

    def containers_of(self, sandbox_id: str) -> list[Container]:
        """The containers of one pod."""
        return [container for container in self.containers() if container.sandbox.id == sandbox_id]
