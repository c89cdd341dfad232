"""What users install is permissive: no locked distribution passes its own terms on to those who use MaskTrain."""

import re
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
SHIPPED = ("trainer", "operator")

PERMISSIVE = re.compile(
    r"\b(Apache|MIT|MIT-CMU|MIT-0|BSD|[023]-?Clause|0BSD|CC0-1\.0|ISC|PSF|Python Software Foundation|UPL|Unlicense|Zlib"
    r"|Universal Permissive|Kiwi|MPL[- ]2\.0|Mozilla Public License 2\.0)\b",
    re.IGNORECASE,
)
"""MPL 2.0 asks for the sources of its own files, and for nothing of those around them."""
COPYLEFT = re.compile(
    r"\b(A|L)?GPL|GNU (Affero |Lesser |Library )?General Public|\b(SSPL|EUPL|CDDL|CC-BY-(NC|SA))", re.IGNORECASE
)

EXCEPTIONS = {
    "crc32c": "LGPL: a library of its own that the packages around it import, exchangeable by whoever installs them",
    "cuda-bindings": "NVIDIA's, free to use and pass on with programs for its GPUs; torch for GPUs needs it",
} | dict.fromkeys(
    (
        f"nvidia-{name}-cu12"
        for name in (
            "cublas", "cuda-cupti", "cuda-nvrtc", "cuda-runtime", "cudnn", "cufft", "cufile", "curand", "cusolver",
            "cusparse", "cusparselt", "nvjitlink", "nvshmem",
        )
    ),
    "NVIDIA's, free to use and pass on with programs for its GPUs; torch for GPUs needs it",
)  # fmt: skip
NEVER = {
    "aiortc": "its PyAV",
    "av": "its wheels bundle GPL encoders",
    "imageio-ffmpeg": "its wheels bundle a GPL ffmpeg",
    "mutagen": "GPL",
    "pafy": "LGPL, and abandoned",
    "supervision": "it needs PyAV",
    "ultralytics": "AGPL",
    "yolov5": "GPL or AGPL",
}


def locked(lock: Path) -> set[str]:
    return {
        canonicalize_name(name) for name in re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==", lock.read_text(), re.MULTILINE)
    }


def licence(about: PackageMetadata) -> str:
    """What it says of itself, in the order of how exact that is; of a whole licence's text, the first line."""
    if "License-Expression" in about:
        return about["License-Expression"]
    classifiers = [one for one in about.get_all("Classifier") or [] if one.startswith("License :: ")]
    named = next(iter(" ".join(about.get_all("License") or []).strip().splitlines()), "")
    return "; ".join([one.rpartition(" :: ")[2] for one in classifiers] + [named])


def objection(text: str) -> str | None:
    """Why a distribution that says so of its licence is not taken. Of several to choose from, one will do."""
    choices = re.split(r"\bOR\b", text)
    if all(COPYLEFT.search(choice) for choice in choices):
        return f"copyleft: {text}"
    if not any(PERMISSIVE.search(choice) for choice in choices):
        return f"unknown: {text}"
    return None


@pytest.mark.parametrize("lock", SHIPPED)
def test_every_shipped_distribution_is_permissive(lock: str) -> None:
    names = locked(REQUIREMENTS / f"{lock}.txt")
    assert len(names) > 20
    objections = {}
    for name in sorted(names - EXCEPTIONS.keys()):
        try:
            about = metadata(name)
        except PackageNotFoundError:
            objections[name] = "not installed here: make setup installs what is locked"
            continue
        if (why := objection(licence(about))) is not None:
            objections[name] = why
    assert objections == {}


def test_an_exception_is_one_only_while_it_is_needed() -> None:
    names = set().union(*(locked(REQUIREMENTS / f"{lock}.txt") for lock in SHIPPED))
    assert EXCEPTIONS.keys() <= names
    assert [name for name in EXCEPTIONS if objection(licence(metadata(name))) is None] == []


@pytest.mark.parametrize("lock", sorted(REQUIREMENTS.glob("*.txt")), ids=lambda path: path.stem)
def test_no_lock_has_what_bundles_or_needs_a_gpl(lock: Path) -> None:
    assert locked(lock) & NEVER.keys() == set()


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("MIT", True),
        ("Apache-2.0 AND BSD-2-Clause", True),
        ("GPL-2.0-or-later OR MIT", True),
        ("GPL-3.0-only", False),
        ("AGPL-3.0", False),
        ("GNU Affero General Public License v3", False),
        ("GNU Lesser General Public License v2 or later (LGPLv2+); LGPL-2.1-or-later", False),
        ("MIT AND GPL-2.0-only", False),
        ("Other/Proprietary License; NVIDIA Proprietary Software", False),
        ("", False),
        ("Committed to permissiveness", False),
    ],
)
def test_what_is_taken_for_permissive(text: str, taken: bool) -> None:
    assert (objection(text) is None) is taken
