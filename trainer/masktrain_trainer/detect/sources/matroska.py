"""Whether the structure of a Matroska or WebM file is whole (RFC 9559).

FFmpeg looks for the next cluster where an element's head is damaged, and says nothing of the blocks between: what is
missing looks like a film of variable rate. The heads of elements say it, since each has to begin where the last ended.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

_SEGMENT: Final = 0x18538067
_CLUSTER: Final = 0x1F43B675
_TOP: Final = frozenset(
    {0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, _CLUSTER, 0xEC, 0xBF}
)
"""Seek head, information, tracks, cues, attachments, chapters, tags, cluster, void, checksum."""
_IN_CLUSTER: Final = frozenset({0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0xEC, 0xBF})
"""Time, silent tracks, position, size of the last one, block, group of blocks, encrypted block, void, checksum."""
_LONGEST_ID, _LONGEST_SIZE = 4, 8


@dataclass(frozen=True)
class _Element:
    """`end` None: its size is not known, as in what was once live."""

    kind: int
    body: int
    end: int | None


def broken_at(path: Path) -> int | None:
    """The first byte of a whole file's segment at which no element begins that may lie there; None if all is well.

    What lies within blocks is the decoder's. Raises OSError.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = _element(file, 0)
        segment = None if header is None or header.end is None else _element(file, header.end)
        if segment is None or segment.kind != _SEGMENT:
            return 0
        return _broken_in_segment(file, segment.body, min(segment.end or size, size))


def _broken_in_segment(file: BinaryIO, start: int, end: int) -> int | None:
    at, cluster_end, in_cluster = start, end, False
    while at < end:
        if in_cluster and at == cluster_end:
            in_cluster = False
        element = _element(file, at)
        if element is None:
            return at
        # Of a cluster without a size the next one is the end.
        open_ended = cluster_end == end
        if element.kind in _TOP and (not in_cluster or (open_ended and element.kind not in _IN_CLUSTER)):
            in_cluster = False
        elif not in_cluster or element.kind not in _IN_CLUSTER:
            return at
        limit = cluster_end if in_cluster else end
        if (element.end or end) > limit:
            return at
        if element.kind == _CLUSTER:
            at, cluster_end, in_cluster = element.body, element.end or end, True
        elif element.end is None:
            return at
        else:
            at = element.end
    return None


def _element(file: BinaryIO, at: int) -> _Element | None:
    file.seek(at)
    head = file.read(_LONGEST_ID + _LONGEST_SIZE)
    width = _width(head, 0)
    if width is None or width > _LONGEST_ID:
        return None
    size_width = _width(head, width)
    if size_width is None or len(head) < width + size_width:
        return None
    kind = int.from_bytes(head[:width], "big")
    unknown = (1 << 7 * size_width) - 1
    size = int.from_bytes(head[width : width + size_width], "big") & unknown
    body = at + width + size_width
    return _Element(kind, body, None if size == unknown else body + size)


def _width(head: bytes, at: int) -> int | None:
    """Of a number that says its own length by the zeros before its first one."""
    if at >= len(head) or head[at] == 0:
        return None
    return 9 - head[at].bit_length()
