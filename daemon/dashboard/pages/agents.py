"""The list of agents, and the page of one agent: its learning curve, versions and timeline."""

from starlette.responses import Response

from daemon.commands.documents.version_document import require_agent
from daemon.console import CommandFailed
from daemon.dashboard.agent_rows import SORTS, State, agent_rows, chosen_rows
from daemon.dashboard.reports import SaidLately
from daemon.dashboard.visit import Visit
from ledger.database import Connection
from ledger.reports.history.agent_timeline import TimelineEntry, agent_timeline
from ledger.reports.version_list import VersionSummary, version_list

AGENTS_A_PAGE = 50
ENTRIES_A_PAGE = 40
VERSIONS_A_PAGE = 30


def show_agents(visit: Visit) -> Response:
    """The agents that this viewer's key opens, fifty a page."""
    visit.reports.begin()
    document = visit.reports.status()
    curves, feedback = visit.known(visit.reports.curves), visit.known(visit.reports.feedback)
    rows = agent_rows(document, curves or {}, feedback or SaidLately(recent={}, contested={}))
    opened = [row for row in rows if visit.viewer.may_see(row.agent.name)]
    text, state, sort = visit.asked("q"), visit.asked("state"), visit.asked("sort", "name")
    chosen = chosen_rows(opened, text=text, state=state, sort=sort)
    page = visit.page_of(len(chosen), AGENTS_A_PAGE)
    return visit.page(
        "agents.html",
        document=document,
        rows=page.items(chosen),
        chosen=len(chosen),
        all=len(opened),
        by_state={each: sum(row.state is each for row in opened) for each in State},
        text=text,
        state=state,
        sort=sort,
        sorts=SORTS,
        is_whole=curves is not None and feedback is not None,
        page=page,
    )


def show_agent(visit: Visit) -> Response:
    """One agent. Raises `CommandFailed` where there is none that this viewer may see."""
    name = visit.request.path_params["agent"]
    visit.viewer.require_see(name)
    document = visit.reports.status()
    rows = agent_rows(document, visit.reports.curves(), visit.reports.feedback())
    row = next((row for row in rows if row.agent.name == name), None)
    before_s = visit.asked_time("before")
    failures_only = visit.asked("only") == "failures"
    if row is None:
        raise CommandFailed(f"no agent {name[:60]}; the list of agents has them all")

    def read(connection: Connection) -> tuple[list[VersionSummary], list[TimelineEntry]]:
        require_agent(connection, name)
        entries = agent_timeline(
            connection, name, before_s=before_s, limit=ENTRIES_A_PAGE, failures_only=failures_only
        )
        return version_list(connection, name), entries

    versions, entries = visit.reports.read("agent", read, name, before_s, failures_only)
    page = visit.page_of(len(versions), VERSIONS_A_PAGE)
    return visit.page(
        "agent.html",
        document=document,
        row=row,
        settings=document.agents[name],
        versions=page.items(versions),
        page=page,
        entries=entries,
        older=entries[-1].at_s if len(entries) == ENTRIES_A_PAGE else None,
        is_newest=before_s == float("inf"),
        failures_only=failures_only,
    )
