"""Packs the token ids of a prompt: compressed bytes for the ledger, and the same bytes as text for JSON.

A prompt of 10,000 tokens takes some 20 KiB.
"""

import base64
import sys
import zlib
from array import array
from collections.abc import Sequence
from enum import StrEnum

import msgspec

TOKENS_MAX = 1_000_000
"""Of one prompt: as many as the longest contexts that vLLM serves."""


class IdsLeftOut(StrEnum):
    """Why a capture has no token ids of its prompt."""

    REDACTED = "redacted"  # they would still spell what was taken out of the texts
    TOO_LARGE = "too_large"  # the record would not have fitted into Kafka's limits
    NOT_REPORTED = "not_reported"  # the replica did not say them


_ID_BYTES = 4
_PIECE_BYTES = 16 * 1024  # of JSON
_LIST = msgspec.json.Decoder(list[int])
_LEVEL = 1  # of zlib: the fastest; 9 saves a tenth of the bytes and takes ten times as long


def pack(token_ids: Sequence[int]) -> bytes:
    """The ids as 32-bit numbers, low byte first, in zlib's form (RFC 1950).

    Raises `OverflowError` and `TypeError` where an id is none.
    """
    return zlib.compress(_little(array("I", token_ids)).tobytes(), _LEVEL)


def pack_json(text: bytes) -> bytes:
    """The ids in a JSON list, packed as `pack` does it.

    Read piece by piece: other threads run in between, and no list holds them all. Raises `ValueError`,
    `OverflowError`.
    """
    token_ids, start, end = array("I"), text.index(b"[") + 1, text.rindex(b"]")
    while start < end:
        stop = text.find(b",", min(start + _PIECE_BYTES, end), end)
        stop = end if stop < 0 else stop
        token_ids.extend(array("I", _LIST.decode(b"[%s]" % text[start:stop])))
        start = stop + 1
    return zlib.compress(_little(token_ids).tobytes(), _LEVEL)


def unpack(packed: bytes) -> tuple[int, ...]:
    """The ids. Raises `ValueError` where the bytes are not what `pack` makes; nothing large is allocated."""
    token_ids = array("I")
    token_ids.frombytes(_raw(packed))
    return tuple(_little(token_ids))


def check(packed: bytes) -> None:
    """Raise `ValueError` where the bytes are not what `pack` makes."""
    _raw(packed)


def to_text(packed: bytes) -> str:
    """Base64 (RFC 4648)."""
    return base64.b64encode(packed).decode()


def from_text(text: str) -> bytes:
    """What `to_text` made the text of. Raises `ValueError` for anything else."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # also of binascii, and where a character is not in ASCII
        raise ValueError("not base64") from None


def _raw(packed: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        raw = decompressor.decompress(packed, _ID_BYTES * TOKENS_MAX)
    except zlib.error:
        raise ValueError("not in zlib's form") from None
    if not decompressor.eof or decompressor.unused_data or len(raw) % _ID_BYTES:
        raise ValueError(f"not the ids of a prompt of at most {TOKENS_MAX} tokens")
    return raw


def _little(token_ids: "array[int]") -> "array[int]":
    """The same numbers with their low byte first; the array is changed."""
    assert token_ids.itemsize == _ID_BYTES
    if sys.byteorder == "big":
        token_ids.byteswap()
    return token_ids
