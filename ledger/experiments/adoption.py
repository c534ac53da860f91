"""Makes the version that an experiment ended with a candidate of another agent, whose gate then decides.

The candidate has the experiment's files. Its parent is the agent's champion, which the gate compares it with:
what the champion was taught and the experiment was not shows there as harm.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select

from ledger import leases
from ledger.database import Database, now_s
from ledger.errors import AdoptionRefused
from ledger.intake.withdrawn import changed_events
from ledger.learning.agents import Agent, all_agents
from ledger.learning.backlog import decided_through
from ledger.learning.turns import REASON_CHARS_MAX, lease_name
from ledger.schema import passes, turn_events, turns, versions
from ledger.turn_states import EventOutcome, TurnPart, TurnState, in_part, in_state
from ledger.versions.decisions import newest_seq, undecided
from ledger.versions.desired import champion
from ledger.versions.gate_modes import GateMode
from ledger.versions.lineage import Version, lineage_of, pruned_notice, version_name, versions_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """A version of an experiment, and the candidate that it becomes."""

    source: Version
    agent: str
    number: int  # of the candidate
    parent: int  # the agent's champion
    recipe: Mapping[str, Any]  # of the turn that trained it
    seed: int

    @property
    def name(self) -> str:
        """The candidate's name."""
        return version_name(self.number, self.source.hash)

    @property
    def path(self) -> str:
        """Its directory in the adapter store."""
        return f"{self.agent}/{self.name}"


def plan_adoption(connection: Connection, source: Version, agent: str) -> Adoption:
    """What the version becomes. Raises `AdoptionRefused` where the agent cannot take it now.

    The number holds as long as the caller has the agent's learning lease.
    """
    _refuse_unfit(connection, source, _agent(connection, agent))
    newest = connection.scalar(select(func.max(turns.c.number)).where(turns.c.agent == agent))
    trained = connection.execute(select(turns).where(turns.c.id == source.turn_id)).one()
    return Adoption(
        source=source,
        agent=agent,
        number=int(newest or 0) + 1,
        parent=champion(connection, agent),
        recipe=trained.recipe,
        seed=trained.seed,
    )


def record_adoption(database: Database, adoption: Adoption, *, token: int, by: str, reason: str) -> Version:
    """Make the copied directory a candidate of the agent. `token` is of the agent's learning lease.

    Raises `AdoptionRefused` where the agent changed since `plan_adoption`, or an event that taught the
    version was taken back.
    """
    agent, source = adoption.agent, adoption.source
    with database.write() as connection:
        if not leases.holds(connection, lease_name(agent), token):
            raise AdoptionRefused(f"{agent} is learning: try again after its turn")
        if plan_adoption(connection, source, agent) != adoption:
            raise AdoptionRefused(f"{agent} has another champion since: try again")
        moment_s = now_s(connection)
        turn_id = _write_turn(connection, adoption, token, moment_s, by=by, reason=reason)
        _write_events(connection, source, turn_id)
        if changed := changed_events(connection, turn_id):
            raise AdoptionRefused(f"{changed} of the events that taught it were taken back")
        candidate = Version(
            agent=agent,
            number=adoption.number,
            hash=source.hash,
            base_hash=source.base_hash,
            parent=adoption.parent,
            turn_id=turn_id,
            # What the agent learns of its own neither waits for this candidate's verdict nor begins anew.
            through_seq=decided_through(connection, agent),
            path=adoption.path,
            made_s=moment_s,
        )
        connection.execute(insert(versions).values(**asdict(candidate)))
    return candidate


def _agent(connection: Connection, name: str) -> Agent:
    agents = all_agents(connection)
    if name not in agents:
        raise AdoptionRefused(f"there is no agent {name[:100]}")
    return agents[name]


def _refuse_unfit(connection: Connection, source: Version, agent: Agent) -> None:
    """Raises `AdoptionRefused` with the reason why the agent cannot take the version."""
    if agent.gate is GateMode.OFF:
        raise AdoptionRefused(f"{agent.name} is an experiment: nobody judges its versions")
    if source.base_hash != agent.base_hash:
        raise AdoptionRefused(
            f"it was made for base {source.base_hash[:12]}, {agent.name} has {agent.base_hash[:12]}"
        )
    if source.pruned_s is not None:
        raise AdoptionRefused(pruned_notice(source))
    for version in versions_of(connection, agent.name):
        if version.hash == source.hash:
            raise AdoptionRefused(f"it is {agent.name}@{version.name} already")
    for candidate in undecided(connection):
        if candidate.agent == agent.name:
            raise AdoptionRefused(f"{candidate.model} has no verdict yet: refuse it, or wait for its verdict")
    query = select(turns.c.id).where(turns.c.agent == agent.name, in_state(TurnState.OPEN)).limit(1)
    if connection.scalar(query) is not None:
        raise AdoptionRefused(f"{agent.name} is learning: try again after its turn")


def _write_turn(
    connection: Connection, adoption: Adoption, token: int, moment_s: float, *, by: str, reason: str
) -> int:
    """A turn that nobody trains, in a pass of its own: it says who adopted what, and why."""
    source = adoption.source
    form = {"adopted": source.model}
    opened = connection.execute(
        insert(passes).values(holder=by[:200], form=form, opened_s=moment_s, closed_s=moment_s)
    )
    assert opened.inserted_primary_key is not None
    inserted = connection.execute(
        insert(turns).values(
            pass_id=opened.inserted_primary_key[0],
            place=0,
            agent=adoption.agent,
            number=adoption.number,
            parent=adoption.parent,
            recipe=dict(adoption.recipe),
            labelling={},
            seed=adoption.seed,
            attempt=1,
            through_seq=newest_seq(connection, adoption.agent),
            token=token,
            state=TurnState.ADOPTED.value,
            reason=f"{source.model} by {by}: {reason}"[:REASON_CHARS_MAX],
            closed_s=moment_s,
        )
    )
    assert inserted.inserted_primary_key is not None
    return int(inserted.inserted_primary_key[0])


def _write_events(connection: Connection, source: Version, turn_id: int) -> None:
    """What taught the version and its ancestors: the agent was shown it, and is still taught its own."""
    line = lineage_of(connection, source.agent, source.number)
    taught = (
        select(turn_events.c.event_seq, turn_events.c.revision)
        .join(versions, versions.c.turn_id == turn_events.c.turn_id)
        .where(
            versions.c.agent == source.agent,
            versions.c.number.in_(line),
            in_part(TurnPart.NEW),
            turn_events.c.outcome == EventOutcome.TRAINED.value,
        )
    )
    revisions = {row.event_seq: row.revision for row in connection.execute(taught)}
    rows = [
        {
            "turn_id": turn_id,
            "event_seq": seq,
            "part": TurnPart.REPLAY.value,
            "place": place,
            "revision": revisions[seq],
        }
        for place, seq in enumerate(sorted(revisions))
    ]
    if rows:
        connection.execute(insert(turn_events), rows)
