"""Unpacks what Kafka's producers packed, within a bound: a small record may unpack to gigabytes.

The bound holds while it unpacks: a record that exceeds it costs no more memory than one that does not.
"""

import gzip
import io
from collections.abc import Callable
from typing import Any

import lz4.frame
import snappy
import zstandard

BYTES_MAX = 64 * 1024 * 1024
"""Bytes of one unpacked batch. A batch has up to a megabyte packed; ordinary texts shrink to a tenth."""

_STEP_BYTES = 1024 * 1024
_WINDOW_BYTES_MAX = BYTES_MAX  # a zstd frame says how much memory its decoder needs
_XERIAL = b"\x82SNAPPY\x00"  # how Java's snappy begins; blocks with their sizes follow
_XERIAL_HEAD_BYTES = 16


class UnpacksTooLarge(Exception):
    """More than `BYTES_MAX` bytes. `beginning` are some of them, from the first on."""

    def __init__(self, beginning: bytes) -> None:
        super().__init__(f"unpacks to more than {BYTES_MAX} bytes")
        self.beginning = beginning


def gzip_decode(packed: Any) -> bytes:
    """Raises `UnpacksTooLarge`, and gzip's errors."""
    with gzip.GzipFile(fileobj=io.BytesIO(packed), mode="rb") as unpacking:
        return _read_all(unpacking.read)


def zstd_decode(packed: Any) -> bytes:
    """Raises `UnpacksTooLarge`, and zstandard's errors."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)
    with decompressor.stream_reader(io.BytesIO(packed), read_across_frames=True) as unpacking:
        return _read_all(unpacking.read)


def lz4_decode(packed: Any) -> bytes:
    """Raises `UnpacksTooLarge`, and lz4's errors."""
    unpacking = lz4.frame.LZ4FrameDecompressor()
    unpacked: bytes = unpacking.decompress(packed, max_length=BYTES_MAX + 1)
    if len(unpacked) > BYTES_MAX:
        raise UnpacksTooLarge(unpacked)
    if not unpacking.eof:
        raise EOFError("an lz4 frame without its end")
    return unpacked


def snappy_decode(packed: Any) -> bytes:
    """Raises `UnpacksTooLarge`, and snappy's errors. A block says first how many bytes it unpacks to."""
    packed = bytes(packed)
    blocks = _xerial_blocks(packed) if packed.startswith(_XERIAL) else [packed]
    parts: list[bytes] = []
    total = 0
    for block in blocks:
        total += _announced_bytes(block)
        if total > BYTES_MAX:
            raise UnpacksTooLarge(b"".join(parts))
        parts.append(snappy.decompress(block))
    return b"".join(parts)


def _read_all(read: Callable[[int], bytes]) -> bytes:
    parts: list[bytes] = []
    total = 0
    while part := read(_STEP_BYTES):
        parts.append(part)
        total += len(part)
        if total > BYTES_MAX:
            raise UnpacksTooLarge(parts[0])
    return b"".join(parts)


def _xerial_blocks(packed: bytes) -> list[bytes]:
    blocks, place = [], _XERIAL_HEAD_BYTES
    while place < len(packed):
        begin = place + 4
        place = begin + int.from_bytes(packed[place:begin], "big")
        blocks.append(packed[begin:place])
    return blocks


def _announced_bytes(block: bytes) -> int:
    """The length at a snappy block's beginning: seven bits a byte, the lowest first."""
    length = 0
    for place, octet in enumerate(block[:5]):
        length |= (octet & 0x7F) << (7 * place)
        if octet < 0x80:
            break
    return length
