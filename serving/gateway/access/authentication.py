"""Finds out who makes a request: by its API key, or by a header that a trusted proxy sets.

Keys are compared with the hashes that the gateway read with its routing table. A key that is given must be
right, also where access is open; texts that have not the form of a key count as none there, because OpenAI's
clients always send some text.
"""

import ipaddress
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from starlette.datastructures import Headers

from feedback.wire import IDENTIFIER_CHARS_MAX
from ledger.access.key_text import read_key_text
from ledger.access.keys import AccessKey
from serving.gateway.access.caller import Caller
from serving.gateway.edge.errors import RequestRefused, is_anthropic

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_AUTHOR = re.compile(rf"[^\x00-\x1f\x7f]{{1,{IDENTIFIER_CHARS_MAX}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationOptions:
    """How clients show who they are."""

    access: Literal["open", "keys"]
    author_header: str | None  # in which a proxy names the author of feedback
    trusted_proxies: tuple[Network, ...]  # from whose addresses it is believed


class Authenticator:
    """Knows callers. `keys` gives the keys as last read; None where they were never read."""

    def __init__(
        self,
        options: AuthenticationOptions,
        keys: Callable[[], Mapping[str, AccessKey] | None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._options = options
        self._keys = keys
        self._clock = clock

    def caller(self, path: str, headers: Headers, address: str | None) -> Caller:
        """Who asks, from which address. Raises `RequestRefused`: 401, or 503 before the keys were read."""
        given = _given_key(path, headers)
        author = self._author_by_proxy(headers, address)
        if self._options.access == "open" and (given is None or read_key_text(given) is None):
            return Caller(author=author)
        key = self._key(given)
        return Caller(grant=key.grant, key_id=key.id, author=author or key.grant.name)

    def _key(self, given: str | None) -> AccessKey:
        if given is None:
            raise _unauthorized("no API key: send one as `Authorization: Bearer …`", "no_key")
        keys = self._keys()
        if keys is None:
            raise RequestRefused(503, "the keys are not known yet", "no_routing")
        text = read_key_text(given)
        key = None if text is None else keys.get(text.id)
        if text is None or key is None or not text.has_digest(key.digest):
            raise _unauthorized("this API key is not known here", "unknown_key")
        if key.revoked_s is not None:
            raise _unauthorized("this API key was revoked", "revoked_key")
        if not key.is_live(self._clock()):
            raise _unauthorized("this API key has expired", "expired_key")
        return key

    def _author_by_proxy(self, headers: Headers, address: str | None) -> str | None:
        options = self._options
        if options.author_header is None or address is None or not _is_in(address, options.trusted_proxies):
            return None
        named = headers.getlist(options.author_header)
        if not named:
            return None
        author = named[0].encode("latin-1").decode("utf-8", "replace").strip()
        if len(named) > 1 or not _AUTHOR.fullmatch(author):
            text = f"{options.author_header}: one author of at most {IDENTIFIER_CHARS_MAX} characters"
            raise RequestRefused(400, text, "author_header")
        return author


def _given_key(path: str, headers: Headers) -> str | None:
    """The text given as a key. Raises `RequestRefused` where there are two."""
    given = headers.getlist("authorization")
    if not given and is_anthropic(path):
        given = [f"Bearer {key}" for key in headers.getlist("x-api-key")]
    if not given:
        return None
    bearer = _BEARER.fullmatch(given[0].strip())
    if len(given) > 1 or bearer is None:
        return ""  # no key has this text
    return bearer[1]


def _is_in(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # the gateway listens on a Unix socket
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)


def _unauthorized(text: str, reason: str) -> RequestRefused:
    return RequestRefused(401, text, reason, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
