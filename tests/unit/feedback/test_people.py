"""Names that a reader cannot tell apart are one person."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.people import person_of

CYRILLIC_A, GREEK_CAPITAL_NU, CYRILLIC_CAPITAL_VE = "\u0430", "\u039d", "\u0412"


@pytest.mark.parametrize(
    ("name", "alike"),
    [
        ("ann", "Ann"),
        ("ann", " ann\u200b"),
        ("ann", "\uff41\uff4e\uff4e"),
        ("ann", f"{CYRILLIC_A}nn"),
        ("noah", f"{GREEK_CAPITAL_NU}oah"),
        ("bob", f"{CYRILLIC_CAPITAL_VE}ob"),
        ("ANN", "\u0391\u039d\u039d"),  # all of it Greek
        ("cop", "\u0441\u043e\u0440"),  # all of it Cyrillic
        ("jos\u00e9pha", f"Jos\u00e9ph{CYRILLIC_A}"),
        ("jos\u00e9", "jose\u0301"),
        ("paul", "pau1"),
        ("paul", "pauI"),
        ("bob", "b0b"),
        ("sara", "\u13da\u13aaR\u13aa"),  # Cherokee
    ],
)
def test_names_that_look_alike_are_one_person(name: str, alike: str) -> None:
    assert person_of(name) == person_of(alike)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ann", "anna"),
        ("jose", "jos\u00e9"),
        ("\u0438\u0432\u0430\u043d", "ivan"),
        ("ann", "bob"),
        ("u2", "u3"),
    ],
)
def test_names_that_differ_are_several_people(first: str, second: str) -> None:
    assert person_of(first) != person_of(second)


@pytest.mark.parametrize(
    "name", ["\u0418\u0432\u0430\u043d", "\u039d\u03af\u03ba\u03bf\u03c2", "\u5f20\u4f1f"]
)
def test_a_name_in_another_script_is_the_same_in_small_letters(name: str) -> None:
    assert person_of(name) == person_of(name.lower())


@given(st.text())
def test_any_name_has_one_form_however_it_is_composed(name: str) -> None:
    assert person_of(name) == person_of(unicodedata.normalize("NFD", name))
