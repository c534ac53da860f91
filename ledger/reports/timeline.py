"""Tells how long corrections took to change what an agent answers, in parts, by what the ledger recorded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select

from ledger.events import CORRECTING
from ledger.schema import decisions, events, interactions, passes, turns, versions
from ledger.versions.decisions import Verdict
from ledger.versions.lineage import version_name

PARTS = ("intake", "wait", "train", "judge", "swap")
"""In order: until it is stored, until the pass begins, until the version exists, until the gate let it pass,
until it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """From an agent's newest correction to the first answer by the version taught with it. Unix time."""

    agent: str
    version: str
    correction: str  # uid of the newest correction that the planning of the turn saw
    stored_s: float  # when that correction was stored
    opened_s: float  # when the pass was planned
    made_s: float
    passed_s: float  # the gate's decision; that to promote it, where a person decided
    promoted_s: float
    answered_s: float | None  # receipt of the first captured answer; None: none was captured

    def parts_s(
        self, *, acknowledged_s: float | None = None, answered_s: float | None = None
    ) -> Mapping[str, float]:
        """Seconds of each of `PARTS`, as far as their ends are known.

        `acknowledged_s` is when Kafka had the correction; `answered_s` when somebody saw the first answer,
        which is earlier than its receipt.
        """
        answered_s = self.answered_s if answered_s is None else answered_s
        moments = (acknowledged_s, self.stored_s, self.opened_s, self.made_s, self.passed_s, answered_s)
        return {
            part: end_s - begin_s
            for part, begin_s, end_s in zip(PARTS, moments, moments[1:], strict=False)
            if begin_s is not None and end_s is not None
        }


def timelines(connection: Connection) -> list[Timeline]:
    """The timeline of every promoted version whose turn saw a correction, in order of promotion."""
    query = (
        select(versions, passes.c.opened_s, decisions.c.decided_s)
        .join(turns, turns.c.id == versions.c.turn_id)
        .join(passes, passes.c.id == turns.c.pass_id)
        .join(decisions, (decisions.c.agent == versions.c.agent) & (decisions.c.number == versions.c.number))
        .where(decisions.c.kind == Verdict.PROMOTE.value)
        .order_by(decisions.c.id)
    )
    read = (_timeline(connection, row) for row in connection.execute(query).all())
    return [timeline for timeline in read if timeline is not None]


def _timeline(connection: Connection, promoted: Row[Any]) -> Timeline | None:
    """The timeline of one promoted version; None where its turn saw no correction."""
    correction = connection.execute(
        select(events.c.source, events.c.id, events.c.received_s)
        .where(
            events.c.agent == promoted.agent,
            events.c.kind.in_([kind.value for kind in CORRECTING]),
            events.c.seq <= promoted.through_seq,
        )
        .order_by(events.c.seq.desc())
        .limit(1)
    ).one_or_none()
    if correction is None:
        return None
    name = version_name(promoted.number, promoted.hash)
    passed_s = connection.scalar(
        select(func.min(decisions.c.decided_s)).where(
            decisions.c.agent == promoted.agent,
            decisions.c.number == promoted.number,
            decisions.c.kind == Verdict.CANARY.value,
        )
    )
    answered_s = connection.scalar(
        select(func.min(interactions.c.received_s)).where(
            interactions.c.agent == promoted.agent, interactions.c.version == name
        )
    )
    return Timeline(
        agent=promoted.agent,
        version=name,
        correction=f"{correction.source}#{correction.id}",
        stored_s=correction.received_s,
        opened_s=promoted.opened_s,
        made_s=promoted.made_s,
        passed_s=promoted.decided_s if passed_s is None else passed_s,
        promoted_s=promoted.decided_s,
        answered_s=answered_s,
    )
