"""Server-sent events are read as the standard says, wherever the network cuts them."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.event_stream import EventDecoder

STREAMS = {
    "plain": (b'data: {"a":1}\n\ndata: [DONE]\n\n', [b'{"a":1}', b"[DONE]"]),
    "a comment glued to an event": (b": ping\ndata: x\n\n", [b"x"]),
    "a comment of its own": (b": ping\n\ndata: x\n\n", [b"x"]),
    "CRLF": (b": ping\r\n\r\ndata: x\r\n\r\n", [b"x"]),
    "CR": (b"data: x\r\rdata: y\r\r", [b"x", b"y"]),
    "no space": (b"data:x\n\n", [b"x"]),
    "two spaces": (b"data:  x\n\n", [b" x"]),
    "a named event": (b"event: message\nid: 7\nretry: 10\ndata: x\n\n", [b"x"]),
    "data after other fields": (b"id: 7\ndata: x\nevent: y\n\n", [b"x"]),
    "several data lines": (b'data: {\ndata: "a":1}\n\n', [b'{\n"a":1}']),
    "a byte order mark": (b"\xef\xbb\xbfdata: x\n\n", [b"x"]),
    "an event without data": (b"event: ping\n\ndata: x\n\n", [b"x"]),
    "an unfinished event": (b"data: x\n\ndata: y\n", [b"x"]),
}


@pytest.mark.parametrize(("raw", "events"), STREAMS.values(), ids=STREAMS)
@given(cuts=st.lists(st.integers(0, 60), max_size=6))
def test_events_are_those_of_the_standard_wherever_parts_end(
    raw: bytes, events: list[bytes], cuts: list[int]
) -> None:
    decoder, ends = EventDecoder(), [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    parts = [raw[begin:end] for begin, end in pairwise(ends)]
    assert [event for part in parts for event in decoder.feed(part)] == events


def test_one_byte_at_a_time_gives_the_same_events() -> None:
    for raw, events in STREAMS.values():
        decoder = EventDecoder()
        assert [event for byte in raw for event in decoder.feed(bytes([byte]))] == events


def test_what_is_held_back_is_counted() -> None:
    decoder = EventDecoder()
    assert list(decoder.feed(b"data: 12345\ndata: 67")) == []
    assert decoder.held_bytes >= len("12345data: 67")


def test_a_long_line_takes_linear_time() -> None:
    decoder, part = EventDecoder(), b"1, " * 3_000
    began_s = time.thread_time()
    events = list(decoder.feed(b"data: "))
    for _ in range(1_000):
        events += decoder.feed(part)
    events += decoder.feed(b"\n\n")
    assert [len(event) for event in events] == [1_000 * len(part)]
    assert time.thread_time() - began_s < 2.0
