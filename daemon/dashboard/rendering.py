"""Makes HTML of pages: the templates, and the words, times and numbers that they show.

Texts that people wrote are escaped by the templates, and lose control and direction characters here.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from daemon.console import harmless, lasting, moment, short
from daemon.dashboard.curves import curve, spark
from daemon.dashboard.sessions import Viewer
from engine.measurements import Absent

_FOLDER = Path(__file__).parent
STATIC = _FOLDER / "static"

_HEADERS = {
    # Nothing is loaded from elsewhere, and no other page may frame this one or learn its address.
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self';"
        " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}

VERDICTS = {
    "initial": ("declared", "plain", "·"),
    "promote": ("promoted", "good", "✓"),
    "refuse": ("refused", "bad", "✗"),
    "abstain": ("not decided", "open", "?"),
    "rollback": ("rolled back", "back", "↩"),
    "canary": ("passed the gate", "step", "◔"),
    "confirm": ("confirmed", "step", "✓"),
    "keep": ("kept", "good", "✓"),
    "reinstate": ("brought back", "step", "↻"),
}
"""The word, the colour's name and the sign of each verdict: nobody has to tell colours apart."""


class Templates:
    """The pages' templates."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "lasting": lasting,
            "moment": moment,
            "short": short,
            "harmless": harmless,
            "share": share,
            "thousands": thousands,
            "iso": iso,
            "kl": kl,
            "query": urlencode,
            "agent_url": agent_url,
            "version_url": version_url,
            "event_url": event_url,
        }
        self._environment.globals |= {
            "verdicts": VERDICTS,
            "stamp": static_stamp(),
            "with_query": with_query,
            "curve": curve,
            "spark": spark,
        }

    def page(
        self, name: str, request: Request, viewer: Viewer | None, *, status: int = 200, **values: Any
    ) -> Response:
        """The template `name` as a response; 304 where the browser has the same page already."""
        text = self._environment.get_template(name).render(request=request, viewer=viewer, **values)
        tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:20]}"'
        headers = _HEADERS | {"etag": tag}
        if status == 200 and request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(text, status, headers)


def share(number: float | None, digits: int = 0) -> str:
    """`82 %`; a dash for None."""
    return "–" if number is None else f"{100 * number:.{digits}f} %"


def thousands(number: int) -> str:
    """`12,345`."""
    return f"{number:,}"


def iso(at_s: float) -> str:
    """The time for programs, in UTC (RFC 3339)."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")


def kl(nats: float | Absent) -> str:
    """The KL, or why it was not measured."""
    return f"not measured: {nats.reason}" if isinstance(nats, Absent) else f"{nats:.4f} nats a token"


def agent_url(agent: str) -> str:
    """The page of an agent."""
    return f"/agents/{quote(agent, safe='')}"


def version_url(agent: str, version: str) -> str:
    """The page of a version."""
    return f"/versions/{quote(f'{agent}@{version}', safe='@')}"


def event_url(uid: str) -> str:
    """The page of an event."""
    return f"/event?{urlencode({'uid': uid})}"


def with_query(request: Request, **changed: str | int | None) -> str:
    """The address of this page with other query parameters; None removes one."""
    query: Mapping[str, Any] = {**request.query_params, **changed}
    kept = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{request.url.path}?{urlencode(kept)}" if kept else request.url.path


def static_stamp() -> str:
    """A hash of the static files: their addresses change with them, so browsers may keep them."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
