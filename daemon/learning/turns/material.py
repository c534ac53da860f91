"""Reads everything that a turn may be made of: events by their use, captures, baselines and supporters."""

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.learning.preparing import Background, read_background
from daemon.learning.turns.staleness import stale_versions
from engine.recipe import Recipe
from ledger.database import Connection
from ledger.events import CORRECTING, Interaction, KeptEvent, Kind, Role, Status
from ledger.intake.withdrawn import reverted
from ledger.learning import event_queries
from ledger.learning.silent_replies import silent_replies
from rewards.baseline import Baselines, recent_baselines, turn_baselines
from rewards.supporters import Supporters, find_supporters

OUTCOMES_LAST = 200
"""Outcomes whose mean is the baseline of the next ones."""

_STANDING = (Status.OPEN, Status.WAITING, Status.KNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLimits:
    """How large a turn may be, in events."""

    new_max: int
    replay_max: int
    anchors_max: int
    settle_s: float  # that people have to object to a captured reply
    authors_min: int  # people who must stand behind a correction before it is trained on


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnMaterial:
    """Everything that a turn may be made of."""

    waiting: Sequence[KeptEvent]
    taught: Sequence[KeptEvent]
    approvals: Sequence[KeptEvent]
    replies: Sequence[Interaction]  # captures that nobody objected to
    gate: Sequence[KeptEvent]
    dev: Sequence[KeptEvent]
    unconfirmed: Sequence[KeptEvent]  # of any role: they waited for another person so far
    supporters: Supporters
    background: Background
    baselines: Baselines
    reverted: frozenset[int]  # `seq` of waiting and taught events that an outcome reverted


def read_material(
    connection: Connection, agent: str, champion: int, limits: TurnLimits, recipe: Recipe
) -> TurnMaterial:
    """Read it as the ledger is now."""
    taught = event_queries.taught(connection, agent)
    approvals, praised, gate, dev = (
        event_queries.usable(connection, agent, role=role, kinds=kinds)
        for role, kinds in (
            (Role.TRAIN, (Kind.APPROVE,)),
            (Role.GATE, (Kind.APPROVE,)),
            (Role.GATE, CORRECTING),
            (Role.DEV, CORRECTING),
        )
    )
    unconfirmed = event_queries.unconfirmed(connection, agent)
    waiting = event_queries.untaught(
        connection, agent, limit=limits.new_max, newest_samples=recipe.staleness_max is not None
    )
    waiting += event_queries.not_labelled(connection, agent, limit=limits.new_max - len(waiting))
    background = read_background(
        connection,
        agent,
        [*waiting, *taught, *approvals, *praised, *gate, *dev, *unconfirmed],
        stale_versions(connection, agent, champion, staleness_max=recipe.staleness_max),
    )
    amended = [kept for kept in background.amended if kept.status in _STANDING]
    supporters = find_supporters(
        [*waiting, *taught, *gate, *dev, *unconfirmed, *amended],
        history=background.history,
        authors_min=limits.authors_min,
        approvals=[*approvals, *praised],
    )
    joined = [
        kept for kept in unconfirmed if kept.event.role is Role.TRAIN and supporters.are_enough(kept.seq)
    ]
    waiting += joined[: limits.new_max - len(waiting)]
    recent = recent_baselines(
        event_queries.outcomes(connection, agent, last=OUTCOMES_LAST), last=OUTCOMES_LAST
    )
    return TurnMaterial(
        waiting=waiting,
        taught=taught,
        approvals=approvals,
        replies=silent_replies(
            connection, agent, champion=champion, role=Role.TRAIN, settle_s=limits.settle_s
        ),
        gate=gate,
        dev=dev,
        unconfirmed=unconfirmed,
        supporters=supporters,
        background=background,
        reverted=reverted(connection, (kept.seq for kept in (*waiting, *taught))),
        baselines=turn_baselines(waiting, recent) if recipe.group_advantages else recent,
    )
