"""Nothing in a file is executed, and nothing is allocated that the file does not hold."""

import contextlib
import copyreg
import pickle
import sys
import types
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from masktrain_trainer.errors import UnusableWeights
from masktrain_trainer.weights import pickle_machine
from masktrain_trainer.weights.load import read_weights
from masktrain_trainer.weights.pickle_machine import DEEPEST_MARKS, MOST_OBJECTS, StandIn
from masktrain_trainer.weights.torch_file import read_torch_file

from .traps import Trap, called, named, text, traps

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


_MILLION = torch.zeros(1_000_000)


@pytest.mark.parametrize(
    "document",
    [
        [torch.zeros(1).expand(10**9)],
        {"a": torch.zeros(2, 1).expand(2, 10**9)},
        [_MILLION[start:] for start in range(100)],
        [torch.zeros(1).expand(1 << number) for number in range(40)],
    ],
    ids=["one number", "two numbers", "a million again and again", "more and more"],
)
def test_views_of_one_storage_cannot_outgrow_the_file(document: Any, tmp_path: Path) -> None:
    """By their size and not as damage, for such tensors are legal."""
    torch.save(document, tmp_path / "file.pt")
    with pytest.raises(UnusableWeights, match="larger than the whole file together") as caught:
        read_torch_file(tmp_path / "file.pt")
    assert "damaged" not in str(caught.value)


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


def _with_a_note(tensor: torch.Tensor) -> torch.Tensor:
    tensor.note = "x"  # type: ignore[attr-defined]
    return tensor


LEGAL_TENSORS = {
    "a stride of 0": torch.arange(6.0).view(1, 3, 1, 1, 2).expand(1, 3, 80, 80, 2),
    "a number for all": torch.ones(()).expand(1000),
    "overlapping": torch.arange(10.0).unfold(0, 3, 1),
    "none, beyond its storage": torch.zeros(2, 3)[2:, 3:],
    "none, of one dimension": torch.zeros(0),
    "none, of a large one": torch.zeros(0, 1 << 30),
    "nine dimensions": torch.ones([1] * 9),
    "a parameter with an attribute": _with_a_note(nn.Parameter(torch.ones(2))),
    "a tensor with an attribute": _with_a_note(torch.ones(2)),
    "a frozen parameter": nn.Parameter(torch.ones(2), requires_grad=False),
    "a buffer": nn.Buffer(torch.ones(2)),
}


@pytest.mark.parametrize("kind", LEGAL_TENSORS)
def test_unusual_tensors_are_no_damage(kind: str, tmp_path: Path) -> None:
    tensor = LEGAL_TENSORS[kind]
    torch.save({"a": tensor, "b": tensor.detach()}, tmp_path / "file.pt")
    found = read_torch_file(tmp_path / "file.pt")
    assert torch.equal(found["a"], tensor)
    assert torch.equal(found["b"], tensor)


LEGAL_VALUES: dict[str, tuple[Any, Any]] = {
    "defaultdict": (defaultdict(list, a=[1]), {"a": [1]}),
    "OrderedDict": (OrderedDict(a=1), {"a": 1}),
    "set": ({"a", 1}, {"a", 1}),
    "frozenset": (frozenset({"a"}), frozenset({"a"})),
    "Size": (torch.Size((1, 2)), (1, 2)),
    "device": (torch.device("cuda", 1), ("torch.device", ("cuda", 1))),
    "deque": (deque([1, 2]), ("collections.deque", [1, 2])),
    "Counter": (Counter("aab"), ("collections.Counter", ({"a": 2, "b": 1},))),
    "Namespace": (Namespace(a=1), ("argparse.Namespace", {"a": 1})),
    "SimpleNamespace": (SimpleNamespace(a=1), ("types.SimpleNamespace", {"a": 1})),
    "path": (PurePosixPath("a/b"), ("pathlib.PurePosixPath", None)),
    "path of Windows": (PureWindowsPath("a\\b"), ("pathlib.PureWindowsPath", None)),
    "timedelta": (timedelta(1), ("datetime.timedelta", (1, 0, 0))),
    "complex": (complex(1, 2), ("complex", (1.0, 2.0))),
    "range": (range(3), ("range", (0, 3, 1))),
}


@pytest.mark.parametrize("kind", LEGAL_VALUES)
def test_values_that_people_keep_in_checkpoints_are_read(kind: str, tmp_path: Path) -> None:
    """An object becomes a record: of its name, and what it was made of, its state or its items."""
    value, expected = LEGAL_VALUES[kind]
    torch.save([value], tmp_path / "file.pt")
    (found,) = read_torch_file(tmp_path / "file.pt")
    if isinstance(found, StandIn):
        name, content = expected
        assert str(found.type).endswith(name)
        assert content is None or content in (found.arguments, found.state, found.items)
    else:
        assert found == expected


@pytest.mark.parametrize(
    "value", [np.float64(0.5), np.float32(1), np.int64(3), np.array([0.4]), np.zeros((2, 2))], ids=repr
)
@pytest.mark.parametrize("version", [1, 2])
def test_numbers_of_numpy_are_records(value: Any, version: int, tmp_path: Path) -> None:
    """Of both NumPys: 2 moved the functions that its pickles name."""
    content = pickle.dumps([value], 2)
    if version == 1:
        content = content.replace(b"numpy._core.", b"numpy.core.")
    (found,) = read_torch_file(write(tmp_path / "file.pt", content))
    assert isinstance(found, StandIn)
    assert found.type.module.partition(".")[0] == "numpy"


@pytest.mark.parametrize("package", ["dill.dill", "dill._dill"])
@pytest.mark.parametrize(("name", "made"), [("set", set()), ("SetType", set()), ("frozenset", frozenset())])
def test_dills_name_of_a_type_is_that_type(package: str, name: str, made: Any, tmp_path: Path) -> None:
    kind = called(named(package, "_load_type"), text(name))
    found = read_torch_file(write(tmp_path / "file.pt", kind + pickle.EMPTY_TUPLE + pickle.REDUCE + pickle.STOP))
    assert (type(found), found) == (type(made), made)


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
