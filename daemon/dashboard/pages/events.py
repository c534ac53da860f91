"""The page of one event, from its offset to the version that serves; and the events behind a number."""

from starlette.responses import Response

from daemon.commands.documents.receipt_document import ReceiptDocument, read_receipts
from daemon.commands.receipts import FATES, ROLES, gist
from daemon.console import CommandFailed
from daemon.dashboard.changed_words import changed_words
from daemon.dashboard.visit import Visit
from ledger.events import Kind, Role, Status
from ledger.reports.history.event_list import EventFilter, event_list
from rewards.replies import reply_text
from serving.gateway.edge.errors import RequestRefused

EVENTS_A_PAGE = 50

TURNS_SHOWN_MAX = 20
"""Of one event, the newest: an approval is shown in every turn of its agent."""


def show_event(visit: Visit) -> Response:
    """One event, or all of that bare id. Raises `CommandFailed` where nothing is called so."""
    uid = visit.asked("uid")
    if not uid:
        return visit.page("event.html", document=None, uid="", events=[])
    document: ReceiptDocument = visit.reports.cache.get(
        "event", lambda: read_receipts(visit.settings, visit.reports.database, uid), uid
    )
    for event_receipt in document.receipts:
        visit.viewer.require_see(event_receipt.kept.event.agent)
    if document.letters:
        visit.viewer.require_see(None)
    return visit.page(
        "event.html",
        document=document,
        uid=uid,
        events=[(event_receipt, gist(event_receipt.kept)) for event_receipt in document.receipts],
        fates=FATES,
        roles=ROLES,
        turns_max=TURNS_SHOWN_MAX,
        changed_words=changed_words,
        reply_text=reply_text,
        now_s=visit.reports.status().state.now_s,
    )


def show_events(visit: Visit) -> Response:
    """Events by agent, kind, author, status and role, newest first."""
    chosen = EventFilter(
        agent=visit.asked("agent") or None,
        kind=_one_of(visit, "kind", Kind),
        author=visit.asked("author") or None,
        status=_one_of(visit, "status", Status),
        role=_one_of(visit, "role", Role),
        since_s=visit.asked_time("since") if visit.asked("since") else None,
        turn=visit.asked_number("turn"),
    )
    visit.viewer.require_see(chosen.agent)
    before_seq = visit.asked_number("before")
    if chosen.agent is not None and chosen.agent not in visit.reports.status().agents:
        raise CommandFailed(f"no agent {chosen.agent[:60]}; the list of agents has them all")
    kept = visit.reports.read(
        "events",
        lambda connection: event_list(connection, chosen, before_seq=before_seq, limit=EVENTS_A_PAGE),
        chosen,
        before_seq,
    )
    return visit.page(
        "events.html",
        rows=[(event, gist(event)) for event in kept],
        chosen=chosen,
        kinds=list(Kind),
        statuses=list(Status),
        roles=list(Role),
        older=kept[-1].seq if len(kept) == EVENTS_A_PAGE else None,
        is_newest=before_seq is None,
        document=visit.reports.status(),
    )


def _one_of(visit: Visit, name: str, values: type[Kind] | type[Status] | type[Role]) -> str | None:
    """The parameter, which must be one of these. Raises `RequestRefused`."""
    text = visit.asked(name)
    if text and text not in {value.value for value in values}:
        raise RequestRefused(400, f"{name}: one of {', '.join(value.value for value in values)}", name)
    return text or None
