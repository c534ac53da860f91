"""From an agent's backlog to a turn in writing, and from a turn in writing to a lesson for the engine.

Planning looks at the world and writes down what it chose. Preparing looks only at what was written, so
that a pass trained again, after a crash or for `clorad replay`, is the same pass.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from engine.lesson import Lesson
from engine.recipe import recipe_from, recipe_values
from ledger import feedback
from ledger.agents import Agent, all_agents
from ledger.backlog import Backlog
from ledger.database import Database
from ledger.events import CORRECTING, Interaction, KeptEvent, Kind, Role, Status
from ledger.turns import Turn, TurnEvent, TurnPlan
from ledger.versions import BASE, Version, newest_seq, version
from rewards.baseline import usual
from rewards.batch import Choice, choose
from rewards.contradictions import contradictions
from rewards.credit import label
from rewards.episode import Part

CONTEST_WINDOW_S = 7 * 24 * 3600.0
"""Corrections of one prompt by different people within this time are a disagreement, not a change of rule."""

OUTCOMES_LAST = 200
"""Outcomes whose mean is the baseline of the next ones."""

_AGENT = "agent"  # JSON has no key None; prompt groups are hex digests

Marks = Mapping[int, tuple[Status, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a turn may be, in events."""

    new_max: int
    replay_max: int
    anchors_max: int
    refusals_max: int  # of candidates an event was new in, until a person has to look at it


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What planning found: a turn worth opening, if any, and events whose standing it changes."""

    plan: TurnPlan | None
    marks: Marks


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A turn ready for the engine."""

    lesson: Lesson
    parent: Version | None
    weight: float  # of the agent, when training time is shared
    new: Mapping[str, int]  # uid -> seq of the events this turn is about
    uids: Mapping[str, Sequence[str]]  # part -> uids


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """Everything planning and preparing read about a set of events."""

    interactions: Mapping[str, Interaction]
    conversations: Mapping[str, Sequence[Interaction]]
    amended: Sequence[KeptEvent]


def plan_turn(
    connection: Connection, agent: Agent, backlog: Backlog, *, token: int, limits: Limits
) -> Planned:
    """Choose what the agent's next turn is about. `plan` is None where nothing in the backlog can teach."""
    through = newest_seq(connection, agent.name)
    waiting = feedback.untaught(connection, agent.name, limit=limits.new_max)
    waiting += feedback.unripe(connection, agent.name, limit=limits.new_max - len(waiting))
    taught = feedback.taught(connection, agent.name)
    approvals = feedback.usable(connection, agent.name, role=Role.TRAIN, kinds=(Kind.APPROVE,))
    gate = feedback.usable(connection, agent.name, role=Role.GATE, kinds=CORRECTING)
    dev = feedback.usable(connection, agent.name, role=Role.DEV, kinds=CORRECTING)
    world = _world(connection, agent.name, [*waiting, *taught, *approvals, *gate, *dev])
    disputes = contradictions([*waiting, *taught], interactions=world.interactions, window_s=CONTEST_WINDOW_S)
    marks: dict[int, tuple[Status, str]] = {}
    for old, newer in disputes.superseded.items():
        marks[old] = (Status.SUPERSEDED, f"a newer correction of the same prompt: event {newer}")
    for seq in disputes.contested:
        marks[seq] = (Status.CONTESTED, "people disagree about this prompt")
    refused = feedback.often_refused(connection, agent.name, times=limits.refusals_max)
    for seq in sorted(refused & {kept.seq for kept in waiting}):
        marks.setdefault(seq, (Status.CONTESTED, f"in {limits.refusals_max} candidates the gate refused"))
    waiting = [kept for kept in waiting if kept.seq not in marks]
    taught = [kept for kept in taught if kept.seq not in marks]
    outcomes = feedback.outcomes(connection, agent.name, last=OUTCOMES_LAST)
    baselines = usual(outcomes, last=OUTCOMES_LAST)
    labelled = label(
        waiting,
        interactions=world.interactions,
        conversations=world.conversations,
        baselines=baselines,
        known=_others(waiting, taught, approvals, world.amended),
    )
    marks.update({seq: (Status.BARREN, reason) for seq, reason in labelled.barren.items()})
    marks.update({seq: (Status.WAITING, reason) for seq, reason in labelled.held.items()})
    new = [kept for kept in waiting if kept.seq not in marks]
    marks.update({kept.seq: (Status.OPEN, "ripe") for kept in new if kept.status is Status.WAITING})
    if not new:
        return Planned(plan=None, marks=marks)
    attempt = backlog.refusals + 1
    seed = _seed(agent.name, through, attempt)
    choice = choose(
        new=new,
        taught=taught,
        approvals=approvals,
        gate=gate,
        dev=dev,
        interactions=world.interactions,
        seed=seed,
        replay_max=limits.replay_max,
        anchors_max=limits.anchors_max,
    )
    plan = TurnPlan(
        agent=agent.name,
        parent=backlog.champion,
        recipe=recipe_values(recipe_from(agent.recipe)),
        labelling={group or _AGENT: mean for group, mean in baselines.items()},
        seed=seed,
        attempt=attempt,
        through_seq=through,
        token=token,
        events=tuple(_members(choice)),
    )
    return Planned(plan=plan, marks=marks)


def prepare(database: Database, store: Path, turn: Turn) -> Prepared:
    """The lesson a turn's record describes; the same every time the events' texts are the same."""
    plan = turn.plan
    with database.read() as connection:
        events = feedback.events_by_seq(connection, (one.seq for one in plan.events))
        parent = None if plan.parent == BASE else version(connection, plan.agent, plan.parent)
        weight = all_agents(connection)[plan.agent].weight
        world = _world(connection, plan.agent, list(events.values()))
    parts = {part: [events[one.seq] for one in plan.events if one.part == part] for part in Part}
    baselines = {None if group == _AGENT else group: mean for group, mean in plan.labelling.items()}
    episodes = tuple(
        episode
        for part, members in parts.items()
        for episode in label(
            members,
            interactions=world.interactions,
            conversations=world.conversations,
            baselines=baselines,
            planned=True,
            known=_others(members, events.values(), world.amended),
            part=part,
        ).episodes
    )
    lesson = Lesson(
        agent=plan.agent,
        parent=None if parent is None else store / parent.path,
        recipe=recipe_from(plan.recipe),
        seed=plan.seed,
        episodes=episodes,
    )
    return Prepared(
        lesson=lesson,
        parent=parent,
        weight=weight,
        new={kept.event.uid: kept.seq for kept in parts[Part.NEW]},
        uids={part.value: [kept.event.uid for kept in members] for part, members in parts.items()},
    )


def _others(members: Sequence[KeptEvent], *groups: Iterable[KeptEvent]) -> list[KeptEvent]:
    """Every event of the groups that is not a member, once."""
    mine = {kept.seq for kept in members}
    found = {kept.seq: kept for group in groups for kept in group if kept.seq not in mine}
    return [found[seq] for seq in sorted(found)]


def _members(choice: Choice) -> list[TurnEvent]:
    return [
        TurnEvent(seq=kept.seq, part=part.value, revision=kept.event.revision)
        for part, members in choice.parts.items()
        for kept in members
    ]


def _world(connection: Connection, agent: str, events: Sequence[KeptEvent]) -> _World:
    """What was captured of the work these events are about, and what the amendments among them amend."""
    named = [kept.event.interaction for kept in events if kept.event.interaction]
    interactions = feedback.interactions_named(connection, named)
    conversations = {kept.event.conversation for kept in events} | {
        one.conversation for one in interactions.values()
    }
    amended = [kept.event.amends for kept in events if kept.event.amends]
    return _World(
        interactions=interactions,
        conversations={
            name: feedback.conversation(connection, agent, name)
            for name in sorted(name for name in conversations if name)
        },
        amended=feedback.events_by_key(connection, agent, amended),
    )


def _seed(agent: str, through: int, attempt: int) -> int:
    """Another seed for every attempt, the same one for the same attempt."""
    digest = hashlib.sha256(f"{agent}/{through}/{attempt}".encode()).digest()
    return int.from_bytes(digest[:6], "big")
