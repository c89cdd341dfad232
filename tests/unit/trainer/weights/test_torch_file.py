"""Nothing in a file is executed, and nothing is allocated that the file does not hold."""

import contextlib
import copyreg
import pickle
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masktrain_trainer.errors import UnusableWeights
from masktrain_trainer.weights import pickle_machine
from masktrain_trainer.weights.load import read_weights
from masktrain_trainer.weights.pickle_machine import DEEPEST_MARKS, MOST_OBJECTS
from masktrain_trainer.weights.torch_file import read_torch_file

from .traps import Trap, traps

EXTENSION = 0xF0
NAMES = list(traps(Path("unused"), EXTENSION))
SPRINGING = [name for name, trap in traps(Path("unused"), EXTENSION).items() if trap.springs]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "executed"


@pytest.fixture(autouse=True)
def within_reach(target: Path) -> Iterator[None]:
    """What a careless reader would find: an installed module of an allowed name, and a registered extension."""

    class Layer:
        def __setstate__(self, _: object) -> None:
            target.touch()

    evil = types.ModuleType("models.evil")
    evil.run, evil.Layer = lambda _: target.touch(), Layer  # type: ignore[attr-defined]
    modules = {"models": types.ModuleType("models"), "models.evil": evil}
    sys.modules.update(modules)
    copyreg.add_extension("os", "system", EXTENSION)
    yield
    copyreg.remove_extension("os", "system", EXTENSION)
    for name in modules:
        del sys.modules[name]


def write(path: Path, content: bytes, storage: bytes = bytes(4), compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/data/0", storage)
    return path


def trap(name: str, target: Path) -> Trap:
    return traps(target, EXTENSION)[name]


@pytest.mark.parametrize("name", NAMES)
def test_traps_are_refused_and_not_executed(name: str, target: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "file.pt", trap(name, target).content)
    with pytest.raises(UnusableWeights, match=trap(name, target).sentence) as caught:
        read_weights(path)
    assert not target.exists()
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SPRINGING)
def test_the_traps_are_real(name: str, target: Path) -> None:
    pickle.loads(trap(name, target).content)
    assert target.exists()


def test_there_are_many() -> None:
    assert len(NAMES) >= 50
    assert len(SPRINGING) >= 20


def test_a_compressed_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path / "file.pt", b"\x80\x02}.", bytes(50_000_000), zipfile.ZIP_DEFLATED)
    with pytest.raises(UnusableWeights, match="is a compressed zip"):
        read_torch_file(path)


def test_a_zip_that_counts_its_bytes_over_and_over_is_refused(tmp_path: Path) -> None:
    """Every entry of its directory leads to the same bytes."""
    path = write(tmp_path / "file.pt", b"\x80\x02}.", bytes(100_000))
    with zipfile.ZipFile(path, "a") as file:
        shared = file.getinfo("archive/data/0")
        for number in range(1, 50):
            entry = zipfile.ZipInfo(f"archive/data/{number}")
            entry.CRC, entry.file_size, entry.compress_size = shared.CRC, shared.file_size, shared.compress_size
            entry.header_offset = shared.header_offset
            file.filelist.append(entry)
        file._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(UnusableWeights, match="larger than the whole file"):
        read_torch_file(path)


def test_views_of_one_storage_cannot_outgrow_the_file(tmp_path: Path) -> None:
    flat = torch.zeros(10_000)
    torch.save([flat.view(100, 100), *(flat[:9_000] for _ in range(4))], tmp_path / "file.pt")
    with pytest.raises(UnusableWeights, match="larger than the whole file together"):
        read_torch_file(tmp_path / "file.pt")


def test_endless_pickles_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_machine, "MOST_OPCODES", 1000)
    path = write(tmp_path / "file.pt", (pickle.NONE + pickle.POP) * 1000 + pickle.NONE + pickle.STOP)
    with pytest.raises(UnusableWeights, match="more than 1,000 steps"):
        read_torch_file(path)


def _keys_of_one_hash(count: int) -> bytes:
    keys = [(number * (2**61 - 1)).to_bytes(11, "little") for number in range(1, count + 1)]
    return b"}(" + b"".join(b"\x8a\x0b" + key + b"N" for key in keys) + b"u."


TOO_MUCH = {
    "empty sets": (b"(" + b"\x8f" * (MOST_OBJECTS + 1) + b"l.", "makes more than 250,000 objects"),
    "tuples": (b"(" + b"N\x85" * (MOST_OBJECTS + 1) + b"l.", "makes more than 250,000 objects"),
    "names": (b"(" + b"ctorch\nint\n" * (MOST_OBJECTS + 1) + b"l.", "makes more than 250,000 objects"),
    "calls": (b"(" + b"ctorch\nint\n)R" * MOST_OBJECTS + b"l.", "makes more than 250,000 objects"),
    "marks": (b"(" * (DEEPEST_MARKS + 1) + b".", "nested deeper than any model"),
    "keys of one hash": (_keys_of_one_hash(20_000), "a number of more than 60 bits as a key"),
}


@pytest.mark.parametrize(("content", "sentence"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_small_file_that_takes_much_memory_or_time_is_refused(content: bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableWeights, match=sentence):
        read_torch_file(write(tmp_path / "a.pt", b"\x80\x02" + content))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int8, torch.uint8, torch.int16, torch.bool])
def test_tensors_of_every_type_and_layout_are_read(dtype: torch.dtype, tmp_path: Path) -> None:
    grid = torch.arange(24).view(2, 3, 4).to(dtype)
    document = {
        "a": grid,
        "transposed": grid.transpose(0, 2),
        "part": grid[1, 1:],
        "scalar": grid[1, 2, 3],
        "none": grid[:0],
    }
    torch.save(document, tmp_path / "file.pt")
    found = read_torch_file(tmp_path / "file.pt")
    assert all(torch.equal(found[name], tensor) and found[name].dtype == dtype for name, tensor in document.items())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(-(2**60), 2**60), inner)
    ),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(value=values, protocol=st.integers(2, 5))
def test_plain_values_come_back(value: Any, protocol: int) -> None:
    assert pickle_machine.PickleMachine(NoNames()).run(pickle.dumps(value, protocol)) == value


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=60))
def test_random_bytes_give_a_sentence_or_a_value(content: bytes) -> None:
    with contextlib.suppress(UnusableWeights):
        pickle_machine.PickleMachine(NoNames()).run(content + pickle.STOP)


class NoNames:
    """Bytes of protocol 2 are the only call in plain values."""

    def resolve(self, found: Any) -> Any:
        if str(found) not in ("_codecs.encode", "__builtin__.bytes"):
            raise UnusableWeights("names something.")
        return str(found)

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        if function not in ("_codecs.encode", "__builtin__.bytes"):
            raise UnusableWeights("calls something.")
        return arguments[0].encode("latin-1") if arguments else b""

    def storage(self, identifier: Any) -> Any:
        raise UnusableWeights("stores something.")
