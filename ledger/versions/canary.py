"""The steps of a version on its way to all users: which share of the conversations it had, from when to when.

A step of share 1 follows the promotion: the version is watched until that step ends too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select, tuple_, update

from ledger.database import in_chunks, now_s
from ledger.schema import canary_steps, events

ALL = 1.0
"""The share of a promoted version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryStep:
    """One step of one version."""

    agent: str
    number: int
    place: int  # from 0
    share: float
    through_seq: int  # newest event of any agent when it began
    began_s: float
    ended_s: float | None  # None: the version is being watched

    @property
    def is_open(self) -> bool:
        return self.ended_s is None


def steps_of(connection: Connection, agent: str, number: int) -> list[CanaryStep]:
    """The steps of one version, oldest first; none where it had no share yet."""
    of_version = (canary_steps.c.agent == agent, canary_steps.c.number == number)
    return _read(connection, select(canary_steps).where(*of_version).order_by(canary_steps.c.place))


def steps_by_version(
    connection: Connection, versions: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], list[CanaryStep]]:
    """The same of each of these versions (agent, number); those that had no share yet are left out."""
    steps: dict[tuple[str, int], list[CanaryStep]] = {}
    for chunk in in_chunks(versions):
        of_versions = tuple_(canary_steps.c.agent, canary_steps.c.number).in_(chunk)
        query = select(canary_steps).where(of_versions).order_by(canary_steps.c.place)
        for step in _read(connection, query):
            steps.setdefault((step.agent, step.number), []).append(step)
    return steps


def open_steps(connection: Connection) -> list[CanaryStep]:
    """The step of every version that is being watched."""
    is_open = canary_steps.c.ended_s.is_(None)
    return _read(connection, select(canary_steps).where(is_open).order_by(canary_steps.c.agent))


def begin_step(connection: Connection, agent: str, number: int, share: float) -> None:
    """Record the next step of the version; the one before ends."""
    assert 0.0 < share <= ALL
    end_steps(connection, agent, number)
    connection.execute(
        insert(canary_steps).values(
            agent=agent,
            number=number,
            place=len(steps_of(connection, agent, number)),
            share=share,
            through_seq=int(connection.scalar(select(func.max(events.c.seq))) or 0),
            began_s=now_s(connection),
        )
    )


def forget_steps(connection: Connection, agent: str, number: int) -> None:
    """The version's next step is its first: what was counted in earlier ones decides nothing any more."""
    of_version = (canary_steps.c.agent == agent, canary_steps.c.number == number)
    connection.execute(delete(canary_steps).where(*of_version))


def end_steps(connection: Connection, agent: str, *numbers: int) -> None:
    """The agent's versions of these numbers are not watched any more; if none is given, all of them."""
    ended = update(canary_steps).where(canary_steps.c.agent == agent, canary_steps.c.ended_s.is_(None))
    if numbers:
        ended = ended.where(canary_steps.c.number.in_(numbers))
    connection.execute(ended.values(ended_s=now_s(connection)))


def share_at(steps: Sequence[CanaryStep], at_s: float) -> float:
    """The share that the version had at that moment; 0 where it had none."""
    for step in steps:
        if step.began_s <= at_s and (step.ended_s is None or at_s < step.ended_s):
            return step.share
    return 0.0


def _read(connection: Connection, query: Select[Any]) -> list[CanaryStep]:
    return [
        CanaryStep(
            agent=row.agent,
            number=row.number,
            place=row.place,
            share=row.share,
            through_seq=row.through_seq,
            began_s=row.began_s,
            ended_s=row.ended_s,
        )
        for row in connection.execute(query)
    ]
