"""Removes passwords and keys from texts and tables before a person or a log gets them.

`clorad config`, log lines, fault lines and the health port use one function, `mask`. In doubt it masks more:
of a URL's query only parameters that are known to be harmless stay, and user-info ends at the last `@`.
"""

import re
from collections.abc import Mapping
from typing import Any

MASK = "**********"
"""The text in place of a secret; pydantic prints the same for a `SecretStr`."""

HARMLESS = frozenset(
    {
        *("application_name", "charset", "connect_timeout", "dbname", "host", "mode", "port"),
        *("sslmode", "target_session_attrs", "timeout"),
    }
)
"""Query parameters whose values stay: they help to find a fault, and are no secrets."""

_HARMLESS_VALUE = re.compile(r"[\w.,:/+-]*")

_SECRET_WORDS = r"passw(?:or)?d|passphrase|secret|credentials?|authorization|(?:api|access|private)[-_.]?key"
_SECRET_NAME = re.compile(
    rf"{_SECRET_WORDS}|jaas|oauth|cookie|plain[-_.]?username|(?:token|key|pwd|pass|sig|signature)$",
    re.IGNORECASE,
)

_PUBLIC_NAME = re.compile(r"public[-_.]?key$", re.IGNORECASE)
_ACCESS_KEY = re.compile(r"(clorad_[0-9a-f]{12}_)[0-9a-f]{8,}")  # of `clorad keys`; the id may be seen

# A slash, an at sign and an equals sign may be percent-encoded: one URL may be a parameter of another.
_USER_INFO = re.compile(r"((?:/|%2f){2})(?:[^\s/?#]*(?:@|%40)|[^\s/?#@:]*:[^\s@]*@)", re.IGNORECASE)
_PARAMETER = re.compile(r"([?&#;]|%3f|%26|%23)([\w.~+%\[\]-]{1,256}?)(=|%3d)([^\s&]*)", re.IGNORECASE)
_BARE_QUERY = re.compile(r"(://[^\s?#]*[?#])[^\s=]+(?=\s|$)")
_PAIR = re.compile(
    rf"(?<![\w.-])([\w.-]*(?:{_SECRET_WORDS}|token|pwd))"  # the name
    r"""(["']?\s*=\s*|["']\s*:\s*)"""  # libpq allows spaces around the sign; JSON and Python quote the name
    r"""('(?:[^'\\]|\\.)*'?|"(?:[^"\\]|\\.)*"?|(?:[^\s\\]|\\.)+)""",
    re.IGNORECASE | re.DOTALL,
)


def mask(text: str) -> str:
    """The text without user-info and query values of URLs, the value of any `password=`, and our own keys."""
    text = _ACCESS_KEY.sub(rf"\1{MASK}", text)
    text = _USER_INFO.sub(rf"\1{MASK}@", text)
    text = _BARE_QUERY.sub(rf"\1{MASK}", text)
    text = _PARAMETER.sub(_without_value, text)
    return _PAIR.sub(rf"\1\2{MASK}", text)


def mask_values(value: Any) -> Any:
    """A JSON value with `mask` applied to every text in it. A value under a secret's name is masked whole."""
    match value:
        case str():
            return mask(value)
        case Mapping():
            return {
                name: MASK
                if is_secret_name(str(name)) and inner not in (None, {}, [])
                else mask_values(inner)
                for name, inner in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [mask_values(inner) for inner in value]
        case _:
            return value


def is_secret_name(name: str) -> bool:
    """Whether an option of this name is a secret: a password, a key, a token."""
    return _SECRET_NAME.search(name) is not None and _PUBLIC_NAME.search(name) is None


def _without_value(parameter: re.Match[str]) -> str:
    separator, name, equals, value = parameter.groups()
    if name.lower() in HARMLESS and _HARMLESS_VALUE.fullmatch(value):
        return parameter[0]
    return f"{separator}{name}{equals}{MASK}"
