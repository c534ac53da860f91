"""The page of the learner: passes, what each agent waits for, failures with what followed, delays."""

from collections.abc import Sequence

from starlette.responses import Response

from daemon.commands.documents.learner_document import read_learner
from daemon.console import CommandFailed
from daemon.dashboard.agent_rows import AgentRow, State, agent_rows
from daemon.dashboard.visit import Visit

PASSES_A_PAGE = 15
TURNS_SHOWN_MAX = 8
"""Turns of each pass in the list; the page of the pass has all of them."""

AGENTS_SHOWN_MAX = 15
WAITING = frozenset(State) - {State.IDLE}
"""States of agents with something to be taught or decided."""


def show_learner(visit: Visit) -> Response:
    """What learners do and did, of the agents that this viewer may see."""
    agent = visit.asked("agent") or None
    pass_id, before = visit.asked_number("pass"), visit.asked_number("before")
    if agent is not None:
        visit.viewer.require_see(agent)
    opened = None if visit.viewer.sees_all else visit.viewer.grant.agents
    agents = opened if agent is None else frozenset({agent})
    work = visit.reports.cache.get(
        "learner",
        lambda: read_learner(
            visit.reports.database, limit=PASSES_A_PAGE, before=before, pass_id=pass_id, agents=agents
        ),
        *(before, pass_id, agents),
    )
    if pass_id is not None and not work.passes:
        raise CommandFailed(f"no pass {pass_id} with turns of agents that may be shown")
    waiting = _waiting(visit, agent)
    roles = visit.known(visit.reports.roles) or {}
    return visit.page(
        "learner.html",
        work=work,
        waiting=waiting[:AGENTS_SHOWN_MAX],
        waiting_count=len(waiting),
        untaught=sum(row.agent.backlog.untaught for row in waiting),
        tokens=sum(row.agent.backlog.usage.tokens for row in waiting),
        learner=roles.get("learner"),
        has_roles=bool(roles),
        budget=visit.settings.engine.tokens_max,
        agent=agent,
        pass_id=pass_id,
        turns_max=None if pass_id is not None else TURNS_SHOWN_MAX,
        older=work.passes[-1].pass_id if len(work.passes) == PASSES_A_PAGE else None,
        is_newest=before is None,
        document=visit.reports.status(),
    )


def _waiting(visit: Visit, agent: str | None) -> Sequence[AgentRow]:
    """The agents with something to be taught or decided, the one that waited longest first."""
    rows = agent_rows(visit.reports.status(), visit.reports.curves(), visit.reports.feedback())
    chosen = [
        row
        for row in rows
        if row.state in WAITING and visit.viewer.may_see(row.agent.name) and agent in (None, row.agent.name)
    ]
    return sorted(chosen, key=lambda row: (-row.agent.backlog.oldest_age_s, row.agent.name))
