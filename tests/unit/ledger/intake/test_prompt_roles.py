"""Roles follow from the ledger's key, stay, and are mixed also where all conversations begin alike."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import func, select

from feedback.grouping import openings_of
from ledger.database import Database
from ledger.events import Event, Role
from ledger.identity import ensure_identity
from ledger.intake.prompt_roles import CONTINUATIONS_MAX, GATE_OFF, forget_openings, keyed_role
from ledger.learning.agents import Agent, declare
from ledger.learning.event_queries import event_by_uid
from ledger.schema import openings
from ledger.versions.gate_modes import GateMode
from tests.unit.ledger.event_builder import INTERACTIONS, build_event, build_interaction, keep

Message = Mapping[str, Any]


@pytest.fixture(autouse=True)
def _key(database: Database) -> None:
    ensure_identity(database)


def build_said(id: str, *messages: Message, **changed: Any) -> Event:
    """A correction as intake reads it, before it has a role."""
    data = {"messages": list(messages), "rejected": "no", "corrected": "yes"}
    began = {"role": None, "prompt_group": None, "openings": openings_of(messages)}
    return build_event(id, data=data, **(began | changed))


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def agent(text: str) -> Message:
    return {"role": "assistant", "content": text}


def stored(database: Database, id: str) -> Event:
    with database.read() as connection:
        [kept] = event_by_uid(connection, f"dev#{id}")
    return kept.event


def roles(database: Database, ids: Sequence[str]) -> list[Role | None]:
    return [stored(database, id).role for id in ids]


def test_a_quarter_is_for_the_gate_and_an_eighth_for_dev() -> None:
    counts = Counter(keyed_role(b"key", "billing", f"group {number}") for number in range(4000))
    assert abs(counts[Role.GATE] / 4000 - 1 / 4) < 0.03
    assert abs(counts[Role.DEV] / 4000 - 1 / 8) < 0.03


@pytest.mark.parametrize("other", [(b"other key", "billing"), (b"key", "sql")])
def test_whoever_lacks_the_key_cannot_tell_roles_and_agents_differ(other: tuple[bytes, str]) -> None:
    groups = [f"group {number}" for number in range(200)]
    same = sum(keyed_role(b"key", "billing", group) == keyed_role(*other, group) for group in groups)
    assert same < 150


def test_feedback_on_one_prompt_has_one_role_whoever_says_it_and_however_it_came(database: Database) -> None:
    keep(database, *(build_said(f"e{number}", user("cancel order 1")) for number in range(3)))
    said = openings_of([user("Cancel  order 1")])
    captured = build_interaction("i", role=None, prompt_group="", openings=said)
    keep(database, captured, partition=INTERACTIONS)
    keep(database, build_event("named", interaction="i", role=None, prompt_group=None))
    assert len(set(roles(database, ["e0", "e1", "e2", "named"]))) == 1


def test_a_conversation_keeps_its_role_as_it_goes_on(database: Database) -> None:
    talk = [user("cancel order 1")]
    for turn in range(5):
        keep(database, build_said(f"t{turn}", *talk))
        talk += [agent("done"), user(f"and then {turn}")]
    groups = {stored(database, f"t{turn}").prompt_group for turn in range(5)}
    assert len(groups) == 1


@pytest.mark.parametrize("opening", ["hi", "/start", "Choose one command and answer in the agreed JSON."])
def test_conversations_that_begin_alike_have_different_roles(database: Database, opening: str) -> None:
    talks = [[user(opening), agent("Yes?"), user(f"cancel order {number}")] for number in range(60)]
    keep(database, *(build_said(f"e{number}", *talk) for number, talk in enumerate(talks)))
    counts = Counter(roles(database, [f"e{number}" for number in range(60)]))
    assert counts[Role.GATE] >= 5
    assert counts[Role.TRAIN] >= 20


def test_two_alike_messages_at_the_beginning_are_no_more_than_one(database: Database) -> None:
    begun = [user("hi"), agent("Yes?"), user("I have a question"), agent("Which?")]
    keep(database, *(build_said(f"e{number}", *begun, user(f"why {number}?")) for number in range(60)))
    assert set(roles(database, [f"e{number}" for number in range(60)])) == set(Role)


def test_instructions_count_where_all_else_is_the_same(database: Database) -> None:
    words = ["milk", "bread", "eggs", "salt", "tea", "rice", "oil", "soap"]
    tasks = [f"buy {first} and {second}" for first in words for second in words]
    messages = [[{"role": "system", "content": task}, user("Begin!")] for task in tasks]
    keep(database, *(build_said(f"e{number}", *asked) for number, asked in enumerate(messages)))
    assert set(roles(database, [f"e{number}" for number in range(len(tasks))])) == set(Role)


def test_one_question_under_many_instructions_is_one_where_people_ask_many(database: Database) -> None:
    others = [
        [{"role": "system", "content": "you help ann"}, user(f"question {number}")] for number in range(40)
    ]
    keep(database, *(build_said(f"o{number}", *asked) for number, asked in enumerate(others)))
    names = ["ann", "bob", "cem", "dee", "eva", "fay", "gus", "hal", "ida", "jim"]
    same = [[{"role": "system", "content": f"you help {name}"}, user("reset my password")] for name in names]
    keep(database, *(build_said(f"e{number}", *asked) for number, asked in enumerate(same)))
    groups = {stored(database, f"e{number}").prompt_group for number in range(len(names))}
    assert len(groups) == 1


def test_what_has_a_role_keeps_it_when_its_opening_becomes_common(database: Database) -> None:
    early = [[user("hi"), agent("Yes?"), user(f"early {number}")] for number in range(CONTINUATIONS_MAX)]
    keep(database, *(build_said(f"e{number}", *talk) for number, talk in enumerate(early)))
    before = roles(database, [f"e{number}" for number in range(CONTINUATIONS_MAX)])
    later = [[user("hi"), agent("Yes?"), user(f"later {number}")] for number in range(30)]
    keep(database, *(build_said(f"l{number}", *talk) for number, talk in enumerate(later)))
    again = [[*talk, agent("done"), user("thanks")] for talk in early]
    keep(database, *(build_said(f"a{number}", *talk) for number, talk in enumerate(again)))
    assert roles(database, [f"a{number}" for number in range(CONTINUATIONS_MAX)]) == before
    first = roles(database, [f"l{number}" for number in range(30)])
    once_more = [[*talk, agent("done"), user("thanks")] for talk in later]
    keep(database, *(build_said(f"m{number}", *talk) for number, talk in enumerate(once_more)))
    assert roles(database, [f"m{number}" for number in range(30)]) == first


def test_all_prompts_are_for_training_while_nobody_judges_the_agent_and_stay_so(database: Database) -> None:
    assert GateMode.OFF.value == GATE_OFF
    declare(database, Agent(name="billing", base_hash="b" * 64, gate=GateMode.OFF))
    asked = {f"e{number}": user(f"cancel order {number}") for number in range(40)}
    keep(database, *(build_said(id, message) for id, message in asked.items()))
    assert set(roles(database, list(asked))) == {Role.TRAIN}
    declare(database, Agent(name="billing", base_hash="b" * 64))
    keep(database, *(build_said(f"again-{id}", message) for id, message in asked.items()))
    assert set(roles(database, [f"again-{id}" for id in asked])) == {Role.TRAIN}, "no evidence later"
    fresh = {f"f{number}": user(f"refund order {number}") for number in range(40)}
    keep(database, *(build_said(id, message) for id, message in fresh.items()))
    assert Role.GATE in roles(database, list(fresh))


def test_what_was_trained_on_unjudged_is_no_evidence_later_however_many_begin_alike(
    database: Database,
) -> None:
    declare(database, Agent(name="billing", base_hash="b" * 64, gate=GateMode.OFF))
    talks = {f"e{number}": [user("hi"), agent("Yes?"), user(f"order {number}")] for number in range(40)}
    keep(database, *(build_said(id, *talk) for id, talk in talks.items()))
    assert set(roles(database, list(talks))) == {Role.TRAIN}
    declare(database, Agent(name="billing", base_hash="b" * 64))
    keep(database, *(build_said(f"again-{id}", *talk) for id, talk in talks.items()))
    assert set(roles(database, [f"again-{id}" for id in talks])) == {Role.TRAIN}
    others = {f"o{number}": [user("hi"), agent("Yes?"), user(f"refund {number}")] for number in range(40)}
    keep(database, *(build_said(id, *talk) for id, talk in others.items()))
    assert Role.GATE in roles(database, list(others)), "other conversations that begin alike are held out"


def test_what_was_held_out_is_not_trained_on_when_the_gate_is_switched_off(database: Database) -> None:
    asked = {f"e{number}": user(f"cancel order {number}") for number in range(40)}
    keep(database, *(build_said(id, message) for id, message in asked.items()))
    before = roles(database, list(asked))
    assert Role.GATE in before
    declare(database, Agent(name="billing", base_hash="b" * 64, gate=GateMode.OFF))
    keep(database, *(build_said(f"again-{id}", message) for id, message in asked.items()))
    assert roles(database, [f"again-{id}" for id in asked]) == before


def test_a_captured_reply_that_was_held_out_stays_so_when_the_gate_is_switched_off(
    database: Database,
) -> None:
    for number in range(20):
        said = openings_of([user(f"cancel order {number}")])
        captured = build_interaction(f"i{number}", role=None, prompt_group="", openings=said)
        keep(database, captured, partition=INTERACTIONS)
    declare(database, Agent(name="billing", base_hash="b" * 64, gate=GateMode.OFF))
    keep(database, *(build_said(f"e{n}", user(f"cancel order {n}")) for n in range(20)))
    assert Role.GATE in roles(database, [f"e{n}" for n in range(20)])


def test_openings_are_stored_as_fingerprints_and_forgotten_with_the_last_that_began_so(
    database: Database,
) -> None:
    talk = [user("my name is Ann Doe"), agent("hello"), user("I live in Kent")]
    keep(database, build_said("e", *talk))
    group = stored(database, "e").prompt_group
    assert group is not None
    with database.write() as connection:
        assert not set(openings_of(talk).prefixes) & set(connection.scalars(select(openings.c.opening)))
        forget_openings(connection, [("billing", group)])
        assert connection.scalar(select(func.count()).select_from(openings)) == 1
        connection.exec_driver_sql("UPDATE events SET prompt_group = NULL")
        forget_openings(connection, [("billing", group)])
        assert connection.scalar(select(func.count()).select_from(openings)) == 0
