"""Checks of settings beyond their type: addresses, the URL of the ledger, recipes, scorers.

Each function returns the value, or raises `ValueError` with a text that does not repeat it: it may have a
password.
"""

import base64
import binascii
import ipaddress
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from engine.recipe import Recipe, recipe_from
from feedback.bridges.webhook_secrets import signing_secret
from ledger.versions.gate_modes import GateMode
from serving.scoring.scorers import SCORERS

if TYPE_CHECKING:
    from daemon.feedback_settings import SignerSettings

_KEY_BYTES = 32  # of an Ed25519 seed and of a public key; a shared secret has as many or more
_NOTICE_SECRET_BYTES = (24, 64)  # of Standard Webhooks
_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
_BROKER = re.compile(r"(\w+://)?(\[[0-9A-Fa-f:.]+\]|[^\s:,\[\]]+)(:[0-9]{1,5})?")
_SPACE_IN_SECRET = re.compile(r"//[^/@]*\s.*@|\?.*\s", re.DOTALL)


def gate(mode: GateMode, *, canary_share: float | None, confirm: bool) -> None:
    """Check that candidates can be judged so."""
    if mode is GateMode.OFF and confirm:
        raise ValueError('gate = "off" lets each version serve at once: confirm = true contradicts it')
    if mode is GateMode.OFF and canary_share:
        raise ValueError('gate = "off" compares nothing: canary_share has no meaning with it')
    if mode is GateMode.OUTCOMES and canary_share == 0.0:
        raise ValueError('gate = "outcomes" needs a share of the traffic: canary_share = 0 gives it none')


def ledger_url(url: str) -> str:
    """Check that clorad has a driver for the database."""
    from ledger.files import require_driver  # loads SQLAlchemy, which `clorad --help` must not

    require_driver(url)
    if _SPACE_IN_SECRET.search(url):  # for `daemon.masking` a URL ends at a space
        raise ValueError("a space in the user-info or after `?` must be written %20")
    return url


def brokers(servers: str) -> str:
    """Check that each part is an address of a Kafka broker."""
    if not all(_BROKER.fullmatch(server.strip()) for server in servers.split(",")):
        raise ValueError("must be host:port, or several with commas between them")
    return servers


def server_url(url: str) -> str:
    """Check that the value is the URL of an HTTP server."""
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address
        is_url = False
    if not is_url:
        raise ValueError("must be http://host:port or https://host:port")
    if re.search(r"\s", url):
        raise ValueError("must be http://host:port or https://host:port, without a space")
    return url


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on this address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_name(name: str) -> str:
    """A name without scheme and port, in lower case."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", name):
        raise ValueError("must be a host's name without scheme and port, as in gateway.example")
    return name.lower()


def origin(url: str) -> str:
    """What a browser sends as `Origin`: scheme, name, and a port that is not the scheme's own."""
    if not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?", url) or url.endswith((":80", ":443")):
        raise ValueError("must be as a browser writes it: https://chat.example, without path and usual port")
    return url


def header_secret(secret: SecretStr) -> SecretStr:
    """A key or token that can be sent in an HTTP header."""
    if not re.fullmatch(r"[!-~]{1,4096}", secret.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces, and not empty")
    return secret


def secret_url(url: SecretStr) -> SecretStr:
    """The URL of an HTTP server that nobody else may know, as those of chats are."""
    server_url(url.get_secret_value())
    return url


def notice_secret(secret: SecretStr) -> SecretStr:
    """A secret of Standard Webhooks: base64 of 24 to 64 bytes, with or without `whsec_`."""
    try:
        raw = signing_secret(secret.get_secret_value())
    except ValueError:
        raw = b""
    if not _NOTICE_SECRET_BYTES[0] <= len(raw) <= _NOTICE_SECRET_BYTES[1]:
        raise ValueError("must be base64 of 24 to 64 bytes, as of `openssl rand -base64 32`")
    return secret


def absolute_path(path: Path) -> Path:
    """The path from the root: a relative one would be another folder in another process."""
    return path.expanduser().resolve()


def calling_tool(kind: str, secret: SecretStr | None) -> None:
    """A secret for a tool that calls the bridge, in the form that the tool has."""
    if secret is None:
        raise ValueError(f"{kind} needs `secret`: anybody could call the bridge in its name")
    if kind == "argilla":
        try:
            signing_secret(secret.get_secret_value())
        except ValueError:
            raise ValueError("argilla's `secret` is base64, as Argilla shows it") from None


def recipe(changes: dict[str, Any]) -> dict[str, Any]:
    """Check differences from the default recipe: known names, with values of the right kind."""
    _refuse_other_kinds(changes)
    try:
        recipe_from(changes)
    except AssertionError:
        raise ValueError(f"out of range: {', '.join(sorted(changes))} (see engine/recipe.py)") from None
    return changes


def key_bytes(text: str) -> str:
    """Base64 (RFC 4648) of a key of 32 bytes or more."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64") from None
    if len(raw) < _KEY_BYTES:
        raise ValueError(f"must be base64 of {_KEY_BYTES} bytes or more")
    return text


def signer_keys(algorithm: str, secret: SecretStr | None, public_key: str | None) -> None:
    """A shared secret; or, for Ed25519, a seed or a public key of the right length."""
    if algorithm == "hmac-sha256" and (secret is None or public_key is not None):
        raise ValueError("hmac-sha256 needs `secret`, and no `public_key`")
    if algorithm == "ed25519" and (secret is None) == (public_key is None):
        raise ValueError("ed25519 needs `public_key`, or the seed as `secret`")
    given = public_key or (secret.get_secret_value() if secret else "")
    key_bytes(given)
    if algorithm == "ed25519" and len(base64.b64decode(given)) != _KEY_BYTES:
        raise ValueError(f"an ed25519 key is base64 of {_KEY_BYTES} bytes")


def signers(known: "Mapping[str, SignerSettings]", sign_as: str | None) -> None:
    """Names that can stand in an event, and a secret for the one that `clorad send` signs as."""
    for name in known:
        if not _KEY_ID.fullmatch(name) or name == "gateway":
            raise ValueError(f"a key id matches {_KEY_ID.pattern} and is not `gateway`")
    if sign_as is not None and (sign_as not in known or known[sign_as].secret is None):
        raise ValueError("sign_as must be one of signers, with its secret")


def scorer(name: str, own: Iterable[str], *, setting: str) -> None:
    """Check that the gate has a scorer of this name; `own` are those of the settings."""
    if name in SCORERS or name in own:
        return
    from serving.scoring.registry import scorer_names  # looks through all that is installed

    if name not in (names := scorer_names(list(own))):
        raise ValueError(f"{setting} must be one of {', '.join(names)}")


def own_scorers(names: Iterable[str]) -> None:
    """Check that servers have names of their own, which agents can give."""
    for name in names:
        if name in SCORERS or not re.fullmatch(r"[A-Za-z0-9._-]{1,40}", name):
            raise ValueError(
                f"scorers: a name has 1 to 40 letters, digits, . _ - and is none of {', '.join(SCORERS)}"
            )


def _refuse_other_kinds(changes: Mapping[str, Any]) -> None:
    default = Recipe()
    for name, value in changes.items():
        match getattr(default, name, None):
            case None | Mapping():
                continue  # `recipe_from` refuses it, and names the fields
            case str():
                is_like, kind = isinstance(value, str), "a text"
            case bool():
                is_like, kind = isinstance(value, bool), "true or false"
            case int():
                is_like, kind = type(value) is int, "a whole number"
            case float():
                is_like, kind = type(value) in (int, float) and math.isfinite(value), "a number"
            case targets:
                is_like = (
                    isinstance(value, list | tuple) and bool(value) and set(map(str, value)) <= set(targets)
                )
                kind = f"a list of some of {', '.join(targets)}"
        if not is_like:
            raise ValueError(f"{name} must be {kind}")
