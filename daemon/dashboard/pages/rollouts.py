"""Rollouts: which versions are on their way to all users, what was counted of each, and how to intervene."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from daemon.dashboard.agent_rows import State, agent_rows
from daemon.dashboard.visit import Visit
from daemon.roles.canaries import canary_options
from ledger.database import Connection
from ledger.versions.canary import ALL, CanaryStep, open_steps, steps_of
from ledger.versions.evidence import LiveComparison
from serving.canary.observing import CanaryObserver, comparison
from serving.canary.steps import CanaryOptions, next_share

ROLLOUTS_A_PAGE = 20
"""Each of them costs about a dozen statements."""

ON_THE_WAY = (State.JUDGING, State.PERSON, State.ROLLOUT, State.HELD)
"""States of agents that the page shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedRollout:
    """One version that is being watched on live traffic."""

    version: str
    steps: tuple[CanaryStep, ...]
    compared: LiveComparison  # with the champion, or with what its predecessor did before
    ruling: str  # what comes next, or what it waits for

    @property
    def shares(self) -> list[tuple[float, bool]]:
        """Every share on the way to all, and whether it was reached."""
        shares = [(step.share, True) for step in self.steps]
        while shares[-1][0] < ALL:
            shares.append((next_share(shares[-1][0]), False))
        return shares


def show_rollouts(visit: Visit) -> Response:
    """Agents with a candidate, a version that is being watched, or a hold."""
    document = visit.reports.status()
    rows = agent_rows(document, visit.reports.curves(), visit.reports.feedback())
    options = canary_options(visit.settings)
    steps = {step.agent: step for step in visit.reports.read("steps", open_steps)}
    chosen = [
        row
        for row in rows
        if visit.viewer.may_see(row.agent.name) and (row.state in ON_THE_WAY or row.agent.name in steps)
    ]
    page = visit.page_of(len(chosen), ROLLOUTS_A_PAGE)
    shown = page.items(chosen)
    watched_steps = tuple(steps[row.agent.name] for row in shown if row.agent.name in steps)
    watched = visit.reports.read(
        "rollouts", lambda connection: _watched(connection, watched_steps, options), watched_steps
    )
    return visit.page(
        "rollouts.html", document=document, rows=shown, watched=watched, all=len(chosen), page=page
    )


def _watched(
    connection: Connection, steps: Sequence[CanaryStep], options: CanaryOptions
) -> dict[str, WatchedRollout]:
    """By agent, the version that is being watched in one of these steps."""
    observer = CanaryObserver(options=options)
    watched = {}
    for step in steps:
        observed = observer.read(connection, step)
        ruling = observer.rule(observed)
        watched[step.agent] = WatchedRollout(
            version=observed.version.name,
            steps=tuple(steps_of(connection, step.agent, step.number)),
            compared=comparison(observed, ruling),
            ruling=ruling.reason,
        )
    return watched
