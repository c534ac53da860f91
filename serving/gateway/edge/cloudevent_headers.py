"""Decodes the attributes of a CloudEvent that come as HTTP headers (binary mode).

Their values are percent-encoded, and a receiver must decode them once, after it has read quoted strings. On
Kafka they are plain UTF-8. CloudEvents 1.0.2, HTTP binding, section 3.1.3.2:
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

import re
from collections.abc import Mapping

PREFIX = "ce-"
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)  # RFC 7230, section 3.2.6
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


def kafka_headers(headers: Mapping[str, str]) -> tuple[tuple[str, bytes], ...]:
    """The headers under which the same event travels on Kafka; others are left out.

    A value that is not UTF-8 stays as it is, for the reader of the event to refuse.
    """
    return tuple(
        (f"ce_{name.removeprefix(PREFIX)}", _decoded(value))
        if name.startswith(PREFIX)
        else (name, value.encode("latin-1", "replace"))
        for name, value in headers.items()  # each one, also where two have one name
        if name.startswith(PREFIX) or name in ("content-type", "traceparent")
    )


def _decoded(value: str) -> bytes:
    quoted = _QUOTED.fullmatch(value)
    text = value if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted[1])
    return _ESCAPE.sub(lambda escape: bytes((int(escape[1], 16),)), text.encode("latin-1", "replace"))
