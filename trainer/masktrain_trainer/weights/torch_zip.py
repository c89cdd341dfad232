"""The zip file that `torch.save` writes: one pickle, and one uncompressed member for each storage."""

import zipfile
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from .errors import UnusableWeights

LARGEST_FILE: Final = 8 << 30
"""An unstripped yolov5x6.pt has 1.1 GB."""
LARGEST_PICKLE: Final = 64 << 20
MOST_MEMBERS: Final = 100_000
_PICKLE = "/data.pkl"
_ZIP_MAGIC, _PICKLE_PROTOCOL_2, _TAR_MAGIC = b"PK\x03\x04", b"\x80\x02", b"ustar"


class TorchZip:
    """An open file. Every method raises UnusableWeights; a context manager."""

    def __init__(self, path: Path) -> None:
        """Nothing is read yet but the list of members."""
        self.size = path.stat().st_size
        if self.size > LARGEST_FILE:
            raise UnusableWeights(f"has {self.size:,} bytes; weights with more than {LARGEST_FILE:,} are not read.")
        _refuse_other_formats(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise UnusableWeights("is damaged: its zip cannot be read; download or copy it again.") from error
        try:
            self._members = self._checked_members()
            self._prefix = self._find_prefix()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> "TorchZip":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def pickle(self) -> bytes:
        """The pickle of the saved object."""
        name = f"{self._prefix}{_PICKLE}"
        if self._members[name].file_size > LARGEST_PICKLE:
            raise UnusableWeights(f"has a pickle of more than {LARGEST_PICKLE:,} bytes, which no model needs.")
        return self._read(name)

    def storage(self, key: str, dtype: torch.dtype, elements: int) -> Tensor:
        """One storage as a flat tensor. Its size must be the one that the pickle tells."""
        name = f"{self._prefix}/data/{key}"
        if name not in self._members:
            raise UnusableWeights(f"is damaged: the storage {key[:20]} is missing.")
        if self._members[name].file_size != elements * dtype.itemsize:
            raise UnusableWeights(f"is damaged: the storage {key[:20]} has another size than its pickle says.")
        if elements == 0:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(bytearray(self._read(name)), dtype=dtype)

    def _read(self, name: str) -> bytes:
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, OSError) as error:
            raise UnusableWeights("is damaged: a part of its zip cannot be read; download or copy it again.") from error

    def _checked_members(self) -> dict[str, zipfile.ZipInfo]:
        """Members as large as they are in the file: neither compressed, nor more of them than bytes."""
        members = self._zip.infolist()
        if len(members) > MOST_MEMBERS:
            raise UnusableWeights(f"is a zip of more than {MOST_MEMBERS:,} members, which no model needs.")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise UnusableWeights("is a compressed zip; torch writes uncompressed ones: unpack it, if it holds a .pt.")
        if any(member.flag_bits & 1 for member in members):
            raise UnusableWeights("is an encrypted zip; torch writes plain ones.")
        if sum(member.file_size for member in members) > self.size:
            raise UnusableWeights("is a zip whose members are larger than the whole file; it is damaged or a trap.")
        return {member.filename: member for member in members}

    def _find_prefix(self) -> str:
        """All members lie in one folder, named as the file was."""
        prefixes = [name.removesuffix(_PICKLE) for name in self._members if name.count("/") == 1 and _PICKLE in name]
        if len(prefixes) != 1 or f"{prefixes[0]}{_PICKLE}" not in self._members:
            raise UnusableWeights("is a zip without the one data.pkl that torch.save writes; give a .pt file.")
        if f"{prefixes[0]}/constants.pkl" in self._members:
            raise UnusableWeights("is TorchScript, whose weights are not read; give the .pt it was made from.")
        if self._order(prefixes[0]) == b"big":
            raise UnusableWeights("was written on a big-endian machine; save it again on a usual one.")
        return prefixes[0]

    def _order(self, prefix: str) -> bytes:
        name = f"{prefix}/byteorder"
        found = self._members.get(name)
        return self._read(name) if found is not None and found.file_size < 10 else b"little"


def _refuse_other_formats(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(_ZIP_MAGIC):
        return
    if start.startswith(_PICKLE_PROTOCOL_2) or start[257:262] == _TAR_MAGIC:
        raise UnusableWeights(
            "was written in the format of torch before 1.6, which is not read; in an environment that you trust it in, "
            "load it with the program that wrote it and call torch.save on it with a newer torch."
        )
    raise UnusableWeights("is not a file that torch.save writes; it is damaged, or something else.")
