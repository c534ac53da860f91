"""Which gate corrections have judged an agent's champion or an ancestor of it: no candidate wins them anew.

Those up to a number have, as a rule: the newest event when the champion's turn was planned. A turn that
leaves out parts of a refused batch is judged by some of them only, so the number stays, and the decision
about it names those that judged it.
"""

from sqlalchemy import Connection, func, select

from ledger.database import in_chunks
from ledger.schema import decisions, desired, turns, versions
from ledger.versions.decisions import Verdict
from ledger.versions.desired import Purpose
from ledger.versions.lineage import BASE, lineage_of


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
    kept_number = (
        select(versions.c.number)
        .join(turns, turns.c.id == versions.c.turn_id)
        .where(versions.c.agent == agent, turns.c.judged_seq.is_not(None))
    )
    apart = set(connection.scalars(kept_number))
    numbers = []
    for ancestor in lineage_of(connection, agent, number) if number in apart else ():
        if ancestor == BASE or ancestor not in apart:
            break
        numbers.append(ancestor)
    uids: set[str] = set()
    for chunk in in_chunks(numbers):
        query = select(decisions.c.evidence["gate"]).where(
            decisions.c.agent == agent,
            decisions.c.number.in_(chunk),
            decisions.c.kind == Verdict.PROMOTE.value,
        )
        uids |= {pair["event"] for pairs in connection.scalars(query) for pair in pairs or ()}
    return frozenset(uids)


def champions_apart(connection: Connection) -> list[tuple[str, int]]:
    """Agents and champions (by number) for which `judged_apart` may name any."""
    query = select(versions.c.agent, versions.c.number).join(turns, turns.c.id == versions.c.turn_id)
    serving = (desired.c.agent == versions.c.agent) & (desired.c.number == versions.c.number)
    query = query.join(desired, serving).where(
        desired.c.purpose == Purpose.SERVE.value, turns.c.judged_seq.is_not(None)
    )
    return [(row.agent, row.number) for row in connection.execute(query)]
