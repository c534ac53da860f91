"""Captured replies that nobody objected to: what an agent may be held to where nobody approves."""

from dataclasses import dataclass

from sqlalchemy import Connection, String, cast, exists, func, or_, select

from ledger.database import now_s
from ledger.events import Interaction, Kind, Role, Status
from ledger.intake.withdrawn import GONE, was_reverted
from ledger.learning.event_queries import interaction_of_row
from ledger.schema import events, interactions
from ledger.versions.lineage import BASE, lineage_of, version_name, versions_of

NEWEST_MAX = 1000
"""Replies that are looked at: a turn and a no-harm suite have room for a few hundred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StayingReplies:
    """How many replies of an agent are known that must stay as they are: approved, or left alone."""

    anchors: int  # of role train
    suite: int  # of role gate


def staying_replies(
    connection: Connection, agent: str, *, champion: int, settle_s: float, enough: int
) -> StayingReplies:
    """Counts of the replies that a turn and a no-harm suite can show; of captured ones `enough` at most."""
    query = select(events.c.role, func.count()).where(
        events.c.agent == agent,
        events.c.kind == Kind.APPROVE.value,
        events.c.status == Status.OPEN.value,
        ~was_reverted(),
    )
    approved = {row[0]: int(row[1]) for row in connection.execute(query.group_by(events.c.role))}

    def known(role: Role) -> int:
        count = approved.get(role.value, 0)
        if count >= enough:
            return count
        return count + len(
            silent_replies(connection, agent, champion=champion, role=role, settle_s=settle_s, newest=enough)
        )

    return StayingReplies(anchors=known(Role.TRAIN), suite=known(Role.GATE))


def silent_replies(
    connection: Connection,
    agent: str,
    *,
    champion: int,
    role: Role,
    settle_s: float,
    newest: int = NEWEST_MAX,
) -> list[Interaction]:
    """The `newest` complete replies of the champion and its ancestors that nobody objected to, oldest first.

    People had `settle_s` seconds to object. An objection is any event but an approval that names the reply,
    its conversation, or another reply of its conversation: what follows a wrong turn was said after it. A
    reply that was cut short, or whose text was redacted, is left out, and so is one of several choices:
    silence does not say which of them somebody read.
    """
    line = frozenset(lineage_of(connection, agent, champion))
    names = [version.name for version in versions_of(connection, agent) if version.number in line]
    objects = (
        events.c.agent == interactions.c.agent,
        events.c.kind.not_in([Kind.APPROVE.value, Kind.RETRACTION.value]),
        events.c.status.not_in(GONE),
    )
    # Several conditions instead of one, so that the database uses an index for each.
    to_reply = exists().where(*objects, events.c.interaction == interactions.c.id)
    to_conversation = exists().where(*objects, events.c.conversation == interactions.c.conversation)
    named = interactions.alias("named")
    to_another_turn = (
        select(1)
        .select_from(named.join(events, events.c.interaction == named.c.id))
        .where(*objects, named.c.agent == interactions.c.agent)
        .where(named.c.conversation == interactions.c.conversation)
        .correlate(interactions)
        .exists()
    )
    query = (
        select(interactions)
        .where(
            interactions.c.agent == agent,
            interactions.c.role == role.value,
            interactions.c.version.in_([version_name(BASE, ""), *names]),
            interactions.c.received_s <= now_s(connection) - settle_s,
            interactions.c.finish_reason.in_(("stop", "tool_calls")),
            or_(interactions.c.completion != "", interactions.c.reply.is_not(None)),
            interactions.c.forgotten.is_(None),
            func.coalesce(cast(interactions.c.sampling["n"].as_string(), String), "1") == "1",
            ~to_reply,
            ~to_conversation,
            ~to_another_turn,
        )
        .order_by(interactions.c.received_s.desc(), interactions.c.id)
        .limit(newest)
    )
    return [interaction_of_row(row) for row in connection.execute(query)][::-1]
