"""A container as the CRI sees it: created, running, exited."""

import dataclasses
import signal
import time
from pathlib import Path
from typing import Any

from masktrain_cri import runtime_pb2 as cri

from tests.devcluster.cri.container_log import ContainerLog
from tests.devcluster.cri.container_spec import container_spec
from tests.devcluster.cri.process import ContainerProcess, StartError
from tests.devcluster.cri.sandbox import Sandbox
from tests.devcluster.images import Image


@dataclasses.dataclass
class Container:
    """One container of a sandbox. `config` is the CRI ContainerConfig."""

    id: str
    sandbox: Sandbox
    config: Any
    image: Image
    folder: Path
    created_at: int = dataclasses.field(default_factory=time.time_ns)
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    message: str = ""
    process: ContainerProcess | None = None

    @property
    def spec_path(self) -> Path:
        """Where the launcher's instructions are."""
        return self.folder / "spec.json"

    @property
    def log_path(self) -> Path:
        """Where kubelet looks for the log."""
        return Path(self.sandbox.config.log_directory, self.config.log_path)

    @property
    def state(self) -> int:
        """The CRI state."""
        if self.finished_at:
            return int(cri.CONTAINER_EXITED)
        return int(cri.CONTAINER_RUNNING if self.started_at else cri.CONTAINER_CREATED)

    def prepare(self) -> None:
        """Write what the launcher needs. Raises ValueError for a container that can never start."""
        root = self.folder / "root"
        root.mkdir(parents=True)
        root.chmod(0o755)
        container_spec(self.config, self.image, self.sandbox, root).write(self.spec_path)

    def start(self) -> None:
        """Run the program. Raises StartError with the reason when that fails."""
        self.started_at = time.time_ns()
        try:
            self.process = ContainerProcess(self.spec_path, ContainerLog(self.log_path), self._ended)
        except StartError as error:
            self.message = str(error)
            raise
        (self.folder / "pid").write_text(str(self.process.pid))

    def stop(self, grace_seconds: float) -> None:
        """End the program, if it runs, within its grace period."""
        if self.process:
            self.process.stop(grace_seconds, _stop_signal(self.config))
        elif not self.finished_at:
            self.finished_at = time.time_ns()

    def _ended(self, code: int) -> None:
        self.exit_code, self.finished_at = code, time.time_ns()

    def summary(self) -> Any:
        """The entry of ListContainers."""
        return cri.Container(
            id=self.id,
            pod_sandbox_id=self.sandbox.id,
            metadata=self.config.metadata,
            image=self.config.image,
            image_ref=self.image.digest_reference,
            image_id=self.image.id,
            state=self.state,
            created_at=self.created_at,
            labels=self.config.labels,
            annotations=self.config.annotations,
        )

    def status(self) -> Any:
        """The answer of ContainerStatus."""
        return cri.ContainerStatus(
            id=self.id,
            metadata=self.config.metadata,
            state=self.state,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            exit_code=self.exit_code,
            reason=self._reason(),
            message=self.message,
            image=cri.ImageSpec(image=self.image.name, user_specified_image=self.config.image.user_specified_image),
            image_ref=self.image.digest_reference,
            image_id=self.image.id,
            labels=self.config.labels,
            annotations=self.config.annotations,
            mounts=self.config.mounts,
            log_path=str(self.log_path),
        )

    def _reason(self) -> str:
        if not self.finished_at:
            return ""
        if self.message:
            return "StartError"
        return "Completed" if self.exit_code == 0 else "Error"


def _stop_signal(config: Any) -> int:
    name = str(cri.Signal.Name(config.stop_signal)).removeprefix("SIGNAL_")
    return int(getattr(signal, name, signal.SIGTERM))
