"""Image names, digests and environments; no cluster needed."""

from pathlib import Path

import pytest

from devcluster.images import Image, ImageError, Registry, python_image, repository
from devcluster.install import _if_changed
from devcluster.node.container.confinement import DEFAULT_CAPABILITIES, bounding_set
from devcluster.programs.build import required_version


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("trainer", "trainer"),
        ("trainer:dev", "trainer"),
        ("localhost:5000/trainer", "localhost:5000/trainer"),
        ("localhost:5000/team/trainer:dev", "localhost:5000/team/trainer"),
        ("trainer@sha256:12", "trainer"),
    ],
)
def test_repository_is_the_name_without_tag_and_digest(reference: str, expected: str) -> None:
    assert repository(reference) == expected


@pytest.mark.parametrize(
    ("name", "reference", "answers"),
    [
        ("trainer:dev", "trainer:dev", True),
        ("trainer:dev", "trainer:latest", False),
        ("trainer", "trainer:latest", True),
        ("trainer", "other/trainer:latest", False),
        ("localhost:5000/trainer", "localhost:5000/trainer:dev", True),
        ("trainer", f"trainer@{Image('trainer').id}", True),
        ("trainer", "trainer@sha256:00", False),
        ("trainer:dev", Image("trainer:dev").id, True),
    ],
)
def test_image_answers_to_its_names(name: str, reference: str, answers: bool) -> None:
    assert Image(name).answers_to(reference) is answers


def test_registry_returns_what_was_added_and_prefers_the_tag(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    any_tag, one_tag = (
        Image("trainer", paths=("/a",)),
        Image("trainer:dev", entrypoint=("run",), environment={"A": "b"}),
    )
    for image in (any_tag, one_tag):
        registry.add(image)
    assert registry.find("trainer:dev") == one_tag
    assert registry.find("trainer:other") == any_tag
    assert registry.find("nothing") is None


def test_python_image_brings_interpreter_and_editable_sources(tmp_path: Path) -> None:
    environment, installation, sources = tmp_path / "env", tmp_path / "python3.11", tmp_path / "sources"
    packages = environment / "lib/python3.11/site-packages"
    for folder in (environment / "bin", packages, installation / "bin", sources):
        folder.mkdir(parents=True)
    (installation / "bin/python3").touch()
    (environment / "bin/python").symlink_to(installation / "bin/python3")
    (packages / "project.pth").write_text(f"{sources}\nimport something\n/no/such/folder\n")
    image = python_image("trainer", environment, ("run",))
    assert image.paths == (str(environment), str(installation), str(sources))
    assert image.environment["PATH"].startswith(f"{environment}/bin:")


def test_folder_without_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is not a Python virtual environment"):
        python_image("trainer", tmp_path, ())


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ([], [], sorted(DEFAULT_CAPABILITIES)),
        ([], ["ALL"], []),
        (["CAP_NET_ADMIN"], ["ALL"], ["NET_ADMIN"]),
        ([], [name for name in DEFAULT_CAPABILITIES if name != "KILL"], ["KILL"]),
    ],
)
def test_bounding_set(add: list[str], drop: list[str], expected: list[str]) -> None:
    assert sorted(bounding_set(add, drop)) == expected


@pytest.mark.parametrize(("line", "version"), [("go 1.26.0", (1, 26, 0)), ("go 1.27", (1, 27))])
def test_required_go_version(line: str, version: tuple[int, ...]) -> None:
    assert required_version(f"module x\n\n{line}\n\nrequire y v1.0.0\n") == version


def test_what_is_up_to_date_is_not_built_again(tmp_path: Path) -> None:
    source, stamp = tmp_path / "source.py", tmp_path / "stamp"

    def is_changed() -> bool:
        with _if_changed(stamp, source) as changed:
            return changed

    source.write_text("one")
    assert [is_changed(), is_changed()] == [True, False]
    source.write_text("two")
    with pytest.raises(OSError, match="disk full"), _if_changed(stamp, source):
        raise OSError("disk full")
    assert [is_changed(), is_changed()] == [True, False], "a build that failed counts as none"
