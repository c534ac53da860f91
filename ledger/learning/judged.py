"""Which gate corrections have judged an agent's champion or an ancestor of it: no candidate wins them anew.

Those up to a number have, as a rule: the newest event when the champion's turn was planned. A turn that
leaves out parts of a refused batch is judged by some of them only, so the number stays, and the decision
about it names those that judged it.
"""

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, Select, func, select

from ledger.schema import decisions, desired, turns, versions
from ledger.versions.decisions import Verdict
from ledger.versions.desired import Purpose


def judged_through(connection: Connection, agent: str, number: int) -> int:
    """Up to which number (`seq`) all gate corrections judged the version or an ancestor; 0 for the base."""
    query = (
        select(func.coalesce(turns.c.judged_seq, turns.c.through_seq))
        .join(versions, versions.c.turn_id == turns.c.id)
        .where(versions.c.agent == agent, versions.c.number == number)
    )
    return int(connection.scalar(query) or 0)


def judged_apart(connection: Connection, agent: str, number: int) -> frozenset[str]:
    """Gate events (by uid) after that number that judged the version or an ancestor all the same."""
    of_version = (versions.c.agent == agent) & (versions.c.number == number)
    return _uids_apart(connection, _turns_apart().where(of_version)).get(agent, frozenset())


def champions_judged_apart(connection: Connection) -> dict[str, frozenset[str]]:
    """The same of every champion, by agent; agents without any are left out."""
    serving = (desired.c.agent == versions.c.agent) & (desired.c.number == versions.c.number)
    champions = _turns_apart().join(desired, serving & (desired.c.purpose == Purpose.SERVE.value))
    return _uids_apart(connection, champions)


def _turns_apart() -> Select[Any]:
    """(agent, number, parent) of the versions whose turns kept an earlier number."""
    query = select(versions.c.agent, versions.c.number, versions.c.parent)
    return query.join(turns, turns.c.id == versions.c.turn_id).where(turns.c.judged_seq.is_not(None))


def _uids_apart(connection: Connection, first: Select[Any]) -> dict[str, frozenset[str]]:
    """By agent, the gate events that promoted these versions, or ancestors without another one between."""
    line = first.cte("line_apart", recursive=True)
    parent = (versions.c.agent == line.c.agent) & (versions.c.number == line.c.parent)
    line = line.union_all(_turns_apart().join(line, parent))
    query = select(line.c.agent, decisions.c.evidence["gate"]).join(
        decisions, (decisions.c.agent == line.c.agent) & (decisions.c.number == line.c.number)
    )
    uids: dict[str, set[str]] = defaultdict(set)
    for agent, pairs in connection.execute(query.where(decisions.c.kind == Verdict.PROMOTE.value)):
        uids[agent] |= {pair["event"] for pair in pairs or ()}
    return {agent: frozenset(of_agent) for agent, of_agent in uids.items()}
