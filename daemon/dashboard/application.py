"""The dashboard's pages as an ASGI application: who may see each, and how refusals look.

Pages are functions that run in threads, because they read the ledger. The address of a page has all that it
depends on, so each page can be linked to.
"""

from collections.abc import Callable
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from daemon.console import CommandFailed
from daemon.dashboard.actions import ACTIONS
from daemon.dashboard.cached_reports import StillReading
from daemon.dashboard.pages import (
    agents,
    events,
    fleet,
    intake,
    learner,
    playground,
    review,
    rollouts,
    versions,
)
from daemon.dashboard.rendering import STATIC, Templates
from daemon.dashboard.reports import Reports
from daemon.dashboard.sessions import COOKIE, SESSION_S_MAX, Sessions, Viewer
from daemon.dashboard.visit import Visit, go_to, read_form
from ledger.errors import EventDecisionRefused, LedgerUnavailable
from serving.gateway.edge.errors import RequestRefused

log = structlog.get_logger(__name__)

Page = Callable[[Visit], Response]
Action = Callable[[Visit], str]
"""Changes the ledger in the viewer's name. Returns what it did, in a sentence."""

_TITLES = {
    400: "This cannot be understood",
    401: "A key is needed",
    403: "This is not allowed",
    404: "There is no such page",
    409: "Nothing was changed",
    503: "The ledger does not answer",
}


class Dashboard:
    """The endpoints. Belongs to one event loop."""

    def __init__(self, reports: Reports, sessions: Sessions) -> None:
        self._reports = reports
        self._sessions = sessions
        self._templates = Templates()

    def application(self) -> Starlette:
        """The application with every page."""
        return Starlette(
            routes=[
                Route("/", lambda _: RedirectResponse("/agents")),
                self._page("/agents", agents.show_agents),
                self._page("/agents/{agent:path}", agents.show_agent),
                self._page("/versions/{reference:path}", versions.show_version),
                self._page("/event", events.show_event),
                self._page("/events", events.show_events),
                self._page("/review", review.show_review),
                self._page("/rollouts", rollouts.show_rollouts),
                self._page("/learner", learner.show_learner),
                self._page("/intake", intake.show_intake),
                self._page("/fleet", fleet.show_fleet),
                self._page("/playground", playground.show_playground),
                self._form("/playground", playground.answer_both),
                *(self._action(f"/actions/{name}", act) for name, act in ACTIONS.items()),
                Route("/key", self._give_key, methods=["GET", "POST"]),
                Route("/key/forget", self._forget_key, methods=["POST"]),
                Route("/healthz", lambda _: JSONResponse({"alive": True})),
                Mount("/static", StaticFiles(directory=STATIC)),
                Route("/{path:path}", self._nowhere),
            ]
        )

    def _action(self, path: str, act: Action) -> Route:
        async def answer(request: Request) -> Response:
            done: list[str] = []

            def change(visit: Visit) -> Response:
                visit.viewer.require_act_somewhere()
                done.append(act(visit))
                self._reports.cache.forget()
                return go_to(_own_address(request, visit.form.get("back")))

            response = await self._answered(request, change, is_action=True)
            for notice in done:
                self._sessions.tell(request, notice)
            return response

        return Route(path, answer, methods=["POST"])

    def _form(self, path: str, page: Page) -> Route:
        async def answer(request: Request) -> Response:
            return await self._answered(request, page, is_action=True)

        return Route(path, answer, methods=["POST"])

    def _page(self, path: str, page: Page) -> Route:
        async def answer(request: Request) -> Response:
            return await self._answered(request, page, is_action=False)

        return Route(path, answer)

    async def _answered(self, request: Request, page: Page, *, is_action: bool) -> Response:
        """The page, or the reason why there is none."""
        viewer: Viewer | None = None
        try:
            viewer = await run_in_threadpool(self._sessions.admit, request)
            self._sessions.require_read(viewer)
            form = {}
            if is_action:
                form = await read_form(request)
                self._sessions.check_form(viewer, form)
            visit = Visit(
                request=request,
                viewer=viewer,
                reports=self._reports,
                templates=self._templates,
                form=form,
            )
            return await run_in_threadpool(page, visit)
        except StillReading:
            if is_action:
                return self._refused(request, viewer, 503, "Nothing was changed: send it again.")
            return self._templates.page("reading.html", request, viewer)
        except RequestRefused as refusal:
            return self._refused(request, viewer, refusal.status, refusal.text)
        except (CommandFailed, EventDecisionRefused) as refusal:
            return self._refused(request, viewer, 409 if is_action else 404, str(refusal))
        except LedgerUnavailable as fault:
            return self._refused(request, viewer, 503, str(fault))

    def _refused(self, request: Request, viewer: Viewer | None, status: int, why: str) -> Response:
        title = _TITLES.get(status, "This was refused")
        back = "/key" if status == 401 else request.headers.get("referer")
        values: dict[str, Any] = {"title": title, "why": why, "back": _own_address(request, back)}
        return self._templates.page("refused.html", request, viewer, status=status, **values)

    async def _give_key(self, request: Request) -> Response:
        """A form for the key; or, given one, a session."""
        if request.method == "GET":
            return self._templates.page("key.html", request, None, why=None)
        try:
            form = await read_form(request)
            value = await run_in_threadpool(self._sessions.begin, request, form.get("key", "").strip())
        except RequestRefused as refusal:
            return self._templates.page("key.html", request, None, status=refusal.status, why=refusal.text)
        except LedgerUnavailable as fault:
            return self._refused(request, None, 503, str(fault))
        response = go_to("/agents")
        response.set_cookie(
            COOKIE,
            value,
            max_age=int(SESSION_S_MAX),
            httponly=True,
            samesite="lax",
            secure=request.headers.get("origin", "").startswith("https:"),
        )
        return response

    async def _forget_key(self, request: Request) -> Response:
        try:
            self._sessions.check_page(request)
        except RequestRefused as refusal:
            return self._refused(request, None, refusal.status, refusal.text)
        self._sessions.end(request)
        response = go_to("/agents")
        response.delete_cookie(COOKIE)
        return response

    async def _nowhere(self, request: Request) -> Response:
        return self._refused(request, None, 404, "The menu above has every page.")


def _own_address(request: Request, address: str | None) -> str:
    """The path of an address of this dashboard; the first page for any other."""
    if address is not None and address.startswith("/") and not address.startswith(("//", "/\\")):
        return address
    own = f"{request.url.scheme}://{request.url.netloc}/"
    return f"/{address.removeprefix(own).lstrip('/')}" if address and address.startswith(own) else "/agents"
