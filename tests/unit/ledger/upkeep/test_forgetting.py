"""What somebody asked to be forgotten is nowhere in the ledger; everything else is where it was."""

import json
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from ledger import schema
from ledger.database import Database
from ledger.errors import TurnVoid
from ledger.events import Kind, Role, silence_uid
from ledger.intake import waiting
from ledger.learning import passes, turns
from ledger.learning.agents import Agent, declare
from ledger.reports.audit import audit
from ledger.topic_names import FEEDBACK_TOPIC
from ledger.upkeep import erasures, forgetting
from ledger.upkeep.mentions import Subject
from ledger.versions import decisions
from ledger.versions.evidence import Answers, Evidence
from tests.unit.ledger.event_builder import (
    DEAD_LETTERS,
    INTERACTIONS,
    build_retraction,
    keep,
)
from tests.unit.ledger.turn_builder import (
    build_decision,
    build_evidence,
    build_version,
    open_pass,
    promote,
    record,
    untaught_events,
)
from tests.unit.ledger.upkeep.erasure_builder import (
    all_rows,
    build_capture,
    build_event_naming,
    build_marked_event,
    forget_and_check,
    store_dead_letter,
)


def holds(left: str, text: str) -> bool:
    """Asked so, because pytest takes minutes to explain where in a long text something is."""
    return text in left


def status(database: Database) -> dict[str, str]:
    with database.read() as connection:
        rows = connection.execute(select(schema.events.c.id, schema.events.c.status))
        return {row.id: row.status for row in rows}


def evidence(*uids: str) -> Evidence:
    return build_evidence(*uids, answers={uid: Answers(before=f"MARK {uid}", after="b") for uid in uids})


class TestAPerson:
    def test_words_and_name_are_gone_and_others_stay(self, database: Database) -> None:
        keep(
            database,
            build_marked_event("1", "MARK"),
            build_marked_event("2", "OTHER", author="bob"),
            build_marked_event("3", "MARK", kind=Kind.OVERRIDE),
        )
        done = forget_and_check(database)
        assert done.counts == {"events": 2}
        left = all_rows(database)
        assert not holds(left, "MARK")
        assert not holds(left, "'ann'")
        assert left.count("OTHER") > 0
        assert status(database) == {"1": "retracted", "2": "open", "3": "retracted"}

    def test_the_same_records_read_again_are_duplicates(self, database: Database) -> None:
        talk = [build_capture("i1", "MARK")]
        first = [build_marked_event("1", "MARK"), build_event_naming("2", "i1", "MARK")]
        keep(database, *talk, partition=INTERACTIONS)
        keep(database, *first)
        forget_and_check(database)
        assert keep(database, *first).duplicates == 2
        assert keep(database, *talk, partition=INTERACTIONS).duplicates == 1
        assert not holds(all_rows(database), "MARK")

    def test_what_they_were_answered_goes_too_and_others_cannot_teach_with_it(
        self, database: Database
    ) -> None:
        keep(database, build_capture("i1", "MARK"), build_capture("i2", "OTHER"), partition=INTERACTIONS)
        keep(
            database,
            build_event_naming("1", "i1", "MARK"),
            build_event_naming("2", "i1", "bobs", author="bob"),
            build_marked_event("3", "bobs", author="bob", interaction="i1"),
            build_event_naming("4", "i2", "bobs", author="bob"),
        )
        assert forget_and_check(database).counts == {"events": 1, "interactions": 1, "bystanders": 1}
        assert not holds(all_rows(database), "MARK")
        assert status(database) == {"1": "retracted", "2": "retracted", "3": "open", "4": "open"}

    def test_an_interaction_of_another_agent_is_not_theirs(self, database: Database) -> None:
        keep(database, build_capture("i1", "OTHER", agent="sql"), partition=INTERACTIONS)
        keep(database, build_marked_event("1", "MARK", interaction="i1"))
        assert forget_and_check(database).counts == {"events": 1}
        assert holds(all_rows(database), "OTHER")

    def test_whoever_else_names_it_by_mistake(self, database: Database) -> None:
        keep(database, build_capture("i1", "MARK", agent="sql"), partition=INTERACTIONS)
        keep(
            database,
            build_marked_event("1", "MARK", interaction="i1", agent="sql"),
            build_marked_event("2", "MARK", interaction="i1"),
        )
        assert forget_and_check(database).counts == {"events": 2, "interactions": 1}
        assert not holds(all_rows(database), "MARK")

    def test_what_waits_and_the_record_it_came_in_are_gone(self, database: Database) -> None:
        keep(
            database,
            build_event_naming("1", "late", "MARK"),
            build_event_naming("2", "late", "OTHER", author="bob"),
        )
        forget_and_check(database)
        with database.read() as connection:
            assert waiting.waiting_state(connection).records == 1
        assert waiting.give_up(database, kept_before_s=9e12, dead_letter_topic=DEAD_LETTERS) == 1
        with database.read() as connection:
            assert audit(connection).disagreements == ()

    @pytest.mark.parametrize(
        "value",
        [
            b'{"author": "ann", "said": "MARK"}',
            b'{"specversion": "1.0", "data": {"author":"ann"}, "x": "MARK"}',
            b'{"author" :\n "ann", "said": "MARK", broken',
            b'{"author": "redacted:0123", "said": "MARK"}',
        ],
    )
    def test_their_dead_letters_are_emptied_with_every_message_that_carries_them(
        self, database: Database, value: bytes
    ) -> None:
        store_dead_letter(database, b'{"author": "anna", "said": "OTHER"}')
        store_dead_letter(database, value, headers=(("ce_subject", b"MARK"),))
        again = (schema.outbox.insert(), {"topic": FEEDBACK_TOPIC, "key": b"k", "value": value})
        with database.write() as connection:
            headers = [["clorad_redriven", "Mg=="]]  # letter 2
            connection.execute(again[0].values(**again[1], headers=headers, created_s=1.0, sent_s=5.0))
        assert forget_and_check(database).counts == {"dead_letters": 1, "messages": 2}
        left = all_rows(database)
        assert ("MARK" in left, "OTHER" in left) == (False, True)
        with database.read() as connection:
            sent = connection.scalars(select(schema.outbox.c.sent_s).order_by(schema.outbox.c.id)).all()
        assert (sent[0], sent[2]) == (None, 5.0), "what carries others' letters is still owed"
        assert sent[1] is not None

    def test_retractions_go_on_holding_back(self, database: Database) -> None:
        keep(database, build_retraction("r", "9"))
        forget_and_check(database)
        keep(database, build_marked_event("9", "x", author="bob"))
        assert status(database) == {"r": "applied", "9": "retracted"}


class TestLearning:
    def test_evidence_no_longer_quotes_their_prompts(self, database: Database) -> None:
        keep(
            database,
            build_marked_event("g1", "MARK", role=Role.GATE),
            build_marked_event("g2", "x", role=Role.GATE, author="bob"),
        )
        keep(database, build_marked_event("1", "x", author="bob"))
        made = build_version(database)
        with database.write() as connection:
            kept = evidence("dev#g1", "dev#g2")
            for verdict in (decisions.Verdict.CANARY, decisions.Verdict.REFUSE):
                decisions.decide(connection, build_decision(made, verdict, evidence=kept))
        assert forget_and_check(database).counts == {"events": 1, "decisions": 2}
        with database.read() as connection:
            settled = decisions.decisions_of(connection, "billing", made.number)
            assert len(settled) == 2
            for decision in settled:
                assert set(decision.evidence.answers) == {"dev#g2"}
                assert len(decision.evidence.gate) == 2, "scores stay: the verdict is to be understood"
        assert not holds(all_rows(database), "MARK dev#g1")

    def test_a_verdict_that_comes_afterwards_does_not_quote_them_either(self, database: Database) -> None:
        keep(database, build_capture("i1", "MARK"), partition=INTERACTIONS)
        keep(
            database,
            build_marked_event("g1", "MARK", role=Role.GATE),
            build_event_naming("g2", "i1", "x", author="bob"),
        )
        keep(database, build_marked_event("1", "x", author="bob"))
        made, gathered = build_version(database), evidence("dev#g1", "dev#g2", "dev#1")
        forget_and_check(database)
        forget_and_check(database, Subject(kind="event", uids=frozenset({("dev", "g2")})))
        with database.write() as connection:
            decisions.decide(connection, build_decision(made, decisions.Verdict.REFUSE, evidence=gathered))
            [settled] = decisions.decisions_of(connection, "billing", made.number)
        assert set(settled.evidence.answers) == {"dev#1"}

    def test_a_turn_under_way_is_void_and_the_rest_waits_again(self, database: Database) -> None:
        keep(
            database,
            build_marked_event("1", "MARK"),
            build_marked_event("2", "x", author="bob"),
            build_marked_event("3", "x", agent="sql", author="bob"),
        )
        mine, others = open_pass(database, "billing", "sql").turns
        assert forget_and_check(database).counts == {"events": 1, "turns": 1}
        with database.read() as connection:
            [unfinished] = passes.unfinished_passes(connection)
        assert [turn.is_open for turn in unfinished.turns] == [False, True], "the other one goes on"
        with pytest.raises(TurnVoid):
            record(database, mine)
        record(database, others)
        with database.read() as connection:
            assert passes.unfinished_passes(connection) == []

    def test_a_pass_of_such_turns_only_is_over(self, database: Database) -> None:
        keep(database, build_marked_event("1", "MARK"))
        open_pass(database, "billing")
        forget_and_check(database)
        with database.read() as connection:
            assert passes.unfinished_passes(connection) == []

    def test_versions_that_learned_from_them_are_named(self, database: Database) -> None:
        keep(database, build_marked_event("1", "x", author="bob"))
        promote(database, build_version(database))
        keep(database, build_marked_event("2", "MARK"))
        second = build_version(database)
        promote(database, second)
        assert forget_and_check(database).taught == {"billing": [second]}


class TestAConversation:
    talk = Subject(kind="conversation", names=frozenset({"c"}))

    def test_all_that_was_said_in_it_and_about_it_is_gone(self, database: Database) -> None:
        keep(
            database,
            build_capture("t0", "MARK", conversation="c", turn=0),
            build_capture("t1", "MARK", conversation="c", turn=1),
            build_capture("u", "OTHER", conversation="d"),
            partition=INTERACTIONS,
        )
        keep(
            database,
            build_marked_event("1", "MARK", conversation="c", author="bob"),
            build_event_naming("2", "t1", "MARK", author="bob"),
            build_marked_event("3", "OTHER", conversation="d"),
        )
        store_dead_letter(database, b"MARK, no JSON", key=b"c")
        assert forget_and_check(database, self.talk).counts == {
            "events": 2, "interactions": 2, "dead_letters": 1, "messages": 1,
        }  # fmt: skip
        left = all_rows(database)
        assert ("MARK" in left, "OTHER" in left, "'bob'" in left) == (False, True, True)

    def test_broken_off_and_asked_for_again_it_goes_on(self, database: Database) -> None:
        class Killed(BaseException):
            pass

        kinds = ("decisions", "messages", "dead_letters", "interactions", "events")
        for number, point in enumerate(kinds):
            name, mark = f"c{number}", f"MARK{number}"
            talk = Subject(kind="conversation", names=frozenset({name}))
            keep(database, build_capture(f"i{number}", mark, conversation=name), partition=INTERACTIONS)
            keep(
                database,
                build_event_naming(f"n{number}", f"i{number}", mark),
                build_marked_event(f"b{number}", "x", author="bob"),
            )
            made = build_version(database)
            with database.write() as connection:
                kept = evidence(f"dev#n{number}")
                decisions.decide(connection, build_decision(made, decisions.Verdict.REFUSE, evidence=kept))
            store_dead_letter(database, mark.encode(), key=name.encode())

            def killed(kind: str, point: str = point) -> None:
                if kind == point:
                    raise Killed

            with pytest.raises(Killed):
                forgetting.forget(database, talk, whom="f", by="dpo", reason="asked", reached=killed)
            forgetting.forget(database, talk, whom="f", by="dpo", reason="asked")
            left = all_rows(database)
            assert not holds(left, mark)
            assert not holds(left, f"MARK dev#n{number}")

    def test_turns_that_were_given_its_replies_are_void_and_versions_of_them_are_named(
        self, database: Database
    ) -> None:
        keep(database, build_capture("t0", "MARK", conversation="c"), partition=INTERACTIONS)
        keep(database, build_marked_event("1", "OTHER", author="bob"))
        version = build_version(database, replies=("t0",))
        uid = silence_uid("t0")
        quoting = build_evidence(uid, answers={uid: Answers(before="MARK", after="b")})
        refusal = build_decision(version, decisions.Verdict.REFUSE, evidence=quoting)
        with database.write() as connection:
            decisions.decide(connection, refusal)
        [turn] = open_pass(database, "billing", replies=("t0",)).turns
        talk = Subject(kind="conversation", names=frozenset({"c"}))
        forgotten = forget_and_check(database, talk)
        assert forgotten.counts == {"interactions": 1, "turns": 1, "decisions": 1}
        assert forgotten.taught == {"billing": [version]}
        with database.write() as connection:
            assert turns.void_reason(connection, turn, turn.plan.token) is not None
            decisions.decide(connection, refusal)
        assert "MARK" not in all_rows(database), "a verdict that comes afterwards does not quote it either"


class TestAnEvent:
    def test_it_alone_goes_and_its_author_stays(self, database: Database) -> None:
        keep(database, build_marked_event("1", "MARK"), build_marked_event("2", "OTHER"))
        store_dead_letter(database, b'{"data": "MARK"}', headers=(("ce_id", b"1"), ("ce_source", b"dev")))
        subject = Subject(kind="event", uids=frozenset({("dev", "1")}))
        assert forget_and_check(database, subject).counts == {"events": 1, "dead_letters": 1, "messages": 1}
        left = all_rows(database)
        assert ("MARK" in left, "OTHER" in left, left.count("'ann'")) == (False, True, 2)

    def test_a_name_forgotten_later_is_not_left_behind(self, database: Database) -> None:
        keep(database, build_marked_event("1", "MARK"))
        forget_and_check(database, Subject(kind="event", uids=frozenset({("dev", "1")})))
        assert forget_and_check(database).counts == {"events": 1}
        assert not holds(all_rows(database), "'ann'")


def test_the_entry_says_who_when_why_and_how_much_and_not_whom(database: Database) -> None:
    keep(database, build_marked_event("1", "MARK"))
    done = forget_and_check(database)
    with database.read() as connection:
        [entry] = erasures.all_erasures(connection, whom="f" * 64)
    assert (entry.id, entry.by, entry.reason, entry.counts) == (done.erasure, "dpo", "asked", {"events": 1})
    assert entry.finished_s >= entry.begun_s > 1.7e9
    assert forget_and_check(database).erasure is None, "nothing was left, so nothing is written"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_was_said_only_the_subjects_words_go(anew: Any, data: st.DataObject) -> None:
    with closing(anew()) as database:
        _one_story(database, data)


def _one_story(database: Database, data: st.DataObject) -> None:
    for name in ("billing", "sql"):
        declare(database, Agent(name=name, base_hash="b" * 64))
    people, number = ("ann", "bob"), data.draw(st.integers(1, 12))
    owners = {f"i{place}": data.draw(st.sampled_from(people)) for place in range(4)}
    keep(database, *[build_capture(id, f"<{who}>") for id, who in owners.items()], partition=INTERACTIONS)
    for place in range(number):
        who = data.draw(st.sampled_from(people))
        mine = [id for id, owner in owners.items() if owner == who]
        action = data.draw(st.sampled_from(["correction", "naming", "dead letter", "turn"]))
        if action == "correction":
            keep(database, build_marked_event(f"e{place}", f"<{who}>", author=who))
        elif action == "naming" and mine:
            keep(database, build_event_naming(f"e{place}", mine[place % len(mine)], f"<{who}>", author=who))
        elif action == "dead letter":
            store_dead_letter(database, json.dumps({"author": who, "said": f"<{who}>"}).encode())
        elif action == "turn" and untaught_events(database, "billing"):
            opened = open_pass(database, "billing")
            if data.draw(st.booleans()):
                record(database, opened.turns[0])
    named_by_ann = {row for row in all_rows(database).splitlines() if "<ann>" in row}
    before = all_rows(database).count("<bob>")
    forget_and_check(database)
    left = all_rows(database)
    assert left.count("<bob>") == before, "nobody else loses a word"
    still = {row for row in left.splitlines() if "<ann>" in row}
    assert all("hears" in row for row in still), "but what was captured and no event of hers names"
    assert still <= named_by_ann
