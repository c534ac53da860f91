"""Gives each prompt its group and the group its role: by the ledger's key, once and for all.

A conversation that has a role keeps it, so nothing that was trained on becomes evidence. Where the
conversations of an agent all begin alike, more of the beginning counts. Where nobody ever judged an agent,
all its prompts are for training.
"""

import hmac
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeVar

from sqlalchemy import Connection, and_, delete, func, insert, select

from ledger.database import in_chunks
from ledger.events import Event, Interaction, Openings, Role, Status
from ledger.identity import Identity, ensure_identity_in
from ledger.schema import agents, events, interactions, openings

CONTINUATIONS_MAX = 4
"""Different conversations with one opening that share its role; each later one has a role of its own."""

OPENINGS_ENOUGH = 32
"""Different openings from which on an agent's instructions tell no conversations apart.

They do where nothing else differs, as with a framework that always sends one user message. Where people ask
one question under different instructions, it is one question, and has one role."""

GATE_OFF = "off"
"""`GateMode.OFF` of `ledger.versions.gate_modes`: versions are known above intake only."""

Said = TypeVar("Said", Event, Interaction)


def keyed_role(secret: bytes, agent: str, group: str) -> Role:
    """Gate for one group in four, dev for one in eight, train for the rest.

    HMAC-SHA256 (RFC 2104): nobody without the key can choose prompts by their role.
    """
    eighth = hmac.digest(secret, f"role\0{agent}\0{group}".encode(), "sha256")[0] % 8
    if eighth < 2:
        return Role.GATE
    return Role.DEV if eighth == 2 else Role.TRAIN


def with_roles(connection: Connection, said: Sequence[Said]) -> list[Said]:
    """The same events or interactions, with group and role where they say what was asked.

    What already has a role keeps it. Openings that are new are stored, as fingerprints.
    """
    unknown = [(item.agent, item.openings) for item in said if item.role is None and item.openings]
    if not unknown:
        return list(said)
    known = _read_openings(connection, unknown)
    with_role = [_with_role(item, known) for item in said]
    if known.fresh:
        connection.execute(insert(openings), known.fresh)
    return with_role


def forget_openings(connection: Connection, groups: Iterable[tuple[str, str]]) -> None:
    """Remove the openings of these agents' prompt groups that no event or interaction is in any more."""
    by_agent: dict[str, set[str]] = defaultdict(set)
    for agent, group in groups:
        by_agent[agent].add(group)
    for agent, group_names in by_agent.items():
        for chunk in in_chunks(sorted(group_names)):
            used = set[str | None]()
            for table in (events, interactions):
                has_role = and_(table.c.agent == agent, table.c.prompt_group.in_(chunk))
                used.update(connection.scalars(select(table.c.prompt_group).where(has_role).distinct()))
            unused = [group for group in chunk if group not in used]
            connection.execute(
                delete(openings).where(openings.c.agent == agent, openings.c.prompt_group.in_(unused))
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _KnownOpenings:
    """The openings that conversations are compared with; those that are `fresh` are not stored yet."""

    identity: Identity
    groups: dict[tuple[str, str], tuple[str, Role]]  # by agent and stored opening: its group and role
    continuations: dict[tuple[str, str], int]  # by agent and stored opening: how many go on with it
    different: dict[str, set[str]]  # by agent: stored openings that conversations go on with, some of many
    unjudged: frozenset[str]  # agents whose gate is off and always was
    fresh: list[dict[str, Any]] = field(default_factory=list)

    def keep(self, agent: str, opening: str, group: str, role: Role, *, continues: str | None) -> None:
        """Conversations that begin so have this group and role from now on."""
        self.groups[agent, opening] = group, role
        row = {"opening": opening, "continues": continues, "prompt_group": group, "role": role.value}
        self.fresh.append({"agent": agent, **row})


def _with_role(said: Said, known: _KnownOpenings) -> Said:
    if said.role is not None or said.openings is None:
        return said
    group, role = _group_and_role(said.agent, said.openings, known)
    return replace(said, prompt_group=group, role=role)


def _group_and_role(agent: str, began: Openings, known: _KnownOpenings) -> tuple[str, Role]:
    """Those of the shortest opening that few enough conversations have, or that this one has already."""
    group = began.prefixes[0]
    if agent in known.unjudged:
        return group, _role_for_training(agent, began, known)
    # A group's role was stored under the group itself by an older clorad, and where the gate was off; all
    # others follow from the key.
    role = known.groups.get((agent, group), (group, keyed_role(known.identity.secret, agent, group)))[1]
    openings_of_it = _all(began)
    for shorter, longer in pairwise(openings_of_it):
        stored, continued = _stored(known.identity, longer), _stored(known.identity, shorter)
        if at_home := known.groups.get((agent, stored)):
            group, role = at_home
            continue
        count = known.continuations.get((agent, continued), 0)
        if count < CONTINUATIONS_MAX:
            known.keep(agent, stored, group, role, continues=continued)
            known.continuations[agent, continued] = count + 1
            known.different[agent].add(continued)
            return group, role
        if longer == began.whole and len(known.different[agent]) >= OPENINGS_ENOUGH:
            return group, role
        group, role = longer, keyed_role(known.identity.secret, agent, longer)
    return group, role


def _role_for_training(agent: str, began: Openings, known: _KnownOpenings) -> Role:
    """The role of a prompt that no candidate is judged by.

    It is stored for all openings of the conversation: if the agent is judged later, what was trained on is no
    evidence, however many conversations begin like this one.
    """
    group = began.prefixes[0]
    if (agent, group) not in known.groups:
        known.keep(agent, group, group, Role.TRAIN, continues=None)
    for shorter, longer in pairwise(_all(began)):
        stored = _stored(known.identity, longer)
        if (agent, stored) not in known.groups:
            known.keep(agent, stored, group, Role.TRAIN, continues=_stored(known.identity, shorter))
    return known.groups[agent, group][1]


def _stored(identity: Identity, opening: str) -> str:
    """As it is stored: without the key nobody can find out whether a text was said."""
    return identity.fingerprint(opening.encode())


def _all(began: Openings) -> tuple[str, ...]:
    return began.prefixes if began.whole is None else (*began.prefixes, began.whole)


def _read_openings(connection: Connection, said: Iterable[tuple[str, Openings]]) -> _KnownOpenings:
    identity = ensure_identity_in(connection)
    looked_up: dict[str, set[str]] = defaultdict(set)
    continued: dict[str, set[str]] = defaultdict(set)
    for agent, began in said:
        stored = [_stored(identity, opening) for opening in _all(began)]
        looked_up[agent].update((began.prefixes[0], *stored[1:]))
        continued[agent].update(stored[:-1])
    groups: dict[tuple[str, str], tuple[str, Role]] = {}
    counts: dict[tuple[str, str], int] = {}
    for agent, opening_names in looked_up.items():
        for chunk in in_chunks(sorted(opening_names)):
            query = select(openings.c.opening, openings.c.prompt_group, openings.c.role)
            query = query.where(openings.c.agent == agent, openings.c.opening.in_(chunk))
            for row in connection.execute(query):
                groups[agent, row.opening] = row.prompt_group, Role(row.role)
        for chunk in in_chunks(sorted(continued[agent])):
            counted = select(openings.c.continues, func.count().label("stored"))
            counted = counted.where(openings.c.agent == agent, openings.c.continues.in_(chunk))
            for row in connection.execute(counted.group_by(openings.c.continues)):
                counts[agent, row.continues] = row.stored
    return _KnownOpenings(
        identity=identity,
        groups=groups,
        continuations=counts,
        different={agent: _some_different(connection, agent) for agent in looked_up},
        unjudged=frozenset(
            agent
            for agent in connection.scalars(
                select(agents.c.name).where(agents.c.gate == GATE_OFF, agents.c.name.in_(looked_up))
            )
            if not _has_evidence(connection, agent)
        ),
    )


def _has_evidence(connection: Connection, agent: str) -> bool:
    """Whether anything of the agent was ever held out: its prompts keep their roles then."""
    roles = [Role.GATE.value, Role.DEV.value]
    of_events = select(events.c.seq).where(
        events.c.agent == agent, events.c.status.in_(list(Status)), events.c.role.in_(roles)
    )
    of_captures = select(interactions.c.id).where(
        interactions.c.agent == agent, interactions.c.role.in_(roles)
    )
    return any(connection.scalar(query.limit(1)) is not None for query in (of_events, of_captures))


def _some_different(connection: Connection, agent: str) -> set[str]:
    continued = select(openings.c.continues).where(
        openings.c.agent == agent, openings.c.continues.is_not(None)
    )
    return set(connection.scalars(continued.distinct().limit(OPENINGS_ENOUGH)))
