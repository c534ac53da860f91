"""What is packed is unpacked as kafka-python would, and a bomb of any codec ends at the bound."""

import tracemalloc
from collections.abc import Callable, Sequence

import lz4.frame
import pytest
from kafka import codec
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from feedback.envelope import VALUE_BYTES_MAX
from feedback.kafka_patches import bound_unpacking
from feedback.unpacking import (
    BYTES_MAX,
    UnpacksTooLarge,
    gzip_decode,
    lz4_decode,
    snappy_decode,
    zstd_decode,
)

MIB = 1 << 20
CODECS = {
    "gzip": (lambda plain: codec.gzip_encode(plain, 1), gzip_decode),
    "snappy": (codec.snappy_encode, snappy_decode),
    "raw snappy": (lambda plain: codec.snappy_encode(plain, xerial_compatible=False), snappy_decode),
    "lz4": (lz4.frame.compress, lz4_decode),
    "zstd": (codec.zstd_encode, zstd_decode),
}
Codec = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]


@pytest.fixture(params=CODECS)
def pair(request: pytest.FixtureRequest) -> Codec:
    return CODECS[request.param]


def test_ordinary_bytes_are_unpacked(pair: Codec) -> None:
    pack, unpack = pair
    for plain in (b"x", b"a correction " * 10_000, bytes(range(256)) * 300):
        assert unpack(pack(plain)) == plain


def test_a_bomb_ends_at_the_bound_and_costs_no_more_than_it(pair: Codec) -> None:
    pack, unpack = pair
    packed = pack(bytes(4 * BYTES_MAX))
    tracemalloc.start()
    try:
        with pytest.raises(UnpacksTooLarge):
            unpack(packed)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * BYTES_MAX


@pytest.mark.parametrize("damaged", [b"", b"\xff" * 20, b"\x82SNAPPY\x00" + b"\xff" * 20])
def test_damaged_bytes_are_an_error_and_no_result(pair: Codec, damaged: bytes) -> None:
    _, unpack = pair
    if damaged == b"" and unpack in (gzip_decode, zstd_decode):
        assert unpack(damaged) == b""  # as kafka-python
        return
    with pytest.raises(Exception) as fault:
        unpack(damaged)
    assert not isinstance(fault.value, MemoryError)


def build_batch(*values: bytes, offsets: Sequence[int] | None = None) -> DefaultRecordBatch:
    """A batch packed with gzip, as a broker sends it."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=DefaultRecordBatchBuilder.CODEC_GZIP,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2 * BYTES_MAX,
    )
    for place, value in zip(offsets or range(len(values)), values, strict=True):
        builder.append(place, 1_700_000_000_000, None, value, [])
    return DefaultRecordBatch(builder.build())


def test_each_record_of_a_batch_that_unpacks_to_too_much_is_too_large_for_an_event() -> None:
    bound_unpacking()
    records = list(build_batch(b"small", b"\0" * BYTES_MAX, b"small"))
    assert [record.offset for record in records] == [0, 1, 2]
    assert all(len(record.value) == VALUE_BYTES_MAX + 1 for record in records)
    assert [record.value for record in build_batch(b"small", b"other")] == [b"small", b"other"]


def test_of_a_compacted_batch_that_unpacks_to_too_much_no_offset_is_passed_over() -> None:
    """Which offsets have records is packed too: one that has one must not become a hole."""
    bound_unpacking()
    batch = build_batch(b"small", b"\0" * BYTES_MAX, b"small", offsets=(0, 3, 7))
    records = list(batch)
    assert [record.offset for record in records] == list(range(8))
    assert all(len(record.value) == VALUE_BYTES_MAX + 1 for record in records)
