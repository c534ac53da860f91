"""Fills slots: `refund <amount> for order <order>` becomes a fresh sentence every time.

A slot's value is a word, a city, a number or one of several texts. *Everyday* values may be trained on;
*held-out* values are for measuring only, and no value is both.
"""

import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SLOT = re.compile(r"<([a-z_]+)>")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_DOUBLED = re.compile(r"(\d)\1")
_CONSONANTS = tuple("bcdfghklmnprstvw")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"

Kind = str | tuple[str, ...]
"""`word`, `city`, `LOW..HIGH`, or texts to pick from, which may hold slots again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The values of the slots `word` and `city`."""

    everyday: tuple[str, ...]
    held_out: tuple[str, ...]
    everyday_cities: tuple[str, ...]
    held_out_cities: tuple[str, ...]

    def __post_init__(self) -> None:
        assert not set(self.everyday) & set(self.held_out), "a held-out word is never trained on"
        assert not set(self.everyday_cities) & set(self.held_out_cities)


def read_words() -> Words:
    """The words of the examples."""
    table = tomllib.loads(Path(__file__).with_name("words.toml").read_text())
    return Words(**{name: tuple(text.split()) for name, text in table.items()})


class SlotValues:
    """Draws everyday values, or held-out ones.

    `pieces` are sub-words of a vocabulary. A third of the everyday words are built from them, so that a
    model learns to copy every token, not only those of the words in words.toml.
    """

    def __init__(
        self, chance: random.Random, words: Words, *, held_out: bool, pieces: Sequence[str] = ()
    ) -> None:
        self.chance = chance
        self.held_out = held_out
        self._words = words
        self._pieces = pieces

    def word(self) -> str:
        if self.held_out:
            return self.chance.choice(self._words.held_out)
        while (word := self._everyday()) in self._words.held_out:
            pass  # syllables may spell a held-out word
        return word

    def city(self) -> str:
        if self.held_out:
            return self.chance.choice(self._words.held_out_cities)
        return self.chance.choice(self._words.everyday_cities) if self.chance.random() < 0.6 else self.word()

    def number(self, low: int, high: int) -> int:
        """A number in the range. In wide ranges the held-out numbers are those with `number % 7 == 3`."""
        while True:
            number = self.chance.randint(low, high)
            if high - low < 40 or (number % 7 == 3) == self.held_out:
                return number

    def _everyday(self) -> str:
        share = self.chance.random()
        if share < 0.45:
            return self.chance.choice(self._words.everyday)
        if share < 0.75 and self._pieces:
            return "".join(self.chance.choices(self._pieces, k=self.chance.choice((1, 2, 2, 3))))
        return "".join(self._syllable() for _ in range(self.chance.choice((2, 2, 3))))

    def _syllable(self) -> str:
        if self.chance.random() < 0.08:
            return self.chance.choice(_LETTERS)
        ending = self.chance.choice("nlrst") if self.chance.random() < 0.2 else ""
        return self.chance.choice(_CONSONANTS) + self.chance.choice("aeiou") + ending


def draw(
    names: Sequence[str],
    kinds: Mapping[str, Kind],
    records: Sequence[Sequence[Mapping[str, str]]],
    source: SlotValues,
    given: Mapping[str, str],
) -> dict[str, str]:
    """Values for the named slots and for the slots inside their texts. Values in `given` stay."""
    values = dict(given)
    for record in records:
        if any(name in record[0] for name in names):
            for name, text in source.chance.choice(record).items():
                values[name] = _filled(text, kinds, source, values)
    for name in names:
        _draw_one(name, kinds, source, values)
    return values


def _draw_one(name: str, kinds: Mapping[str, Kind], source: SlotValues, values: dict[str, str]) -> None:
    if name in values:
        return
    kind = kinds[name]
    if isinstance(kind, tuple):
        values[name] = _filled(source.chance.choice(kind), kinds, source, values)
    elif kind == "word":
        values[name] = source.word()
    elif kind == "city":
        values[name] = source.city()
    else:
        low, high = bounds(kind)
        values[name] = str(source.number(low, high))


def _filled(text: str, kinds: Mapping[str, Kind], source: SlotValues, values: dict[str, str]) -> str:
    for inner in slots_in(text):
        _draw_one(inner, kinds, source, values)
    return fill(text, values)


def slots_in(text: str) -> tuple[str, ...]:
    """The slots in a text, each once, in order."""
    return tuple(dict.fromkeys(SLOT.findall(text)))


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with its slots replaced. Raises `KeyError` for a slot without a value."""
    return SLOT.sub(lambda slot: values[slot[1]], text)


def bounds(kind: str) -> tuple[int, int]:
    """The two ends of `LOW..HIGH`. Raises `ValueError` where the text is no range."""
    match = _RANGE.fullmatch(kind)
    if match is None or int(match[1]) >= int(match[2]):
        raise ValueError(f"a slot is 'word', 'city', 'LOW..HIGH' or a list of texts, not {kind!r}")
    return int(match[1]), int(match[2])


def has_doubled_digit(text: str) -> bool:
    """Whether some digit is doubled. The example base copies 955 as 95."""
    return _DOUBLED.search(text) is not None
