"""What becomes of every record, compared with a model in plain Python: a dict of ids and counts.

Batches of several partitions, repeats, conflicts, agents declared late, feedback before and after its
interaction, orphans, redriven letters, crashes inside the transaction, batches that come too late.
"""

from collections import Counter
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
from sqlalchemy import func, select

from ledger import schema
from ledger.database import Database
from ledger.errors import MovedOn
from ledger.events import Arrival, Batch, Partition, Reason, Status, UnusableRecord
from ledger.intake import transaction, waiting
from ledger.intake.redrive import redrive
from ledger.learning.agents import Agent, declare
from ledger.reports.audit import against, audit
from ledger.topic_names import FEEDBACK_TOPIC, INTERACTIONS_TOPIC
from tests.unit.ledger.event_builder import (
    DEAD_LETTERS,
    FEEDBACK,
    Content,
    build_event,
    build_interaction,
    build_retraction,
)

pytestmark = pytest.mark.slow

OTHER = Partition(cluster_id="c1", topic=FEEDBACK_TOPIC, topic_id="t1", number=1)
INTERACTIONS = Partition(cluster_id="c1", topic=INTERACTIONS_TOPIC, topic_id="t2", number=0)
SETTINGS = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@dataclass(frozen=True)
class ModelRecord:
    """One record as the model sees it."""

    kind: str  # event, retraction, interaction, broken
    id: str
    agent: str = "billing"
    body: str = "a"
    about: str | None = None  # the interaction an event names, the event a retraction takes back

    @property
    def content(self) -> Content:
        match self.kind:
            case "broken":
                return UnusableRecord(reason=Reason.INVALID_JSON, detail="line 1")
            case "interaction":
                return build_interaction(self.id, agent=self.agent)
            case "retraction":
                return build_retraction(self.id, str(self.about))
            case _:
                named = {"interaction": self.about, "role": None, "prompt_group": None} if self.about else {}
                return build_event(self.id, agent=self.agent, digest=self.digest, **named)

    @property
    def digest(self) -> str:
        content = f"{self.agent} {self.body} {self.about}"
        return f"digest of {self.id}" if self.kind == "retraction" else content


@dataclass
class PartitionCounts:
    """What the model knows of one partition."""

    end: int = 0
    records: int = 0
    stored: int = 0
    dead: int = 0
    duplicates: int = 0


@dataclass
class Model:
    agents: set[str] = field(default_factory=lambda: {"billing"})
    events: dict[str, tuple[ModelRecord, Partition]] = field(default_factory=dict)
    interactions: set[str] = field(default_factory=set)
    reasons: Counter[Reason] = field(default_factory=Counter)
    outbox_count: int = 0  # messages, ever
    undeclared: list[tuple[ModelRecord, Partition]] = field(default_factory=list)
    """Records of an agent that was not declared."""

    def take(self, record: ModelRecord, partition: Partition, counts: PartitionCounts) -> None:
        counts.records += 1
        if reason := self.reason(record):
            counts.dead += 1
            self.add_dead_letter(reason)
            if reason is Reason.UNKNOWN_AGENT:
                self.undeclared.append((record, partition))
        elif record.id in (self.interactions if record.kind == "interaction" else self.events):
            counts.duplicates += 1
        else:
            counts.stored += 1
            if record.kind == "interaction":
                self.interactions.add(record.id)
            else:
                self.events[record.id] = (record, partition)

    def reason(self, record: ModelRecord) -> Reason | None:
        if record.kind == "broken":
            return Reason.INVALID_JSON
        if record.agent not in self.agents:
            return Reason.UNKNOWN_AGENT
        known = self.events.get(record.id)
        is_other = record.kind != "interaction" and known is not None and known[0].digest != record.digest
        return Reason.CONFLICT if is_other else None

    def add_dead_letter(self, reason: Reason) -> None:
        self.reasons[reason] += 1
        self.outbox_count += 1

    def status(self, record: ModelRecord) -> Status:
        if record.kind == "retraction":
            target = self.events.get(str(record.about))
            is_of_another_agent = target is not None and target[0].agent != record.agent
            return Status.NOT_YOURS if is_of_another_agent else Status.APPLIED
        retracted = [
            (other.about, other.agent) for other, _ in self.events.values() if other.kind == "retraction"
        ]
        if (record.id, record.agent) in retracted:
            return Status.RETRACTED
        return Status.WAITING if record.about and record.about not in self.interactions else Status.OPEN


_ids = st.sampled_from("abcde")
_feedback = st.one_of(
    st.builds(
        ModelRecord, kind=st.just("event"), id=_ids, agent=st.sampled_from(["billing", "billing", "new"])
    ),
    st.builds(ModelRecord, kind=st.just("event"), id=_ids, body=st.sampled_from("ab")),
    st.builds(ModelRecord, kind=st.just("event"), id=_ids, about=st.sampled_from("ij")),
    st.builds(ModelRecord, kind=st.just("retraction"), id=st.sampled_from("rs"), about=_ids),
    st.just(ModelRecord("broken", "")),
)
_interactions = st.one_of(
    st.builds(ModelRecord, kind=st.just("interaction"), id=st.sampled_from("ij")),
    st.just(ModelRecord("broken", "")),
)
_batches = st.fixed_dictionaries(
    {},
    optional={
        FEEDBACK: st.lists(_feedback, min_size=1, max_size=6),
        OTHER: st.lists(_feedback, min_size=1, max_size=6),
        INTERACTIONS: st.lists(_interactions, min_size=1, max_size=2),
    },
)


class Killed(Exception):
    """Inside the transaction."""


class TransactionMachine(RuleBasedStateMachine):
    """The rules are what can happen; the invariants hold after each."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.model = Model()
        self.partitions = {partition: PartitionCounts() for partition in (FEEDBACK, OTHER, INTERACTIONS)}

    def teardown(self) -> None:
        self.database.close()

    @initialize()
    def begin(self) -> None:
        declare(self.database, Agent(name="billing", base_hash="b"))
        for partition in self.partitions:
            transaction.start_at(self.database, partition, 0)

    # ── what Kafka delivers ──────────────────────────────────────────────────────────────────────

    @rule(given=_batches, holes=st.integers(0, 2))
    def be_delivered(self, given: dict[Partition, list[ModelRecord]], holes: int) -> None:
        self.keep_and_compare(given, holes)

    @rule(first=_batches, then=_batches)
    def be_delivered_twice(
        self, first: dict[Partition, list[ModelRecord]], then: dict[Partition, list[ModelRecord]]
    ) -> None:
        self.keep_and_compare(first, 0)
        self.keep_and_compare(then, 1)

    def keep_and_compare(self, given: dict[Partition, list[ModelRecord]], holes: int) -> None:
        kept = self.keep(given, holes)
        before = Counter(self.model.reasons)
        for partition, records in given.items():
            counts = self.partitions[partition]
            for record in records:
                self.model.take(record, partition, counts)
            counts.end += len(records) + holes
        assert Counter(kept.dead) == self.model.reasons - before

    @rule(given=_batches)
    def be_killed(self, given: dict[Partition, list[ModelRecord]]) -> None:
        def reached(_: str) -> None:
            raise Killed

        with pytest.raises(Killed):
            self.keep(given, reached=reached)

    @precondition(lambda self: self.partitions[FEEDBACK].end)
    @rule(given=_batches, back=st.integers(1, 3))
    def come_too_late(self, given: dict[Partition, list[ModelRecord]], back: int) -> None:
        records = given.get(FEEDBACK, [ModelRecord("broken", "")])
        with pytest.raises(MovedOn) as moved:
            self.keep({**given, FEEDBACK: records}, 1, back={FEEDBACK: back})
        assert moved.value.next_offset == self.partitions[FEEDBACK].end

    def keep(
        self,
        given: dict[Partition, list[ModelRecord]],
        holes: int = 0,
        *,
        back: dict[Partition, int] | None = None,
        reached: Callable[[str], None] = lambda _: None,
    ) -> transaction.Kept:
        batches = []
        for partition, records in given.items():
            start = self.partitions[partition].end - (back or {}).get(partition, 0)
            arrivals = tuple(
                Arrival(
                    offset=start + number,
                    key=None,
                    value=f"{record}".encode(),
                    headers=(),
                    content=record.content,
                )
                for number, record in enumerate(records)
            )
            end = start + len(records) + holes
            batches.append(Batch(partition=partition, start=start, end=end, arrivals=arrivals))
        return transaction.keep(self.database, batches, dead_letter_topic=DEAD_LETTERS, reached=reached)

    # ── what people and time do ──────────────────────────────────────────────────────────────────

    @rule(what=st.sampled_from(["declare_the_new_one", "send_letters_again", "give_up", "start_anew"]))
    def happen(self, what: str) -> None:
        """One rule for all of these, so that Kafka delivers more often."""
        getattr(self, what)()

    def declare_the_new_one(self) -> None:
        declare(self.database, Agent(name="new", base_hash="b"))
        self.model.agents.add("new")

    def send_letters_again(self) -> None:
        sent = [letter for letter in redrive(self.database, reason=Reason.UNKNOWN_AGENT) if letter.record]
        undeclared, self.model.undeclared = self.model.undeclared, []
        self.model.outbox_count += len(undeclared)
        assert [redriven.letter.value for redriven in sent] == [
            f"{record}".encode() for record, _ in undeclared
        ]
        again: dict[Partition, list[ModelRecord]] = {}
        for record, partition in undeclared:
            again.setdefault(partition, []).append(record)
        self.keep_and_compare(again, 0)

    def give_up(self) -> None:
        result = waiting.give_up(self.database, kept_before_s=1e12, dead_letter_topic=DEAD_LETTERS)
        waits = [
            id for id, (record, _) in self.model.events.items() if self.model.status(record) is Status.WAITING
        ]
        assert result == len(waits)
        for id in waits:
            _, partition = self.model.events.pop(id)
            self.partitions[partition].stored -= 1
            self.partitions[partition].dead += 1
            self.model.add_dead_letter(Reason.ORPHAN)

    def start_anew(self) -> None:
        self.database.close()
        waiting.forget_joined(self.database)
        with self.database.read() as connection:
            standing = waiting.waiting_state(connection)
        assert standing.records == standing.waiting

    # ── what must hold ───────────────────────────────────────────────────────────────────────────

    @invariant()
    def every_offset_has_one_fate(self) -> None:
        with self.database.read() as connection:
            ends = {
                (partition.topic_id, partition.number): counts.end
                for partition, counts in self.partitions.items()
            }
            result = against(audit(connection), ends)
        assert result.disagreements == ()
        for audited in result.partitions:
            [counts] = [
                counts
                for partition, counts in self.partitions.items()
                if (partition.topic_id, partition.number) == (audited.topic_id, audited.partition)
            ]
            assert (audited.next_offset, audited.records) == (counts.end, counts.records)
            fates = (audited.stored, audited.dead, audited.duplicates)
            assert fates == (counts.stored, counts.dead, counts.duplicates)
            assert audited.unread == 0

    @invariant()
    def everything_is_there_once(self) -> None:
        known = {id: self.model.status(record).value for id, (record, _) in self.model.events.items()}
        with self.database.read() as connection:
            rows = connection.execute(select(schema.events.c.id, schema.events.c.status)).all()
            assert sorted(map(tuple, rows)) == sorted(known.items())
            assert set(connection.scalars(select(schema.interactions.c.id))) == self.model.interactions
            assert Counter(connection.scalars(select(schema.dead_letters.c.reason))) == self.model.reasons
            outbox_count, last = connection.execute(
                select(func.count(), func.max(schema.outbox.c.id)).select_from(schema.outbox)
            ).one()
        assert outbox_count == self.model.outbox_count
        assert (last or 0) >= outbox_count


@pytest.mark.timeout(600)
def test_every_record_has_the_fate_a_plain_model_says(anew: Callable[[], Database]) -> None:
    run_state_machine_as_test(lambda: TransactionMachine(anew()), settings=SETTINGS)
