"""What comes after an agent's last try, and what came after a refused version, in words for people."""

from sqlalchemy import Connection

from ledger.learning.backlog import refusals_of
from ledger.learning.last_tries import follower, last_tries
from ledger.learning.retries import LastTry, NextTry, next_try
from ledger.versions.decisions import Verdict
from ledger.versions.desired import champion


def upcoming_try(connection: Connection, agent: str, *, refusals_max: int) -> NextTry:
    """How the agent's next turn differs from a first try of all that is new."""
    return _next_try(connection, agent, last_tries(connection, agent).get(agent), refusals_max)


def what_follows(connection: Connection, agent: str, number: int, *, refusals_max: int) -> str | None:
    """What came or comes after the refused version, in words; None if nothing follows from its refusal."""
    if (later := follower(connection, agent, number)) is not None:
        return f"v{later[0]}, {later[1].text}"
    last = last_tries(connection, agent).get(agent)
    if last is None or last.number != number or last.verdict is not Verdict.REFUSE:
        return None
    return _next_try(connection, agent, last, refusals_max).text


def _next_try(connection: Connection, agent: str, last: LastTry | None, refusals_max: int) -> NextTry:
    return next_try(
        last,
        champion=champion(connection, agent),
        refusals=refusals_of(connection, agent),
        refusals_max=refusals_max,
    )
