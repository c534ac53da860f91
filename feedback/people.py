"""Counts people by the names that events carry: names that a reader cannot tell apart are one person.

Look-alikes are those of UTS #39, "Unicode Security Mechanisms" (https://www.unicode.org/reports/tr39/): the
skeletons of its section 4, as far as letters and digits in ASCII are imitated. What a person owns goes by the
exact name, never by this one.
"""

import tomllib
import unicodedata
from functools import lru_cache
from pathlib import Path

from feedback.grouping import normalise

_FILE = Path(__file__).with_name("look_alikes.toml")
_LETTERS = {
    ord(letter): plain
    for plain, letters in tomllib.loads(_FILE.read_text(encoding="utf-8")).items()
    for letter in letters
}
_ALIKE_IN_ASCII = str.maketrans("1i|0", "lllo")
"""Of small letters; a capital `I` looks like `l`, and is an `i` as well."""

_NAMES_MAX = 10_000


@lru_cache(_NAMES_MAX)
def person_of(name: str) -> str:
    """The same for all names that differ in case, width, white space, invisible and look-alike characters.

    It is for counting, not for people to read. Names that are in another script as a whole stay in it.
    """
    visible = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    visible = unicodedata.normalize("NFKC", visible)
    imitated = visible.translate(_LETTERS)
    if not all(map(_is_latin, imitated)):
        imitated = normalise(visible).translate(_LETTERS)
    return normalise(imitated).translate(_ALIKE_IN_ASCII)


def _is_latin(letter: str) -> bool:
    return letter.isascii() or not letter.isalpha() or unicodedata.name(letter, "").startswith("LATIN")
