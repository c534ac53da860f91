"""The text of a key: found by scanners, taken apart, never shown by accident."""

import hashlib
import re

import pytest

from ledger.access.key_text import new_key_text, read_key_id, read_key_text


def test_a_key_has_the_form_that_scanners_look_for_and_256_bits_of_its_own() -> None:
    made = [new_key_text() for _ in range(50)]
    assert all(re.fullmatch(rf"clorad_{key.id}_[0-9a-f]{{64}}", key.text) for key in made)
    assert len({key.text for key in made}) == len({key.id for key in made}) == 50


def test_a_key_is_known_by_its_hash() -> None:
    key, other = new_key_text(), new_key_text()
    assert key.digest == hashlib.sha256(key.text.encode()).hexdigest()
    assert key.has_digest(key.digest)
    assert not other.has_digest(key.digest)
    assert read_key_text(key.text) == key


def test_a_key_does_not_print_itself() -> None:
    key = new_key_text()
    assert key.text not in f"{key} {key!r}"
    assert key.id in repr(key)


@pytest.mark.parametrize(
    "text",
    ["", "none", "clorad_", "clorad_0123456789ab_", "clorad_0123456789ab_" + "g" * 64, "sk-" + "a" * 48],
)
def test_what_is_no_key_is_none(text: str) -> None:
    assert read_key_text(text) is None


def test_a_longer_text_with_a_key_in_it_is_none() -> None:
    key = new_key_text()
    for text in (key.text + "0", " " + key.text, key.text.upper(), key.text + "\n"):
        assert read_key_text(text) is None


def test_an_id_is_read_alone_with_its_prefix_or_from_a_whole_key() -> None:
    key = new_key_text()
    assert {read_key_id(text) for text in (key.id, f"clorad_{key.id}", key.text)} == {key.id}
    assert read_key_id("ann") is None
