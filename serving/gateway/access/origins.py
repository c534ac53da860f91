"""Refuses requests that a foreign web page makes a browser send, and requests to a name that is not ours.

A browser sends some POSTs to any address without asking first: those whose content type is plain text, a
form's (the safelisted ones of the Fetch standard) or missing. It names the page in `Origin`; a request with
neither that nor `Sec-Fetch-Site` comes from no page. And a page whose name is made to point at a loopback
address (DNS rebinding) is of one origin with whatever listens there, unless that looks at `Host`.
"""

import ipaddress
import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from starlette.datastructures import Headers

from serving.gateway.edge.errors import RequestRefused

_SINGLE_LABEL = re.compile(r"[a-z_][a-z0-9_-]*")
"""`localhost`, a service's name in a cluster: nobody can register such a name and make it point here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginRules:
    """Which names and which pages requests may come by."""

    checks_host: bool  # on loopback, and wherever anybody may ask without a key
    is_loopback: bool  # what the gateway listens on
    hosts: AbstractSet[str]  # names that are ours, besides addresses
    origins: AbstractSet[str]  # of pages that may call: https://chat.example
    server: str = "gateway"  # the section of the settings that has these rules

    def check(self, method: str, headers: Headers) -> None:
        """Raises `RequestRefused`: 403 for a foreign page or name, 415 for a type that pages may send."""
        self.check_page(headers)
        kinds = headers.getlist("content-type")
        is_from_program = not kinds and "origin" not in headers and "sec-fetch-site" not in headers
        if method == "POST" and not is_from_program and not _is_json(kinds):
            text = "content-type: application/json, or application/cloudevents+json"
            raise RequestRefused(415, text, "content_type")

    def check_page(self, headers: Headers) -> None:
        """Raises `RequestRefused` (403) for a foreign page or name."""
        hosts = headers.getlist("host")
        if self.checks_host and not (len(hosts) == 1 and self._is_ours(_name_of(hosts[0]))):
            raise RequestRefused(403, f"Host: not a name of this {self.server} ({self.server}.hosts)", "host")
        origins = headers.getlist("origin")
        if any(origin not in self.origins and not _is_same(origin, hosts) for origin in origins) or (
            not origins and headers.get("sec-fetch-site") == "cross-site"
        ):
            text = f"Origin: pages of that origin may not call this {self.server} ({self.server}.origins)"
            raise RequestRefused(403, text, "origin")

    def _is_ours(self, name: str) -> bool:
        if name in self.hosts or _SINGLE_LABEL.fullmatch(name):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self.is_loopback  # a page is never found by rebinding an address


def _name_of(host: str) -> str:
    """A `Host` without its port, in lower case, without brackets and without the root's dot."""
    name, colon, port = host.strip().lower().rpartition(":")
    if not colon or not port.isdecimal():
        name = host.strip().lower()
    return name.removeprefix("[").removesuffix("]").removesuffix(".")


def _is_same(origin: str, hosts: list[str]) -> bool:
    _, _, place = origin.lower().partition("://")
    return bool(place) and [place] == [host.lower() for host in hosts]


def _is_json(content_types: list[str]) -> bool:
    """Whether a browser asks before it sends this type to another origin, and it is JSON."""
    if len(content_types) != 1:
        return False
    kind = content_types[0].partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
