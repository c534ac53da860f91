"""Plans an agent's turn from its backlog: which events are new, which are repeated, which answers must stay.

Planning reads the ledger as it is now and writes down everything it chose. Training, and training again after
a crash, read only that plan.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from daemon.learning.turns.material import TurnLimits, TurnMaterial, read_material
from daemon.learning.turns.parts import Readiness, choose_new
from daemon.learning.turns.remedies import adjusted_recipe, anchors_of
from engine.recipe import Recipe, recipe_from, recipe_values
from ledger.database import Connection
from ledger.events import (
    CORRECTING,
    NEWER_CORRECTION,
    WAITS_FOR_ANOTHER,
    KeptEvent,
    Kind,
    Status,
)
from ledger.learning.agents import Agent
from ledger.learning.backlog import Backlog
from ledger.learning.judged import judged_apart, judged_through
from ledger.learning.turns import TurnEvent, TurnPlan
from ledger.turn_states import TurnPart
from ledger.versions.decisions import newest_seq
from ledger.versions.gate_modes import GateMode
from rewards.baseline import baselines_to_json
from rewards.batch import TurnSelection, choose
from rewards.contradictions import contradictions
from rewards.credit import DEMONSTRATING
from rewards.episode import Part
from rewards.exchange import History
from rewards.labelling import settle_for_planning
from rewards.silence import is_silence, unopposed
from rewards.supporters import SHOWING

CONTEST_WINDOW_S = 7 * 24 * 3600.0
"""Corrections of one prompt by different people within this time are a disagreement, not a change of rule."""

Marks = dict[int, tuple[Status, str]]  # by `seq`: the new status of an event, and why

_USABLE = (Status.OPEN, "it can be labelled now")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTurn:
    """A turn worth opening, if there is one, and the events whose status changes."""

    plan: TurnPlan | None
    marks: Mapping[int, tuple[Status, str]]


def plan_turn(
    connection: Connection,
    agent: Agent,
    backlog: Backlog,
    *,
    token: int,
    limits: TurnLimits,
    readiness: Readiness,
) -> PlannedTurn:
    """The agent's next turn. Its `plan` is None where nothing in the backlog can teach, or be tried now."""
    recipe = recipe_from(agent.recipe)
    limits = _limits_of(agent, recipe, limits)
    through = newest_seq(connection, agent.name)
    material = read_material(connection, agent.name, backlog.champion, limits, recipe)
    marks = _disputes(material)
    marks = _unsupported(material, but=marks) | marks
    undisputed = replace(
        material,
        waiting=[kept for kept in material.waiting if marks.get(kept.seq, _USABLE) == _USABLE],
        taught=[kept for kept in material.taught if kept.seq not in marks],
        gate=[kept for kept in material.gate if kept.seq not in marks],
        dev=[kept for kept in material.dev if kept.seq not in marks],
    )
    marks |= _labels(undisputed)
    judged_seq = judged_through(connection, agent.name, backlog.champion)
    judged = judged_apart(connection, agent.name, backlog.champion)
    chosen = choose_new(
        readiness,
        [kept for kept in undisputed.waiting if marks.get(kept.seq, _USABLE) == _USABLE],
        gate=[k for k in undisputed.gate if k.seq > judged_seq and k.event.uid not in judged],
        history=material.background.history,
    )
    marks |= chosen.alone
    if not chosen.new:
        return PlannedTurn(plan=None, marks=marks)
    remedies = () if chosen.retry is None else chosen.retry.remedies
    anchors_max, similar_share = anchors_of(remedies, anchors_max=limits.anchors_max)
    attempt = backlog.refusals + 1
    seed = _seed(agent.name, through, attempt)
    history = History(interactions=material.background.interactions, conversations={}).including(
        material.replies
    )
    choice = choose(
        new=chosen.new,
        taught=[kept for kept in undisputed.taught if kept.seq not in marks],
        approvals=material.approvals,
        silent=_silent(material, history),
        gate=undisputed.gate,
        dev=undisputed.dev,
        interactions=history.interactions,
        supporters=material.supporters,
        seed=seed,
        replay_max=limits.replay_max,
        anchors_max=anchors_max,
        similar_share=similar_share,
    )
    plan = TurnPlan(
        agent=agent.name,
        parent=backlog.champion,
        recipe=recipe_values(adjusted_recipe(recipe, remedies)),
        labelling=baselines_to_json(material.baselines),
        seed=seed,
        attempt=attempt,
        through_seq=through,
        token=token,
        events=tuple(_members(choice)),
        replies=tuple(kept.event.id for kept in choice.parts[Part.ANCHOR] if is_silence(kept.event)),
        retry=chosen.retry,
        judged_seq=judged_seq if chosen.retry is not None and chosen.retry.is_apart else None,
    )
    return PlannedTurn(plan=plan, marks=marks)


def _limits_of(agent: Agent, recipe: Recipe, limits: TurnLimits) -> TurnLimits:
    """The limits, without room for what no step of the recipe would show the agent.

    One person is enough where the gate is off: users are answered by none of these versions.
    """
    return replace(
        limits,
        replay_max=limits.replay_max if recipe.replay_per_step else 0,
        anchors_max=limits.anchors_max if recipe.anchors_per_step else 0,
        authors_min=1 if agent.gate is GateMode.OFF else limits.authors_min,
    )


def _silent(material: TurnMaterial, history: History) -> list[KeptEvent]:
    """Replies that nobody objected to, as approvals; not where a correction, of any role, says otherwise."""
    events = [*material.waiting, *material.taught, *material.gate, *material.dev]
    corrections = [kept for kept in events if kept.event.kind in CORRECTING]
    return unopposed(material.replies, corrections, history=history, supporters=material.supporters)


def _disputes(material: TurnMaterial) -> Marks:
    """Corrections that contradict each other: one of them counts, or a person has to decide."""
    disputes = contradictions(
        [*material.waiting, *material.taught, *material.gate, *material.dev, *material.unconfirmed],
        interactions=material.background.interactions,
        window_s=CONTEST_WINDOW_S,
        supporters=material.supporters,
    )
    marks: Marks = {}
    for seq, other in disputes.contested.items():
        marks[seq] = (Status.CONTESTED, f"people disagree about this prompt: event {other}")
    for old, newer in disputes.superseded.items():
        marks[old] = (Status.SUPERSEDED, f"{NEWER_CORRECTION}: event {newer}")
    return marks


def _unsupported(material: TurnMaterial, *, but: Marks) -> Marks:
    """Corrections that wait for another person, and those that waited for one who has come."""
    marks: Marks = {}
    alone = {
        kept.event.key
        for kept in (*material.waiting, *material.unconfirmed, *material.background.amended)
        if kept.event.kind in SHOWING and kept.event.key and not material.supporters.are_enough(kept.seq)
    }
    for kept in (*material.waiting, *material.gate, *material.dev):
        shows = kept.event.kind in SHOWING and not material.supporters.are_enough(kept.seq)
        if shows or (kept.event.kind is Kind.OUTCOME and kept.event.amends in alone):
            marks[kept.seq] = (Status.WAITING, WAITS_FOR_ANOTHER)
    for kept in material.unconfirmed:
        is_outcome = kept.event.kind is Kind.OUTCOME
        if kept.event.amends not in alone if is_outcome else material.supporters.are_enough(kept.seq):
            marks[kept.seq] = _USABLE
    return {seq: mark for seq, mark in marks.items() if seq not in but}


def _labels(material: TurnMaterial) -> Marks:
    """New statuses: of waiting events, by whether an episode can be made of them; of taught events that an
    outcome reverted."""
    settled = settle_for_planning(
        material.waiting,
        history=material.background.history,
        baselines=material.baselines,
        around=(*material.taught, *material.approvals, *material.background.amended),
    )
    marks: Marks = {kept.seq: _USABLE for kept in material.waiting if kept.status is Status.WAITING}
    marks |= {seq: (Status.BARREN, reason) for seq, reason in settled.barren.items()}
    marks |= {seq: (Status.WAITING, reason) for seq, reason in settled.deferred.items()}
    for kept in (*material.waiting, *material.taught):
        if kept.seq in material.reverted and kept.event.kind in DEMONSTRATING:
            marks[kept.seq] = (Status.BARREN, "reverted later")
    return marks


def _members(choice: TurnSelection) -> list[TurnEvent]:
    return [
        TurnEvent(seq=kept.seq, part=TurnPart(part), revision=kept.event.revision)
        for part, members in choice.parts.items()
        for kept in members
        if not is_silence(kept.event)
    ]


def _seed(agent: str, through: int, attempt: int) -> int:
    """The same seed for the same attempt, another one for every other attempt."""
    digest = hashlib.sha256(f"{agent}/{through}/{attempt}".encode()).digest()
    return int.from_bytes(digest[:6], "big")
