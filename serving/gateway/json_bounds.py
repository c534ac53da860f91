"""Bounds on the JSON that clients send: how many values it holds and how deep it nests.

CPython decodes JSON under the interpreter lock, so one text of many small values (`[],` a million times)
stops every other request for seconds, in whatever thread it is decoded. The number of values is therefore
counted before a text is decoded. One long string is cheap and needs no bound of its own.
"""

import re

VALUES_MAX = 100_000
"""JSON values in one request. Decoding so many takes some 20 ms."""

DEPTH_MAX = 64
"""Levels of lists and objects in one request. JSON schemas of tools nest about 20 levels deep."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def count_values(raw: bytes, *, enough: int) -> int:
    """How many JSON values a text holds at most.

    Text inside strings is left out only where the count with it exceeds `enough`: few requests need that.
    """
    count = _count_separators(raw)
    return count if count <= enough else _count_separators(_STRING.sub(b'""', raw))


def _count_separators(raw: bytes) -> int:
    return 1 + raw.count(b",") + raw.count(b"[") + raw.count(b"{")
