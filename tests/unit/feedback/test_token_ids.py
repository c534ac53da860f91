"""Token ids of a prompt are packed small, come back as they were, and need little memory."""

import json
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.token_ids import TOKENS_MAX, from_text, pack, pack_json, to_text, unpack


@given(st.lists(st.integers(0, 2**32 - 1), max_size=300))
def test_what_is_packed_comes_back(token_ids: list[int]) -> None:
    assert unpack(from_text(to_text(pack(token_ids)))) == tuple(token_ids)


@given(
    st.lists(st.integers(0, 2**32 - 1), max_size=300),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n ", ": ")]),
)
def test_a_list_in_json_is_packed_like_its_numbers(token_ids: list[int], separators: tuple[str, str]) -> None:
    assert pack_json(json.dumps(token_ids, separators=separators).encode()) == pack(token_ids)


def test_a_long_list_in_json_is_packed_whole() -> None:
    token_ids = list(range(50_000))
    assert unpack(pack_json(json.dumps(token_ids).encode())) == tuple(token_ids)


@pytest.mark.parametrize("text", [b"[-1]", b"[4294967296]"])
def test_a_number_that_is_no_token_id_is_not_packed_from_json(text: bytes) -> None:
    with pytest.raises(OverflowError):
        pack_json(text)


def test_ten_thousand_tokens_take_some_twenty_kibibytes() -> None:
    chance = random.Random(0)
    words = [int(chance.paretovariate(0.6)) % 150_000 for _ in range(10_000)]
    assert len(pack(words)) < 24 * 1024


@pytest.mark.parametrize("text", ["é", "a", "AAAA====A", "#"])
def test_a_text_that_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not base64"):
        from_text(text)


@pytest.mark.parametrize(
    "packed",
    [b"", b"ids", zlib.compress(b"123"), pack([1])[:-1], pack([1]) + b"x"],
    ids=["empty", "not compressed", "part of an id", "cut", "more behind"],
)
def test_bytes_that_were_not_packed_are_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="not "):
        unpack(packed)


def test_more_ids_than_any_context_are_refused_without_being_unpacked() -> None:
    bomb = zlib.compress(bytes(4 * (TOKENS_MAX + 1)))
    assert len(bomb) < 8_000
    with pytest.raises(ValueError, match="at most"):
        unpack(bomb)


@pytest.mark.parametrize("token", [-1, 2**32])
def test_a_number_that_is_no_token_id_is_not_packed(token: int) -> None:
    with pytest.raises(OverflowError):
        pack([token])
