"""Tells a secret from what only looks like one: each check looks at what a rule of redaction has matched.

A rule names its check in `redaction_rules.toml`; a check is added to `CHECKS`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

_PATH = re.compile(r"(?:[A-Za-z]:\\|[~.]{0,2}/)[\w./\\@ -]*")
_URL = re.compile(r"[A-Za-z][A-Za-z+.-]{1,15}://")
_CODE = re.compile(
    r"(?:os|self|this|process|config|cfg|settings|env|args|opts|options|request|req|ctx|context|app|data|user|params"
    r"|props|secrets|vault|credentials|await|new|getenv|System|Deno|import)(?:\.|->|::)\w|\w+\(",
)
_REFERENCE = ("$", "<", "{", "[", "%(", "%s", "%v", "@{", "#{", ":", "&", "...", "…", "\\n")
_UNIX_PASSWD = re.compile(r"[x*!]{1,2}:\d+")
_MASK = re.compile(r"(?:redacted|masked|hidden)?\W*|(.)\1*", re.IGNORECASE | re.DOTALL)
_A_NAME = re.compile(r"pass(?:word|wd|wort|phrase)|secret|token|api_?key|credential", re.IGNORECASE)
_NO_SECRETS = re.compile(  # what stands where a password could
    "any|auth|authenticated|basic|bearer|blank|boolean|bytes|changed|compat|default|digest|disabled|empty|enabled"
    "|encrypted|example|expired|false|field|files|forgotten|hashed|hidden|include|incorrect|input|invalid|missing"
    "|mismatch|needed|none|null|number|object|omit|optional|please|plaintext|protected|provided|redacted|removed"
    "|required|rotated|same-origin|self|stored|string|strings|systemd|text|true|undefined|unknown|unset|updated"
    "|value|varchar|wrong|your",
    re.IGNORECASE,
)
_LABEL = re.compile(r"\b(?:choose|confirm|enter|forgot|must|please|repeat|reset|type|your)\b", re.IGNORECASE)
_SIGNS = frozenset("!@#$%^&*+=?~|")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a rule matched, and what stands around it."""

    text: str
    name: str = ""  # of the field or variable, where the rule is about one
    separator: str = "="  # between name and value, with the white space around it
    before: str = ""  # the character before the name
    after: str = ""  # the characters after the value
    is_quoted: bool = False


def is_card(candidate: Candidate) -> bool:
    """Luhn's checksum (ISO/IEC 7812-1), and a first digit that card networks use."""
    digits = _digits(candidate.text)
    doubled = [
        digit if place % 2 == 0 else (digit * 2 - 9 * (digit > 4)) for place, digit in enumerate(digits[::-1])
    ]
    return sum(doubled) % 10 == 0 and digits[0] in (2, 3, 4, 5, 6) and len(set(digits)) > 1


_IBANS = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28
    EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26
    IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28
    NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25
    SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
    AO25 BF28 BJ28 CF27 CG27 CI28 CM27 CV25 DZ26 GA27 GQ27 GW25 IR26 KM27 MA28 MG27 ML28 MZ25 NE28 SN28
    TD27 TG28
"""
"""Country and length of each IBAN: the registry of ISO 13616, then countries that use the form outside it."""


def is_iban(candidate: Candidate) -> bool:
    """A country and its length (ISO 13616), and a remainder modulo 97 of 1 (ISO 7064).

    Without the length, one in 1,700 random UUIDs in hexadecimal is taken for an IBAN.
    """
    compact = re.sub(r"[ -]", "", candidate.text).upper()
    if not compact.isascii() or f"{compact[:2]}{len(compact)}" not in _IBANS.split():
        return False
    return int("".join(str(int(sign, 36)) for sign in compact[4:] + compact[:4])) % 97 == 1


def is_phone(candidate: Candidate) -> bool:
    """8 to 17 digits: 15 of ITU-T E.164, and a prefix."""
    return 8 <= len(_digits(candidate.text)) <= 17


def is_national_phone(candidate: Candidate) -> bool:
    """9 to 12 digits, with the leading zero."""
    return 9 <= len(_digits(candidate.text)) <= 12


def is_api_key(candidate: Candidate) -> bool:
    """A part without hyphens is long and has digits: names of packages are words between hyphens."""
    parts = re.split(r"[-_]", candidate.text)
    return (
        any(len(part) >= 16 and re.search(r"\d", part) for part in parts) or len(_digits(candidate.text)) >= 6
    )


def is_no_reference(candidate: Candidate) -> bool:
    """It is the value itself, and no path, address, template or mask."""
    text = candidate.text
    return not (
        text.startswith(_REFERENCE)
        or (_PATH.fullmatch(text) and "/" in text[1:] + "\\")
        or _URL.match(text)
        or _CODE.match(text)
        or _MASK.fullmatch(text)
        or candidate.after.startswith(("(", "["))
    )


def is_no_template(candidate: Candidate) -> bool:
    """It is the value itself: no variable stands there."""
    return not candidate.text.startswith(_REFERENCE)


def is_strong_password(candidate: Candidate) -> bool:
    """A password in the middle of a sentence: it has a digit, and a capital letter or a sign."""
    text = candidate.text.rstrip(".!?")
    is_mixed = any(sign.isupper() or sign in _SIGNS for sign in text)
    return len(text) >= 6 and bool(_digits(text)) and is_mixed and is_no_reference(candidate)


def is_password(candidate: Candidate) -> bool:
    """The value of a password's field. Letters alone are one where nothing else is likely."""
    text, is_quoted = candidate.text.strip(), candidate.is_quoted
    if _NO_SECRETS.fullmatch(text) or _UNIX_PASSWD.match(text) or not is_no_reference(candidate):
        return False
    is_strong = any(sign.isdecimal() or sign in _SIGNS for sign in text)
    if is_quoted and " " in text:
        return len(text) >= 8 and not (_A_NAME.search(text) or _LABEL.search(text))
    if is_strong:
        is_argument = bool(_A_NAME.search(text)) and candidate.after.startswith((",", ")")) and not is_quoted
        return len(text) >= (4 if is_quoted else 6) and not is_argument
    if len(text) < 6 or _A_NAME.search(text) or not text.replace("-", "").isalpha():
        return False
    return is_quoted or _stands_alone(candidate)


def is_password_argument(candidate: Candidate) -> bool:
    """What follows `--password` on a command line."""
    text = candidate.text
    is_other_option = text.startswith("-") or "=" in text[:4] or _A_NAME.search(text) is not None
    is_strong = any(sign.isdecimal() or sign in _SIGNS for sign in text)
    return is_strong and not is_other_option and is_no_reference(candidate)


def is_random(candidate: Candidate) -> bool:
    """The value of a key's or token's field: letters and digits in one word, as people do not name things."""
    text = candidate.text.strip().rstrip(".,;")
    if len(text) < 6 or " " in text or not is_no_reference(candidate):
        return False
    digits, letters = len(_digits(text)), sum(sign.isalpha() for sign in text)
    if not digits or not letters:
        return letters >= 32 and _has_both_cases(text)
    if any(sign in "!@#$%^&*?" for sign in text):
        return True
    if letters + digits >= 20 and (digits >= 3 or (text.isalnum() and _has_both_cases(text))):
        return True
    parts = re.split(r"[-_.:/~+=]", text)
    return any(_is_mixed(part) for part in parts)


def is_issued(candidate: Candidate) -> bool:
    """What follows the name of a service that issues keys."""
    text = candidate.text.strip()
    if len(text) < 14 or not re.fullmatch(r"[\w=+/.:%-]+", text) or not is_no_reference(candidate):
        return False
    digits, letters = len(_digits(text)), sum(sign.isalpha() for sign in text)
    if re.search(r"(?i)key|token|secret|password|client|auth|api|login|_id", candidate.name):
        return digits >= 2
    return len(text) >= 20 and digits >= 3 and letters >= 2


def _is_mixed(part: str) -> bool:
    digits, letters = len(_digits(part)), sum(sign.isalpha() for sign in part)
    if len(part) < 6 or digits < 2 or letters < 2:
        return False
    return digits >= 3 or not re.fullmatch(r"[A-Za-z]+\d+", part)


def _stands_alone(candidate: Candidate) -> bool:
    """Whether a bare word is the whole value: in prose and in code, more follows."""
    is_variable = candidate.name.isupper() and candidate.separator == "="
    if is_variable and not re.match(r"[.(\[]", candidate.after):
        return True
    if re.search(r"[a-z][A-Z]", candidate.text) or not re.match(r"\s*(?:\Z|[\n,;|&])", candidate.after):
        return False
    if ":" in candidate.separator:
        return True
    return candidate.separator == "=" and candidate.before in ("", "\n", "?", "&", ";")


def _has_both_cases(text: str) -> bool:
    return text != text.lower() and text != text.upper() and re.search(r"[A-Z]{2}", text) is not None


def _digits(text: str) -> list[int]:
    return [int(character) for character in text if character.isdecimal()]


def anything(_: Candidate) -> bool:
    """The expression says it all."""
    return True


CHECKS: Mapping[str, Callable[[Candidate], bool]] = MappingProxyType(
    {
        check.__name__: check
        for check in (
            anything, is_api_key, is_card, is_iban, is_issued, is_national_phone, is_no_reference,
            is_no_template, is_password, is_password_argument, is_phone, is_random, is_strong_password,
        )
    }
)  # fmt: skip
"""Every check by the name that rules give it."""
