"""Who looks at a page: a browser with a session, or a program with a key; and what each may change.

A browser gets a session for its key: a cookie that scripts cannot read and forms of other sites do not carry
(`HttpOnly`, `SameSite=Lax`), and a token that every form of its pages has (OWASP, "Cross-Site Request Forgery
Prevention"). The key stays in this process, and is checked anew for each request.
"""

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request

from ledger.access.key_text import read_key_text
from ledger.access.rights import Grant, Right
from serving.gateway.access.authentication import Authenticator
from serving.gateway.access.caller import Caller
from serving.gateway.access.origins import OriginRules
from serving.gateway.edge.errors import RequestRefused

COOKIE = "clorad_session"
SESSION_S_MAX = 12 * 3600.0
"""Seconds after which a browser has to give its key again."""

SESSIONS_MAX = 1000
"""Sessions that are kept; the oldest goes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Who asks for a page."""

    caller: Caller
    form_token: str | None = None  # None: not a browser with a session
    sees_all: bool = False  # anybody may look, without a key too
    notice: str | None = None  # what the last action of this session did

    @property
    def grant(self) -> Grant:
        return self.caller.grant

    @property
    def has_key(self) -> bool:
        return self.caller.key_id is not None

    @property
    def name(self) -> str:
        """Who is recorded with what this viewer changes."""
        assert self.has_key, "nobody without a key changes anything"
        return self.grant.name

    def may_see(self, agent: str) -> bool:
        """Whether pages show this viewer what belongs to the agent. A key may be for some agents only."""
        return self.sees_all or self.grant.opens(agent)

    def require_see(self, agent: str | None) -> None:
        """Raises `RequestRefused` (403) where it may not see the agent; for None, all agents."""
        sees_it = self.sees_all or (self.grant.agents is None if agent is None else self.may_see(agent))
        if not sees_it:
            text = "this key is not for " + ("that agent" if agent else "all agents")
            raise RequestRefused(403, text, "agent_not_allowed")

    @property
    def may_act_somewhere(self) -> bool:
        """Whether the key may change anything."""
        return self.has_key and Right.ACT in self.grant.rights

    def may_act(self, agent: str | None) -> bool:
        """Whether the key may change what belongs to the agent; to no agent in particular, if None."""
        opened = self.grant.agents is None if agent is None else self.grant.opens(agent)
        return self.may_act_somewhere and opened

    def require_act_somewhere(self) -> None:
        """Raises `RequestRefused` (403) where it may change nothing at all, with the reason."""
        if not self.has_key:
            text = "nothing was changed: actions need a key with the right `act`"
            raise RequestRefused(403, text, "no_key")
        self.caller.require(Right.ACT)

    def require_act(self, agent: str | None) -> None:
        """Raises `RequestRefused` (403) where `may_act` is false, with the reason."""
        self.require_act_somewhere()
        if not self.may_act(agent):
            text = "nothing was changed: this key is not for " + ("that agent" if agent else "all agents")
            raise RequestRefused(403, text, "agent_not_allowed")


@dataclass(slots=True, kw_only=True)
class _Session:
    key_text: str
    form_token: str
    begun_s: float
    notice: str | None = None  # shown on the next page


class Sessions:
    """The sessions of browsers, and the rules by which requests are let in. Safe to call from any thread."""

    def __init__(
        self,
        rules: OriginRules,
        authenticator: Authenticator,
        *,
        is_open: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._authenticator = authenticator
        self._is_open = is_open
        self._clock = clock
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._lock = threading.Lock()  # held by whoever makes room

    def admit(self, request: Request) -> Viewer:
        """Who asks, with or without a key. Raises `RequestRefused`: 401, 403."""
        self.check_page(request)
        session = self._session(request)
        if session is None:
            return Viewer(caller=self._caller(request, request.headers), sees_all=self._is_open)
        caller = self._caller(request, _with_key(session.key_text))
        notice = session.notice
        if request.method == "GET":
            session.notice = None
        return Viewer(caller=caller, form_token=session.form_token, sees_all=self._is_open, notice=notice)

    def check_page(self, request: Request) -> None:
        """Raises `RequestRefused` (403) for a foreign page or name. Anybody may follow a link to a page."""
        followed = request.method in ("GET", "HEAD") and (
            request.headers.get("sec-fetch-mode"),
            request.headers.get("sec-fetch-dest"),
        ) == ("navigate", "document")
        kept = [pair for pair in request.headers.raw if not (followed and pair[0] == b"sec-fetch-site")]
        self._rules.check_page(Headers(raw=kept))

    def require_read(self, viewer: Viewer) -> None:
        """Raises `RequestRefused` (403) where this viewer may not look."""
        if not self._is_open:
            viewer.caller.require(Right.READ)

    def check_form(self, viewer: Viewer, form: Mapping[str, str]) -> None:
        """Raises `RequestRefused` (403) where the form is not from a page that this viewer got."""
        expected = viewer.form_token
        if expected is not None and not hmac.compare_digest(
            expected.encode(), form.get("token", "").encode()
        ):
            text = "nothing was changed: this form is of an older session; open the page again"
            raise RequestRefused(403, text, "form_token")

    def begin(self, request: Request, key_text: str) -> str:
        """Begin a session for this key. Returns the cookie's value. Raises `RequestRefused` (401)."""
        self.check_page(request)
        if read_key_text(key_text) is None:
            raise RequestRefused(401, "this is not a key: keys begin with clorad_", "unknown_key")
        self._caller(request, _with_key(key_text))
        value = secrets.token_urlsafe(32)
        self._sessions[value] = _Session(
            key_text=key_text, form_token=secrets.token_urlsafe(32), begun_s=self._clock()
        )
        with self._lock:
            while len(self._sessions) > SESSIONS_MAX:
                self._sessions.popitem(last=False)
        return value

    def tell(self, request: Request, notice: str) -> None:
        """Show this on the next page of the session."""
        session = self._session(request)
        if session is not None:
            session.notice = notice

    def end(self, request: Request) -> None:
        """The browser has no session any more."""
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)

    def _session(self, request: Request) -> _Session | None:
        value = request.cookies.get(COOKIE)
        session = None if value is None else self._sessions.get(value)
        if value is None or session is None:
            return None
        if self._clock() - session.begun_s > SESSION_S_MAX:
            self._sessions.pop(value, None)
            return None
        return session

    def _caller(self, request: Request, headers: Headers) -> Caller:
        client = request.client
        return self._authenticator.caller(request.url.path, headers, client.host if client else None)


def _with_key(key_text: str) -> Headers:
    return Headers({"authorization": f"Bearer {key_text}"})
