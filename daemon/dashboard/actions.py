"""What a viewer with a key may change: each action calls the function that its command calls.

A form says what its page showed: the version's hash, whether it was a candidate, the champion, the status of
the event. If that is not so any more, nothing changes.
"""

from collections.abc import Callable, Mapping

from daemon.commands.acting import contested, deciding, withdrawn
from daemon.commands.dead_letters import redrive_letter
from daemon.commands.documents.version_document import parse_reference
from daemon.commands.versions import roll_back
from daemon.console import CommandFailed, short
from daemon.dashboard.visit import Visit
from ledger.learning.event_decisions import decided_event
from ledger.learning.event_queries import event_by_uid
from serving.gateway.edge.errors import RequestRefused


def _promote(visit: Visit) -> str:
    reference = _version(visit)
    done = deciding.promote(
        visit.settings, reference, by=visit.viewer.name, reason=visit.field("reason"), is_candidate=True
    )
    return f"{done['agent']}: {done['version']} is promoted as soon as the replicas hold it"


def _reinstate(visit: Visit) -> str:
    reference = _version(visit)
    done = deciding.promote(
        visit.settings, reference, by=visit.viewer.name, reason=visit.field("reason"), is_candidate=False
    )
    return f"{done['agent']}: {done['version']} comes back as soon as the replicas hold it"


def _refuse(visit: Visit) -> str:
    reference = _version(visit)
    done = deciding.refuse(visit.settings, reference, by=visit.viewer.name, reason=visit.field("reason"))
    return f"{done['agent']}: {done['version']} is refused"


def _hold(visit: Visit) -> str:
    agent = _agent(visit)
    if not deciding.hold(visit.settings, agent, by=visit.viewer.name, reason=visit.field("reason")):
        raise CommandFailed(f"{agent} was put on hold meanwhile")
    return f"{agent} is on hold"


def _resume(visit: Visit) -> str:
    agent = _agent(visit)
    if not deciding.resume(visit.settings, agent, by=visit.viewer.name):
        raise CommandFailed(f"{agent} is not on hold any more")
    return f"{agent} goes on"


def _roll_back(visit: Visit) -> str:
    agent = _agent(visit)
    done = roll_back(
        visit.settings,
        agent,
        to=_number(visit, "to") if visit.form.get("to") else None,
        by=visit.viewer.name,
        reason=visit.field("reason"),
        champion_is=_number(visit, "champion"),
    )
    return f"{agent} goes back from {done['from']} to {done['to']}"


def _settle(visit: Visit) -> str:
    uid = _event(visit)
    done = contested.settle(visit.settings, uid, by=visit.viewer.name, reason=visit.field("reason"))
    against = len(done["superseded"])
    return f"{short(uid)} counts from now on, against {against} others (decision {done['decision']})"


def _retract(visit: Visit) -> str:
    uid = _event(visit)
    done = withdrawn.retract(visit.settings, uid, by=visit.viewer.name, reason=visit.field("reason"))
    return f"{short(uid)} is retracted (decision {done['id']})"


def _restore(visit: Visit) -> str:
    uid = _event(visit)
    done = withdrawn.restore(visit.settings, uid, by=visit.viewer.name, reason=visit.field("reason"))
    return f"{short(uid)} counts again (decision {done['id']})"


def _undo(visit: Visit) -> str:
    number = _number(visit, "decision")
    with visit.reports.database.read() as connection:
        kept = decided_event(connection, number)
    visit.viewer.require_act(None if kept is None else kept.event.agent)
    withdrawn.undo(visit.settings, number, by=visit.viewer.name, reason=visit.field("reason"))
    return f"decision {number} is undone"


def _redrive(visit: Visit) -> str:
    visit.viewer.require_act(None)
    number = _number(visit, "letter")
    redrive_letter(visit.settings, number, by=visit.viewer.name, reason=visit.field("reason"))
    return f"dead letter {number} is sent again; the fleet role sends it"


def _nothing(_: Visit) -> str:
    raise RequestRefused(400, "nothing was changed: choose what to do", "action")


ACTIONS: Mapping[str, Callable[[Visit], str]] = {
    "promote": _promote,
    "reinstate": _reinstate,
    "refuse": _refuse,
    "hold": _hold,
    "resume": _resume,
    "rollback": _roll_back,
    "settle": _settle,
    "retract": _retract,
    "restore": _restore,
    "undo": _undo,
    "redrive": _redrive,
    "choose": _nothing,
}
"""By the last part of the action's address."""


def _version(visit: Visit) -> str:
    """The version that the form names. Raises `RequestRefused` where the viewer may not act on its agent."""
    reference = visit.field("version")
    agent, _, _ = parse_reference(reference)
    visit.viewer.require_act(agent)
    return reference


def _agent(visit: Visit) -> str:
    agent = visit.field("agent")
    visit.viewer.require_act(agent)
    return agent


def _event(visit: Visit) -> str:
    """The event that the form names, whose agent says who may act on it.

    Raises `CommandFailed` where its status is not the one that the page showed.
    """
    uid, shown = visit.field("event"), visit.form.get("status")
    with visit.reports.database.read() as connection:
        events = event_by_uid(connection, uid)
    if not events:
        visit.viewer.require_act(None)
    for kept in events:
        visit.viewer.require_act(kept.event.agent)
        if shown not in (None, kept.status.value):
            raise CommandFailed(f"{short(uid)} is {kept.status.value} now: it was decided about meanwhile")
    return uid


def _number(visit: Visit, name: str) -> int:
    text = visit.field(name)
    if not (text.isascii() and text.isdigit()):
        raise RequestRefused(400, f"nothing was changed: {name} is a number", name)
    return int(text[:18])
