"""The registry: a folder of JSON files, each mapping an image name to a Python environment on this machine."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Self

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NONROOT = 65532


class ImageError(ValueError):
    """An environment that cannot serve as an image; the message says why."""


@dataclasses.dataclass(frozen=True)
class Image:
    """What an image manifest would say. `paths` are shown read-only in the container, at the same place.

    `name` is a repository with or without a tag; without one it answers to every tag.
    """

    name: str
    paths: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    user: int = NONROOT
    group: int = NONROOT

    @property
    def id(self) -> str:
        """A digest of the content, so that a changed image is a new one."""
        return "sha256:" + hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def digest_reference(self) -> str:
        """The form `repository@sha256:…` that a pod's status shows."""
        return f"{repository(self.name)}@{self.id}"

    def answers_to(self, reference: str) -> bool:
        """Whether `reference` (`repository[:tag]`, `repository@digest` or an image id) means this image."""
        if reference in (self.id, self.digest_reference, self.name):
            return True
        return ":" not in self.name.rpartition("/")[2] and "@" not in reference and repository(reference) == self.name

    def to_json(self) -> str:
        """The registry's file format."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the registry's file format."""
        fields: dict[str, Any] = json.loads(text)
        for name in ("paths", "entrypoint", "command"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


def repository(reference: str) -> str:
    """The name without tag and digest.

    >>> repository("localhost:5000/masktrain-trainer:dev")
    'localhost:5000/masktrain-trainer'
    """
    folder, slash, last = reference.partition("@")[0].rpartition("/")
    return folder + slash + last.partition(":")[0]


def python_image(name: str, environment: Path, entrypoint: tuple[str, ...]) -> Image:
    """An image of a virtual environment: its programs first on PATH, its interpreter and editable sources included."""
    environment = environment.absolute()
    if not (environment / "bin/python").exists():
        raise ImageError(f"{environment} is not a Python virtual environment: it has no bin/python")
    variables = {"PATH": f"{environment}/bin:{SYSTEM_PATH}", "HOME": "/tmp", "VIRTUAL_ENV": str(environment)}
    paths = dict.fromkeys((str(environment), *_interpreter(environment), *_editable_sources(environment)))
    return Image(name=name, paths=tuple(paths), entrypoint=entrypoint, environment=variables)


def _interpreter(environment: Path) -> list[str]:
    installation = (environment / "bin/python").resolve().parent.parent
    # Every container sees the machine's /usr anyway.
    return [] if installation == Path("/usr") else [str(installation)]


def _editable_sources(environment: Path) -> list[str]:
    lines = [line for pth in environment.glob("lib/python3*/site-packages/*.pth") for line in _lines(pth)]
    return [line for line in lines if line.startswith("/") and Path(line).is_dir()]


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines()


SHELL_IMAGE = Image(
    name="busybox", command=("sh",), environment={"PATH": SYSTEM_PATH, "HOME": "/"}, user=0, group=0
)  # the machine's own programs, for test pods


class Registry:
    """The images of one cluster."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which must exist."""
        self.folder = folder

    def add(self, image: Image) -> None:
        """Add or replace an image; nodes see it at the next pull."""
        path = self.folder / (hashlib.sha256(image.name.encode()).hexdigest()[:16] + ".json")
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(image.to_json())
        # In one step, because nodes read the folder at any time.
        unfinished.rename(path)

    def find(self, reference: str) -> Image | None:
        """The image that `reference` names."""
        return next((image for image in self.images() if image.answers_to(reference)), None)

    def images(self) -> list[Image]:
        """All images, those with a tag first, so that the more precise name wins."""
        found = [Image.from_json(path.read_text()) for path in self.folder.glob("*.json")]
        return sorted(found, key=lambda image: ":" not in image.name)
