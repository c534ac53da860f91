"""Reads the bytes of a replica's answer, within a bound: a replica is trusted no further than that."""

from collections.abc import AsyncIterator, Callable

import aiohttp
from opentelemetry import metrics

_too_large = metrics.get_meter("serving").create_counter(
    "clorad.gateway.answers.too_large",
    unit="{request}",
    description="answers of replicas that were longer than gateway.limits.answer_mib_max allows",
)


class AnswerTooLarge(Exception):
    """A replica answers with more bytes than one answer may have. The client gets a 502, and nobody else."""


class AnswersTooLarge(Exception):
    """All answers that are held take too much memory. The client gets a 503, and may try again."""


Hold = Callable[[int], None]
"""Holds so many bytes of one answer, until its client has them. Raises `AnswersTooLarge`."""


async def bounded_parts(content: aiohttp.StreamReader, bytes_max: int) -> AsyncIterator[bytes]:
    """The bytes of one answer as they arrive. Raises `AnswerTooLarge`, and what aiohttp raises."""
    size = 0
    async for part in content.iter_any():
        size += len(part)
        if size > bytes_max:
            _too_large.add(1)
            raise AnswerTooLarge(f"more than {bytes_max:,} bytes")
        yield part


async def whole_answer(content: aiohttp.StreamReader, bytes_max: int, hold: Hold) -> bytes:
    """All bytes of one answer, held as they arrive. Raises as `bounded_parts` and `hold` do."""
    answer = bytearray()
    async for part in bounded_parts(content, bytes_max):
        answer += part
        hold(len(answer))
    return bytes(answer)
