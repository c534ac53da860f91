"""Decodes and encodes JSON within bounds: size, values, depth; large texts in a thread beside the event loop.

A decoder holds the interpreter lock while it runs, so a thread alone protects nobody: what bounds the stall
of other requests is the number of values (`[],` a million times takes seconds, a long string does not), and
how long each takes. What is not a decoder reads a text piece by piece, and others run in between. msgspec
takes a third of the time of CPython's `json`, and refuses what is not standard.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response

from serving.gateway.edge.errors import RequestRefused
from serving.gateway.edge.limits import LARGE_BODY_BYTES, GatewayLimits

Result = TypeVar("Result")

# One thread: large texts wait for each other, and small ones do not wait for them.
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="json")
_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()
_ROUND = bytes.maketrans(b"[{]}", b"(())")
_OTHERS = bytes(set(range(256)) - set(b'",[]{}'))  # characters that say nothing about the structure
_PIECE_BYTES = 64 * 1024  # read in one call, which no other thread can interrupt


async def count_request(raw: bytes, limits: GatewayLimits) -> int:
    """At most how many JSON values a body holds, counted beside the event loop where it is large.

    Raises `RequestRefused` (400) above `values_max`.
    """
    values = await beside(len(raw), partial(count_values, raw, enough=limits.values_max))
    if values > limits.values_max:
        text = f"the body holds more than {limits.values_max} JSON values"
        raise RequestRefused(400, text, "body_values", code="too_many_values")
    return values


async def decode_request(raw: bytes, limits: GatewayLimits) -> dict[str, Any]:
    """The same as `decode_now`, beside the event loop where the text is large."""
    return await beside(len(raw), partial(decode_now, raw, limits))


def decode_now(raw: bytes, limits: GatewayLimits) -> dict[str, Any]:
    """The object in a request's body, whose values are counted. Raises `RequestRefused` (400).

    A byte order mark before it is left out, as RFC 8259 (section 8.1) allows and vLLM does.
    """
    try:
        body = decode_strictly(raw.removeprefix(b"\xef\xbb\xbf"))
    except RecursionError:
        raise _too_deep(limits) from None
    except ValueError:
        raise RequestRefused(400, "the body is not JSON", "body_json") from None
    if not isinstance(body, dict):
        raise RequestRefused(400, "the body must be an object", "body_json")
    if nests_deeper(raw, limits.depth_max):
        raise _too_deep(limits)
    return body


async def beside(size: int, read: Callable[[], Result]) -> Result:
    """What `read` makes of a text of so many bytes, in a thread where it is large."""
    if size < LARGE_BODY_BYTES:
        return read()
    return await asyncio.get_running_loop().run_in_executor(_THREAD, read)


async def encode(value: Any, *, large: bool) -> bytes:
    """JSON of a value that `decode_strictly` gave."""
    return await beside(LARGE_BODY_BYTES if large else 0, partial(encode_now, value))


def encode_now(value: Any) -> bytes:
    """JSON of a value that `decode_strictly` gave; what is JSON text in it (`msgspec.Raw`) stays as it is."""
    try:
        return _ENCODER.encode(value)
    except OverflowError:  # an integer of more than 64 bits
        return json.dumps(value, default=decode_strictly).encode()


def json_response(value: Any, status: int, headers: Mapping[str, str]) -> Response:
    """An answer with this value as its body."""
    return Response(encode_now(value), status, headers, "application/json")


def decode_strictly(raw: bytes | msgspec.Raw) -> Any:
    """JSON as the standard has it: UTF-8, finite numbers, whole characters.

    Raises `ValueError`, `RecursionError`. Its texts quote nothing.
    """
    return _DECODER.decode(raw)


def nests_deeper(raw: bytes, depth_max: int) -> bool:
    """Whether lists and objects nest deeper in this JSON. Each round takes the innermost ones away."""
    if _count(raw, b"[{") <= depth_max:
        return False
    brackets = b"".join(_structure(raw)).translate(_ROUND, b",")
    for _ in range(depth_max):
        brackets = brackets.replace(b"()", b"")
    return bool(brackets)


def count_values(raw: bytes, *, enough: int) -> int:
    """An upper bound of the JSON values in a text; without what strings hold where that exceeds `enough`."""
    coarse = 1 + _count(raw, b",[{")
    if coarse <= enough:
        return coarse
    quotes = sum(_count(_without_escapes(piece), b'"') for piece in _pieces(raw))
    if quotes > 4 * enough:  # two a string, and no more names than values
        return 1 + quotes // 4
    return 1 + sum(_count(piece, b",[{") for piece in _structure(raw))


def _structure(raw: bytes) -> Iterator[bytes]:
    """Commas and brackets outside of strings.

    Taking `""` away joins strings or removes them, and leaves what is outside of them.
    """
    inside = 0  # 1 where a string goes on from the piece before
    for piece in _pieces(raw):
        rest = _without_escapes(piece).translate(None, _OTHERS).replace(b'""', b"")
        parts = rest.split(b'"')
        yield b"".join(parts[inside::2])
        inside ^= (len(parts) - 1) % 2


def _pieces(raw: bytes) -> Iterator[bytes]:
    """The text in pieces, so that other threads run in between. No piece ends within an escape."""
    start = 0
    while start < len(raw):
        piece = raw[start : start + _PIECE_BYTES]
        if start + len(piece) < len(raw) and (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece = piece[:-1]
        yield piece
        start += len(piece)


def _without_escapes(raw: bytes) -> bytes:
    """The text without escaped quotes: each quote that is left begins or ends a string."""
    return raw.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in raw else raw


def _too_deep(limits: GatewayLimits) -> RequestRefused:
    text = f"the body nests lists and objects more than {limits.depth_max} levels deep"
    return RequestRefused(400, text, "body_depth", code="too_deep")


def _count(raw: bytes, characters: bytes) -> int:
    """How many of these characters there are. `bytes.count` takes ten times as long where there are many."""
    return len(raw) - sum(len(piece.translate(None, characters)) for piece in _pieces(raw))
