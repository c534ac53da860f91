"""Prepares a recorded turn for the engine: reads its events and labels them into episodes.

Preparing reads only what planning wrote down. So a pass that is trained again, after a crash or for
`clorad replay`, is the same pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from daemon.learning.turns.staleness import stale_versions
from engine.lesson import Lesson
from engine.recipe import recipe_from
from ledger.database import Connection, Database
from ledger.events import Interaction, KeptEvent
from ledger.learning import event_queries
from ledger.learning.turns import Turn
from ledger.turn_states import TurnPart
from ledger.versions.lineage import BASE, Version, version
from rewards.baseline import baselines_from_json
from rewards.episode import Part, without_spans
from rewards.exchange import History
from rewards.labelling import episodes_of_turn
from rewards.silence import silent_approval


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedTurn:
    """A turn ready for the engine."""

    lesson: Lesson
    parent: Version | None
    new: Mapping[str, int]  # uid -> seq of the events that are new in this turn
    uids: Mapping[str, Sequence[str]]  # part -> uids
    traces: tuple[str, ...] = ()  # W3C traceparent of the new events, of those that have one


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """What belongs to a set of events: captured interactions, whole conversations, and events they amend."""

    interactions: Mapping[str, Interaction]
    conversations: Mapping[str, Sequence[Interaction]]
    amended: Sequence[KeptEvent]
    stale: Mapping[str, str]  # versions whose samples are too old to learn from, and why

    @property
    def history(self) -> History:
        """The captures, as labelling reads them."""
        return History(interactions=self.interactions, conversations=self.conversations, stale=self.stale)


def prepare_turn(database: Database, store: Path, turn: Turn) -> PreparedTurn:
    """The lesson that a turn's record describes; the same whenever the events' texts are the same."""
    plan = turn.plan
    with database.read() as connection:
        events = event_queries.events_by_seq(connection, (event.seq for event in plan.events))
        parent = None if plan.parent == BASE else version(connection, plan.agent, plan.parent)
        recipe = recipe_from(plan.recipe)
        stale = stale_versions(connection, plan.agent, plan.parent, staleness_max=recipe.staleness_max)
        background = read_background(
            connection,
            plan.agent,
            list(events.values()),
            stale,
            before_pass=turn.pass_id,
            through_seq=plan.through_seq,
        )
        replies = event_queries.interactions_named(connection, plan.replies)
    parts = {
        part: [events[event.seq] for event in plan.events if event.part is TurnPart(part)] for part in Part
    }
    parts[Part.ANCHOR] += [
        silent_approval(replies[id], seq=place - len(plan.replies))
        for place, id in enumerate(plan.replies)
        if id in replies
    ]
    history = background.history.including(replies.values())
    baselines = baselines_from_json(plan.labelling)
    episodes = tuple(
        episode
        for part, members in parts.items()
        for episode in episodes_of_turn(
            members,
            part=part,
            history=history,
            baselines=baselines,
            around=(*events.values(), *background.amended),
            outcome_discount=recipe.outcome_discount,
        )
    )
    lesson = Lesson(
        agent=plan.agent,
        parent=None if parent is None else store / parent.path,
        recipe=recipe,
        seed=plan.seed,
        episodes=episodes if recipe.spans else tuple(map(without_spans, episodes)),
    )
    return PreparedTurn(
        lesson=lesson,
        parent=parent,
        new={kept.event.uid: kept.seq for kept in parts[Part.NEW]},
        traces=tuple(trace for kept in parts[Part.NEW] if (trace := kept.event.trace) is not None),
        uids={part.value: [kept.event.uid for kept in members] for part, members in parts.items()},
    )


def read_background(
    connection: Connection,
    agent: str,
    events: Sequence[KeptEvent],
    stale: Mapping[str, str] = MappingProxyType({}),
    *,
    before_pass: int | None = None,
    through_seq: int | None = None,
) -> Background:
    """The captured interactions and conversations of these events, and the events that they amend.

    With `before_pass`, it is what was captured before that pass was opened: conversations go on while a turn
    is trained, and captures come late. With `through_seq`, no event that was stored later: people go on
    amending.
    """
    named = [kept.event.interaction for kept in events if kept.event.interaction]
    interactions = event_queries.interactions_named(connection, named, before_pass=before_pass)
    talks = {kept.event.conversation for kept in events} | {
        interaction.conversation for interaction in interactions.values()
    }
    amended = [kept.event.amends for kept in events if kept.event.amends]
    return Background(
        interactions=interactions,
        conversations=event_queries.conversations(
            connection, agent, filter(None, talks), before_pass=before_pass
        ),
        amended=event_queries.events_by_key(connection, agent, amended, through_seq=through_seq),
        stale=stale,
    )
