"""How a conversation went on is found by the event, or by the captured reply, that a question comes from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.database import Database
from ledger.events import silence_uid
from serving.replaying.recorded import recorded_after
from tests.unit.ledger.event_builder import INTERACTIONS, build_event, build_interaction, keep
from tests.unit.ledger.ledger_builder import build_ledger

ASK, MORE = {"role": "user", "content": "bolts?"}, {"role": "user", "content": "nuts?"}
SAID = {"role": "assistant", "content": "Three."}
RECORDED = (SAID, MORE, {"role": "assistant", "content": "None."})


@pytest.fixture
def captured(tmp_path: Path) -> Iterator[Database]:
    """A ledger with one conversation of two turns, and another one."""
    database = build_ledger(tmp_path / "clorad.db", "billing")
    keep(
        database,
        build_interaction("t0", conversation="talk", messages=(ASK,), completion="Three."),
        build_interaction("t1", conversation="talk", messages=(ASK, SAID, MORE), completion="None."),
        build_interaction("alone", messages=(ASK,), completion="Four."),
        partition=INTERACTIONS,
    )
    keep(
        database,
        build_event("named", interaction="t0"),
        build_event("of-talk", conversation="talk"),
        build_event("of-nothing"),
        build_event("alone", interaction="alone"),
    )
    yield database
    database.close()


@pytest.mark.parametrize("uid", ["dev#named", "dev#of-talk", silence_uid("t0")])
def test_the_longest_capture_that_begins_with_the_prompt_says_how_it_went_on(
    captured: Database, uid: str
) -> None:
    assert recorded_after(captured, uid, (ASK,)) == RECORDED
    assert recorded_after(captured, uid, (ASK, SAID, MORE)) == RECORDED[2:]
    assert recorded_after(captured, uid, (MORE,)) == ()


def test_without_a_conversation_there_is_one_answer_at_most(captured: Database) -> None:
    assert recorded_after(captured, "dev#of-nothing", (ASK,)) == ()
    assert recorded_after(captured, "dev#alone", (ASK,)) == ({"role": "assistant", "content": "Four."},)
    assert recorded_after(captured, "dev#unknown", (ASK,)) == ()
