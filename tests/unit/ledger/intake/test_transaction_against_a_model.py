"""What becomes of every record, against a model of it in plain Python: a dict of ids and a list of fates.

Batches of several partitions, repeats, conflicts, agents declared late, feedback before what it is about and
after, what waits and is given up, letters sent again, crashes in mid transaction, batches that come too late.
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
from tests.unit.ledger.event_builder import (
    DEAD_LETTERS,
    FEEDBACK,
    Content,
    build_event,
    build_interaction,
    build_retraction,
)

OTHER = Partition(cluster_id="c1", topic="clorad.feedback", topic_id="t1", number=1)
INTERACTIONS = Partition(cluster_id="c1", topic="clorad.interactions", topic_id="t2", number=0)
SETTINGS = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@dataclass(frozen=True)
class Saying:
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
class Book:
    """What the model knows of one partition."""

    end: int = 0
    records: int = 0
    stored: int = 0
    dead: int = 0
    duplicates: int = 0


@dataclass
class Model:
    agents: set[str] = field(default_factory=lambda: {"billing"})
    events: dict[str, tuple[Saying, Partition]] = field(default_factory=dict)
    interactions: set[str] = field(default_factory=set)
    reasons: Counter[Reason] = field(default_factory=Counter)
    owed: int = 0  # messages, ever
    late: list[tuple[Saying, Partition]] = field(default_factory=list)  # for an agent nobody had declared

    def take(self, one: Saying, partition: Partition, book: Book) -> None:
        book.records += 1
        if reason := self.reason(one):
            book.dead += 1
            self.bury(reason)
            if reason is Reason.UNKNOWN_AGENT:
                self.late.append((one, partition))
        elif one.id in (self.interactions if one.kind == "interaction" else self.events):
            book.duplicates += 1
        else:
            book.stored += 1
            if one.kind == "interaction":
                self.interactions.add(one.id)
            else:
                self.events[one.id] = (one, partition)

    def reason(self, one: Saying) -> Reason | None:
        if one.kind == "broken":
            return Reason.INVALID_JSON
        if one.agent not in self.agents:
            return Reason.UNKNOWN_AGENT
        known = self.events.get(one.id)
        is_other = one.kind != "interaction" and known is not None and known[0].digest != one.digest
        return Reason.CONFLICT if is_other else None

    def bury(self, reason: Reason) -> None:
        self.reasons[reason] += 1
        self.owed += 1

    def status(self, one: Saying) -> Status:
        if one.kind == "retraction":
            return Status.APPLIED
        takers = [other.about for other, _ in self.events.values() if other.kind == "retraction"]
        if one.id in takers:
            return Status.RETRACTED
        return Status.WAITING if one.about and one.about not in self.interactions else Status.OPEN


_ids = st.sampled_from("abcde")
_feedback = st.one_of(
    st.builds(Saying, kind=st.just("event"), id=_ids, agent=st.sampled_from(["billing", "billing", "new"])),
    st.builds(Saying, kind=st.just("event"), id=_ids, body=st.sampled_from("ab")),
    st.builds(Saying, kind=st.just("event"), id=_ids, about=st.sampled_from("ij")),
    st.builds(Saying, kind=st.just("retraction"), id=st.sampled_from("rs"), about=_ids),
    st.just(Saying("broken", "")),
)
_interactions = st.one_of(
    st.builds(Saying, kind=st.just("interaction"), id=st.sampled_from("ij")), st.just(Saying("broken", ""))
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
    """In mid transaction."""


class Books(RuleBasedStateMachine):
    """The rules are what can happen; the invariants what must hold after each."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.model = Model()
        self.books = {partition: Book() for partition in (FEEDBACK, OTHER, INTERACTIONS)}

    def teardown(self) -> None:
        self.database.close()

    @initialize()
    def begin(self) -> None:
        declare(self.database, Agent(name="billing", base_hash="b"))
        for partition in self.books:
            transaction.start_at(self.database, partition, 0)

    # ── what Kafka delivers ──────────────────────────────────────────────────────────────────────

    @rule(given=_batches, holes=st.integers(0, 2))
    def be_delivered(self, given: dict[Partition, list[Saying]], holes: int) -> None:
        self.take_in(given, holes)

    @rule(first=_batches, then=_batches)
    def be_delivered_twice(
        self, first: dict[Partition, list[Saying]], then: dict[Partition, list[Saying]]
    ) -> None:
        self.take_in(first, 0)
        self.take_in(then, 1)

    def take_in(self, given: dict[Partition, list[Saying]], holes: int) -> None:
        kept = self.keep(given, holes)
        before = Counter(self.model.reasons)
        for partition, sayings in given.items():
            book = self.books[partition]
            for one in sayings:
                self.model.take(one, partition, book)
            book.end += len(sayings) + holes
        assert Counter(kept.dead) == self.model.reasons - before

    @rule(given=_batches)
    def be_killed(self, given: dict[Partition, list[Saying]]) -> None:
        def reached(_: str) -> None:
            raise Killed

        with pytest.raises(Killed):
            self.keep(given, reached=reached)

    @precondition(lambda self: self.books[FEEDBACK].end)
    @rule(given=_batches, back=st.integers(1, 3))
    def come_too_late(self, given: dict[Partition, list[Saying]], back: int) -> None:
        sayings = given.get(FEEDBACK, [Saying("broken", "")])
        with pytest.raises(MovedOn) as moved:
            self.keep({**given, FEEDBACK: sayings}, 1, back={FEEDBACK: back})
        assert moved.value.next_offset == self.books[FEEDBACK].end

    def keep(
        self,
        given: dict[Partition, list[Saying]],
        holes: int = 0,
        *,
        back: dict[Partition, int] | None = None,
        reached: Callable[[str], None] = lambda _: None,
    ) -> transaction.Kept:
        batches = []
        for partition, sayings in given.items():
            start = self.books[partition].end - (back or {}).get(partition, 0)
            arrivals = tuple(
                Arrival(
                    offset=start + place,
                    key=None,
                    value=f"{one}".encode(),
                    headers=(),
                    content=one.content,
                )
                for place, one in enumerate(sayings)
            )
            end = start + len(sayings) + holes
            batches.append(Batch(partition=partition, start=start, end=end, arrivals=arrivals))
        return transaction.keep(self.database, batches, dead_letter_topic=DEAD_LETTERS, reached=reached)

    # ── what people and time do ──────────────────────────────────────────────────────────────────

    @rule(what=st.sampled_from(["declare_the_new_one", "send_letters_again", "give_up", "start_anew"]))
    def happen(self, what: str) -> None:
        """One rule for all of it, so that Kafka delivers more often than that."""
        getattr(self, what)()

    def declare_the_new_one(self) -> None:
        declare(self.database, Agent(name="new", base_hash="b"))
        self.model.agents.add("new")

    def send_letters_again(self) -> None:
        sent = [one for one in redrive(self.database, reason=Reason.UNKNOWN_AGENT) if one.record]
        late, self.model.late = self.model.late, []
        self.model.owed += len(late)
        assert [one.letter.value for one in sent] == [f"{one}".encode() for one, _ in late]
        again: dict[Partition, list[Saying]] = {}
        for one, partition in late:
            again.setdefault(partition, []).append(one)
        self.take_in(again, 0)

    def give_up(self) -> None:
        found = waiting.give_up(self.database, kept_before_s=1e12, dead_letter_topic=DEAD_LETTERS)
        waits = [id for id, (one, _) in self.model.events.items() if self.model.status(one) is Status.WAITING]
        assert found == len(waits)
        for id in waits:
            _, partition = self.model.events.pop(id)
            self.books[partition].stored -= 1
            self.books[partition].dead += 1
            self.model.bury(Reason.ORPHAN)

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
            ends = {(place.topic_id, place.number): book.end for place, book in self.books.items()}
            found = against(audit(connection), ends)
        assert found.disagreements == ()
        for one in found.partitions:
            [book] = [
                book
                for place, book in self.books.items()
                if (place.topic_id, place.number) == (one.topic_id, one.partition)
            ]
            assert (one.next_offset, one.records) == (book.end, book.records)
            assert (one.stored, one.dead, one.duplicates) == (book.stored, book.dead, book.duplicates)
            assert one.unread == 0

    @invariant()
    def everything_is_there_once(self) -> None:
        known = {id: self.model.status(one).value for id, (one, _) in self.model.events.items()}
        with self.database.read() as connection:
            rows = connection.execute(select(schema.events.c.id, schema.events.c.status)).all()
            assert sorted(map(tuple, rows)) == sorted(known.items())
            assert set(connection.scalars(select(schema.interactions.c.id))) == self.model.interactions
            assert Counter(connection.scalars(select(schema.dead_letters.c.reason))) == self.model.reasons
            owed, last = connection.execute(
                select(func.count(), func.max(schema.outbox.c.id)).select_from(schema.outbox)
            ).one()
        assert owed == self.model.owed
        assert (last or 0) >= owed


@pytest.mark.timeout(600)
def test_every_record_has_the_fate_a_plain_model_says(anew: Callable[[], Database]) -> None:
    run_state_machine_as_test(lambda: Books(anew()), settings=SETTINGS)
