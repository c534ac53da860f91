"""One request for a page or for an action, with who asks, and what pages answer with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from daemon.dashboard.cached_reports import StillReading
from daemon.dashboard.rendering import Templates
from daemon.dashboard.reports import Reports
from daemon.dashboard.sessions import Viewer
from daemon.settings import Settings
from serving.gateway.edge.errors import RequestRefused

Report = TypeVar("Report")
Item = TypeVar("Item")

FORM_BYTES_MAX = 64 * 1024
FIELDS_MAX = 100
PAGE_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """One page of a list: pages have numbers from 1, and `size` items each."""

    number: int
    count: int
    size: int

    @property
    def first(self) -> int:
        """How many items come before it."""
        return (self.number - 1) * self.size

    def items(self, whole: Sequence[Item]) -> Sequence[Item]:
        """The items of the whole list that are on it."""
        return whole[self.first : self.first + self.size]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request that was let in."""

    request: Request
    viewer: Viewer
    reports: Reports
    templates: Templates
    form: Mapping[str, str] = field(default_factory=dict)  # of an action

    @property
    def settings(self) -> Settings:
        return self.reports.settings

    def asked(self, name: str, default: str = "") -> str:
        """A parameter of the address, at most 400 characters."""
        return self.request.query_params.get(name, default)[:400]

    def asked_page(self) -> int:
        """The parameter `page`, from 1. Raises `RequestRefused` where it is no number."""
        text = self.asked("page", "1")
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= PAGE_MAX):
            raise RequestRefused(400, "page: a number from 1", "page")
        return int(text)

    def page_of(self, total: int, size: int) -> "ListPage":
        """The page of a list that is asked for, or the last one: lists get shorter while people work."""
        pages = max(1, -(-total // size))
        return ListPage(number=min(self.asked_page(), pages), count=pages, size=size)

    def asked_number(self, name: str) -> int | None:
        """A parameter that is the number of something; None if it is not given. Raises `RequestRefused`."""
        text = self.asked(name)
        if text and not (text.isascii() and text.isdigit()):
            raise RequestRefused(400, f"{name}: a number from 0", name)
        return int(text[:18]) if text else None

    def asked_time(self, name: str) -> float:
        """A parameter that is a time, in seconds since 1970; the end of time if it is not given."""
        text = self.asked(name)
        try:
            at_s = float(text) if text else float("inf")
        except ValueError:
            at_s = float("nan")
        if at_s != at_s:
            raise RequestRefused(400, f"{name}: a time in seconds since 1970", name)
        return at_s

    def known(self, read: Callable[[], Report]) -> Report | None:
        """The report that `read` asks for; None while it is read for the first time: the page fills it in."""
        try:
            return read()
        except StillReading:
            return None

    def page(self, name: str, *, status: int = 200, **values: Any) -> Response:
        """The template `name` for this viewer."""
        return self.templates.page(name, self.request, self.viewer, status=status, **values)

    def field(self, name: str) -> str:
        """A field of the form. Raises `RequestRefused` where it is missing."""
        value = self.form.get(name, "").strip()
        if not value:
            raise RequestRefused(400, f"nothing was changed: {name} is missing", name)
        return value


def go_to(address: str) -> Response:
    """Ask the browser to get another page of ours. `address` begins with one slash."""
    assert address.startswith("/")
    assert not address.startswith("//")
    return RedirectResponse(address, 303)


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form (`application/x-www-form-urlencoded`). Raises `RequestRefused`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise RequestRefused(415, "content-type: application/x-www-form-urlencoded", "content_type")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES_MAX:
            raise RequestRefused(413, f"a form has at most {FORM_BYTES_MAX} bytes", "body_bytes")
    try:
        fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise RequestRefused(400, f"a form has at most {FIELDS_MAX} fields", "form_fields") from None
    return dict(fields)
