"""Decodes server-sent events as the WHATWG HTML standard says (section 9.2, "Parsing an event stream").

Lines end with LF, CRLF or CR. `data` fields of one event are joined by line breaks. Comments and the fields
`event`, `id` and `retry` are skipped: all streams here carry everything in `data`.
"""

from collections.abc import AsyncIterator, Iterator
from functools import partial

import aiohttp

from serving.gateway.edge.answer_bytes import bounded_parts
from serving.gateway.edge.json_text import beside
from serving.gateway.forms.answer_form import AnswerForm, AnswerPart

_BOM = b"\xef\xbb\xbf"


async def read_events(
    content: aiohttp.StreamReader, form: AnswerForm, *, bytes_max: int
) -> AsyncIterator[AnswerPart]:
    """Each event of an answer of this form, up to the last one.

    Raises `UnreadableReply`, `AnswerTooLarge`, and `ClientPayloadError` where the stream ends too early.
    """
    decoder = EventDecoder()
    async for part in bounded_parts(content, bytes_max):
        for data in decoder.feed(part):
            event = await beside(len(data), partial(form.read_event, data))
            if event is None:
                return
            yield event
            if event.is_last:
                return
    raise aiohttp.ClientPayloadError("the stream ended early")


class EventDecoder:
    """Takes the bytes of one stream as they arrive, and gives the data of each event that is complete."""

    def __init__(self) -> None:
        self._held = bytearray()  # the beginning of a line
        self._data: list[bytes] = []  # of the event under way
        self._data_bytes = 0
        self._begins = True
        self._after_cr = False

    @property
    def held_bytes(self) -> int:
        """Bytes of the event that is not complete yet."""
        return len(self._held) + self._data_bytes

    def feed(self, part: bytes) -> Iterator[bytes]:
        """The data of each event that `part` completes; events without data are left out."""
        for line in self._lines(part):
            if line:
                self._take(line)
            elif self._data:
                data = b"\n".join(self._data)
                self._data, self._data_bytes = [], 0
                yield data

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            data = value.removeprefix(b" ")
            self._data.append(data)
            self._data_bytes += len(data)

    def _lines(self, part: bytes) -> list[bytes]:
        """Each complete line. A CR at the end of a part ends its line; a LF that follows belongs to it."""
        if not part:
            return []
        text = part.removeprefix(b"\n") if self._after_cr else part
        self._after_cr = part.endswith(b"\r")
        if self._begins:
            text = bytes(self._held) + text
            self._held.clear()
            if len(text) >= len(_BOM):
                text, self._begins = text.removeprefix(_BOM), False
        *lines, rest = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if lines and self._held:
            lines[0] = bytes(self._held) + lines[0]
            self._held.clear()
        self._held += rest  # never joined before its line is complete: that would take quadratic time
        return lines
