"""A ledger of its own for one attack: stores what people said, plans a turn, and has the gate judge it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from daemon.learning.turns.material import TurnLimits
from daemon.learning.turns.parts import FIRST_TRY
from daemon.learning.turns.planning import plan_turn
from daemon.setting_groups.learning import LearningSettings
from daemon.settings import GateSettings
from engine.measurements import Absent
from examples.house_rules.recipe import RECIPE
from feedback.grouping import openings_of
from ledger.database import Database
from ledger.events import Arrival, Batch, Event, Partition
from ledger.heartbeat import hold_leases
from ledger.intake import transaction
from ledger.learning import backlog, event_queries, passes, turns
from ledger.learning.agents import Agent, all_agents, declare
from ledger.learning.turns import Turn
from ledger.leases import TTL_S_MAX
from ledger.turn_states import TurnPart
from ledger.versions.decisions import Verdict
from ledger.versions.evidence import Pair
from ledger.versions.lineage import BASE, Version
from serving.fleet.gate import AnswerStatistics, GateEvidence, GateLimits, judge
from serving.fleet.parity import Parity
from serving.fleet.questions import gate_questions, read_supporters
from serving.fleet.suite import suite_questions
from serving.scoring.scorers import score

_PARTITION = Partition(cluster_id="c", topic="clorad.feedback", topic_id="t", number=0)
_SAME = Parity(probes=1, tokens=1, distance_nats=1.0, difference_nats=0.0, base_difference_nats=0.0)


def store(database: Database, agent: str, scorer: str, events: Sequence[Event]) -> None:
    """Keep the events, in order, in a new ledger with one agent. Roles are given as always, by its key."""
    database.migrate()
    declare(database, Agent(name=agent, base_hash="b" * 64, scorer=scorer, recipe=RECIPE))
    start = transaction.start_at(database, _PARTITION, 0)
    arrivals = tuple(
        Arrival(
            offset=start + place,
            key=None,
            value=None,
            headers=(),
            content=replace(event, openings=openings_of(event.data["messages"])),
        )
        for place, event in enumerate(events)
    )
    batch = Batch(partition=_PARTITION, start=start, end=start + len(arrivals), arrivals=arrivals)
    transaction.keep(database, [batch], dead_letter_topic="clorad.dead-letters")


def judged(
    database: Database,
    agent: str,
    learner: Any,
    prompts: Mapping[str, Any],
    *,
    authors_min: int,
) -> Verdict | None:
    """The gate's verdict on what the learner made of a turn; None where planning left nothing to train."""
    learning = LearningSettings()
    limits = TurnLimits(
        new_max=learning.events_max,
        replay_max=learning.replay_max,
        anchors_max=learning.anchors_max,
        settle_s=learning.settle_s,
        authors_min=authors_min,
    )
    name = turns.lease_name(agent)
    with hold_leases(database, [name], holder="bench", ttl_s=TTL_S_MAX) as leased:
        with database.read() as connection:
            [waiting] = backlog.backlogs(connection)
            token = leased.tokens[name]
            planned = plan_turn(
                connection,
                all_agents(connection)[agent],
                waiting,
                token=token,
                limits=limits,
                readiness=FIRST_TRY,
            )
        event_queries.mark(database, planned.marks)
        if planned.plan is None:
            return None
        opened = passes.open_pass(database, [planned.plan], holder="bench", form={})
    [turn] = opened.turns
    learner.learn(database, turn)
    return _verdict(database, turn, learner, prompts, authors_min)


def turn_about(database: Database, turn: Turn) -> list[Event]:
    """The new events of a turn."""
    seqs = [event.seq for event in turn.plan.events if event.part is TurnPart.NEW]
    with database.read() as connection:
        return [kept.event for kept in event_queries.events_by_seq(connection, seqs).values()]


def _verdict(
    database: Database, turn: Turn, learner: Any, prompts: Mapping[str, Any], authors_min: int
) -> Verdict:
    plan, settings = turn.plan, GateSettings()
    limits = GateLimits(
        alpha=settings.alpha,
        kl_nats_max=None,
        authors_min=authors_min,
        suite_min=settings.suite_min,
    )
    candidate = Version(
        agent=plan.agent,
        number=1,
        hash="c" * 64,
        base_hash="b" * 64,
        parent=BASE,
        turn_id=turn.id,
        through_seq=plan.through_seq,
        path="",
        made_s=0.0,
    )
    with database.read() as connection:
        scorer = all_agents(connection)[plan.agent].scorer
        supporters = read_supporters(connection, plan.agent, authors_min=authors_min)
        gate = gate_questions(connection, candidate, supporters, limit=128)
        suite = suite_questions(connection, candidate, supporters, limit=settings.suite_max, settle_s=3600.0)

    questions = (*gate, *suite)
    answers = learner.answers([question.messages for question in questions]) if questions else []
    pairs = [
        Pair(
            event=question.event,
            before=score(scorer, prompts[str(question.messages[-1]["content"])].old, question.wanted),
            after=score(scorer, answer, question.wanted),
        )
        for question, answer in zip(questions, answers, strict=True)
    ]
    evidence = GateEvidence(
        attempt=plan.attempt,
        gate=tuple(pairs[: len(gate)]),
        suite=tuple(pairs[len(gate) :]),
        authors={question.event: question.author for question in questions if question.author},
        before=AnswerStatistics(),
        after=AnswerStatistics(),
        parity=_SAME,
        kl_nats=Absent("a benchmark has no budget"),
    )
    return judge(evidence, limits).verdict
