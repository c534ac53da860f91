"""The ledger against a model of it in plain Python: the same stories, in the orders hypothesis finds.

The model knows no tables: it keeps events in a dict, lineages in lists, and derives everything else anew.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, select

from ledger import leases, schema
from ledger.database import Database
from ledger.errors import FlipRefused, TurnVoid
from ledger.events import TEACHING, Event, Kind, Role, Status
from ledger.intake import transaction
from ledger.learning import backlog, event_queries, passes, turns
from ledger.learning.agents import Agent, declare
from ledger.learning.turns import Turn
from ledger.reports.audit import against, audit
from ledger.versions import decisions, desired, lineage, promotion
from ledger.versions.decisions import Verdict
from ledger.versions.lineage import Version
from tests.unit.ledger.event_builder import DEAD_LETTERS, FEEDBACK, build_batch, build_event, build_retraction
from tests.unit.ledger.turn_builder import FORM, build_decision, build_plan, record

pytestmark = pytest.mark.slow

AGENTS = ("billing", "sql")
SETTINGS = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
USABLE = (Status.OPEN, Status.KNOWN, Status.BARREN)


@dataclass
class Kept:
    event: Event
    seq: int
    status: Status


@dataclass
class Made:
    version: Version
    taught: tuple[int, ...]
    verdicts: list[Verdict] = field(default_factory=list)


@dataclass
class Learner:
    """What the model knows of one agent."""

    champion: int = 0
    made: dict[int, Made] = field(default_factory=dict)
    turn: Turn | None = None
    token: int = 0
    stolen: bool = False
    tries: int = 0

    @property
    def lineage(self) -> list[int]:
        line = [self.champion]
        while line[-1]:
            line.append(self.made[line[-1]].version.parent)
        return line

    @property
    def taught(self) -> set[int]:
        return {seq for number in self.lineage if number for seq in self.made[number].taught}

    @property
    def candidate(self) -> Made | None:
        settled = {Verdict.PROMOTE, Verdict.REFUSE, Verdict.ABSTAIN, Verdict.ROLLBACK}
        return next((version for version in self.made.values() if not settled & set(version.verdicts)), None)


agents = st.sampled_from(AGENTS)


class LedgerStates(RuleBasedStateMachine):
    """The rules are what can happen; the invariants what must hold after each."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        for name in AGENTS:
            declare(self.database, Agent(name=name, base_hash="b"))
        self.events: dict[str, Kept] = {}
        self.retractions: dict[str, Event] = {}  # by the uid of the target
        self.agents = {name: Learner() for name in AGENTS}
        self.offset = 0
        self.rows = 0

    def teardown(self) -> None:
        with self.database.read() as connection:
            result = against(audit(connection), {("t1", 0): self.offset})
        assert result.disagreements == ()
        assert [partition.next_offset for partition in result.partitions] in ([], [self.offset])
        self.database.close()

    # ── what people say ──────────────────────────────────────────────────────────────────────────

    @initialize()
    def begin(self) -> None:
        transaction.start_at(self.database, FEEDBACK, 0)

    def keep(self, event: Event, holes: int = 0) -> transaction.Kept:
        done = transaction.keep(
            self.database,
            [build_batch(self.offset, [event], holes=holes)],
            dead_letter_topic=DEAD_LETTERS,
        )
        self.offset += 1 + holes
        return done

    @rule(
        agent=agents,
        kind=st.sampled_from([Kind.CORRECTION, Kind.CORRECTION, Kind.APPROVE, Kind.ABORT]),
        role=st.sampled_from([Role.TRAIN, Role.TRAIN, Role.GATE, Role.DEV]),
        key=st.sampled_from([None, None, "k"]),
        revision=st.integers(1, 3),
        holes=st.integers(0, 2),
    )
    def say(self, agent: str, kind: Kind, role: Role, key: str | None, revision: int, holes: int) -> None:
        event = build_event(f"e{self.rows}", agent=agent, kind=kind, role=role, key=key, revision=revision)
        assert self.keep(event, holes).stored == 1
        self.note(event, Status.OPEN)
        if retraction := self.retractions.get(event.uid):
            if retraction.agent == agent:
                self.events[event.uid].status = Status.RETRACTED
            else:
                self.events[retraction.uid].status = Status.NOT_YOURS
        same = [
            kept
            for kept in self.events.values()
            if key and (kept.event.agent, kept.event.key, kept.event.kind) == (agent, key, kind)
        ]
        newest = max((kept.event.revision for kept in same), default=0)
        for kept in same:
            if kept.event.revision < newest and kept.status is Status.OPEN:
                kept.status = Status.SUPERSEDED

    @precondition(lambda self: self.events)
    @rule(data=st.data(), other_body=st.booleans())
    def say_again(self, data: st.DataObject, other_body: bool) -> None:
        event = data.draw(st.sampled_from(sorted(self.events.values(), key=lambda kept: kept.seq))).event
        again = build_event(event.id, agent=event.agent, digest="another" if other_body else event.digest)
        done = self.keep(again)
        assert (done.stored, done.duplicates, sum(done.dead.values())) == (
            0,
            int(not other_body),
            int(other_body),
        )

    @precondition(lambda self: self.rows > 2)
    @rule(data=st.data(), known=st.booleans())
    def retract(self, data: st.DataObject, known: bool) -> None:
        uttered = sorted(kept.event.id for kept in self.events.values() if kept.event.kind in TEACHING)
        target = data.draw(st.sampled_from(uttered)) if known and uttered else f"e{self.rows + 1}"
        stored = self.events.get(f"dev#{target}")
        agent = data.draw(agents) if stored is None else stored.event.agent
        event = build_retraction(f"r{self.rows}", target, agent=agent)
        assert self.keep(event).stored == 1
        self.note(event, Status.APPLIED)
        self.retractions[f"dev#{target}"] = event
        if stored is not None:
            stored.status = Status.RETRACTED

    def note(self, event: Event, status: Status) -> None:
        self.rows += 1
        self.events[event.uid] = Kept(event=event, seq=self.rows, status=status)

    # ── what learners do ─────────────────────────────────────────────────────────────────────────

    @rule(agent=agents)
    def open_turn(self, agent: str) -> None:
        known = self.agents[agent]
        if known.turn is not None or known.candidate is not None or not self.untaught(agent):
            return
        name = turns.lease_name(agent)
        token = leases.acquire(self.database, [name], holder="learner", ttl_s=10)[name]
        opened = passes.open_pass(
            self.database, [build_plan(self.database, agent, token)], holder="learner", form=FORM
        )
        known.turn, known.token, known.stolen = opened.turns[0], token, False
        known.tries += 1
        assert known.turn.number == known.tries

    @rule(agent=agents)
    def lose_the_lease(self, agent: str) -> None:
        known, name = self.agents[agent], turns.lease_name(agent)
        if known.turn is None or known.stolen:
            return
        leases.release(self.database, {name: known.token})
        assert leases.acquire(self.database, [name], holder="another", ttl_s=10)
        leases.release(self.database, {name: known.token + 1})
        known.stolen = True

    @rule(agent=agents)
    def finish(self, agent: str) -> None:
        known = self.agents[agent]
        if (turn := known.turn) is None:
            return
        new = [event.seq for event in turn.plan.events]
        if known.stolen or known.champion != turn.plan.parent or not self.unchanged(new):
            with pytest.raises(TurnVoid):
                record(self.database, turn)
            turns.void_turn(self.database, turn, token=known.token, reason="its world changed")
        else:
            made = record(self.database, turn)
            known.made[made.number] = Made(version=made, taught=tuple(new))
        known.turn = None

    @rule(agent=agents, events=st.integers(1, 3), verdict=st.sampled_from([Verdict.PROMOTE, None]))
    def learn(self, agent: str, events: int, verdict: Verdict | None) -> None:
        """A whole turn in one step: without it hypothesis rarely gets as far as a lineage."""
        for _ in range(events):
            self.say(agent, Kind.CORRECTION, Role.TRAIN, None, 1, 0)
        self.open_turn(agent)
        self.finish(agent)
        if verdict is not None:
            self.decide(agent, verdict)

    # ── what the gate and people decide ──────────────────────────────────────────────────────────

    @rule(
        agent=agents,
        verdict=st.sampled_from([Verdict.PROMOTE, Verdict.PROMOTE, Verdict.REFUSE, Verdict.ABSTAIN]),
    )
    def decide(self, agent: str, verdict: Verdict) -> None:
        known = self.agents[agent]
        if (candidate := known.candidate) is None:
            return
        if verdict is Verdict.PROMOTE:
            decided = build_decision(candidate.version, verdict)
            if not self.unchanged(candidate.taught):
                with pytest.raises(FlipRefused):
                    promotion.promote(self.database, candidate.version, decided)
                return
            promotion.promote(self.database, candidate.version, decided)
            known.champion = candidate.version.number
        else:
            with self.database.write() as connection:
                decisions.decide(connection, build_decision(candidate.version, verdict))
        candidate.verdicts.append(verdict)

    @rule(agent=agents, back=st.integers(0, 3))
    def roll_back(self, agent: str, back: int) -> None:
        known, line = self.agents[agent], self.agents[agent].lineage
        if back == 0 or back >= len(line):
            with pytest.raises(FlipRefused):
                promotion.roll_back(
                    self.database, agent, to=line[0] if back == 0 else 99, by="ann", reason=""
                )
            return
        promotion.roll_back(self.database, agent, to=line[back], by="ann", reason="")
        if (candidate := known.candidate) is not None:
            candidate.verdicts.append(Verdict.ABSTAIN)
        for number in line[:back]:
            known.made[number].verdicts.append(Verdict.ROLLBACK)
            for kept in self.events.values():
                if kept.seq in known.made[number].taught and kept.status is Status.OPEN:
                    kept.status = Status.HELD
        known.champion = line[back]

    # ── what must hold ───────────────────────────────────────────────────────────────────────────

    def unchanged(self, seqs: tuple[int, ...] | list[int]) -> bool:
        by_seq = {kept.seq: kept for kept in self.events.values()}
        return all(by_seq[seq].status in USABLE for seq in seqs)

    def untaught(self, agent: str) -> list[int]:
        taught = self.agents[agent].taught
        return sorted(
            kept.seq
            for kept in self.events.values()
            if kept.event.agent == agent
            and kept.status is Status.OPEN
            and kept.event.role is Role.TRAIN
            and kept.event.kind in TEACHING
            and kept.seq not in taught
        )

    @invariant()
    def both_tell_the_same(self) -> None:
        with self.database.read() as connection:
            rows = connection.execute(select(schema.events.c.seq, schema.events.c.status)).all()
            assert {row.seq: row.status for row in rows} == {
                kept.seq: kept.status for kept in self.events.values()
            }
            for state in backlog.backlogs(connection):
                self.agent_is_as_it_should(connection, state, self.agents[state.agent])
            unfinished = passes.unfinished_passes(connection)
        running = {agent for agent, known in self.agents.items() if known.turn is not None}
        assert {
            turn.plan.agent for unfinished_pass in unfinished for turn in unfinished_pass.turns
        } == running

    def agent_is_as_it_should(self, connection: Connection, state: backlog.Backlog, known: Learner) -> None:
        waiting = [kept.seq for kept in event_queries.untaught(connection, state.agent, limit=1000)]
        assert waiting == self.untaught(state.agent)
        assert state.untaught == len(waiting)
        assert state.champion == desired.champion(connection, state.agent) == known.champion
        assert state.has_candidate == (known.candidate is not None)
        assert lineage.lineage_of(connection, state.agent, known.champion) == known.lineage
        decided = [
            decision.verdict for decision in decisions.decisions_of(connection, state.agent, known.champion)
        ]
        assert (Verdict.PROMOTE if known.champion else Verdict.INITIAL) in decided


@pytest.mark.timeout(600)
def test_the_ledger_and_a_plain_model_tell_the_same(anew: Callable[[], Database]) -> None:
    run_state_machine_as_test(lambda: LedgerStates(anew()), settings=SETTINGS)
