"""A ledger of an older clorad becomes one of this: what it knew stays, what it did not know is nothing."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from ledger.database import Database
from ledger.learning import backlog, usage
from ledger.learning.usage import Trained, Usage
from tests import postgres_server
from tests.unit.ledger.older import BILLING, migrated_to

TURN = (
    "INSERT INTO turns (id, pass_id, place, agent, number, parent, recipe, labelling, seed, attempt,"
    " through_seq, token, state)"
    " VALUES ({id}, {of}, {id}, 'billing', {id}, 0, '{{}}', '{{}}', 1, 1, 0, 1, '{state}')"
)
OLD = (
    BILLING,
    "INSERT INTO passes (id, holder, form, opened_s, closed_s) VALUES (1, 'l', '{}', 5.0, 9.0)",
    "INSERT INTO passes (id, holder, form, opened_s, closed_s) VALUES (2, 'l', '{}', 10.0, NULL)",
    TURN.format(id=1, of=1, state="made"),
    TURN.format(id=2, of=2, state="dropped"),
    TURN.format(id=3, of=2, state="open"),
)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'clorad.db'}"
        return
    url = postgres_server.new_database(request.getfixturevalue("postgres"))
    yield url
    postgres_server.drop_database(url)


EVENT = (
    "INSERT INTO events (seq, source, id, digest, kind, agent, author, revision, role, status, status_reason,"
    " data, received_s, topic_id, partition, \"offset\") VALUES ({seq}, 'dev', '{seq}', 'd', 'correction',"
    " 'billing', 'ann', 1, 'train', {status}, '{{}}', 1.0, 't', 0, {seq})"
)
WHOLE_REASON = "its 5120 tokens are more than tokens_max"
CUT = f"barren: {WHOLE_REASON}"[:40]
OUTCOMES = (  # as they were written, the status of their events, and what becomes of both
    ("'trained'", "'open', NULL", ("trained", None), None),
    ("'already_known'", "'known', 'already_known'", ("already_known", None), None),
    (f"'{CUT}'", f"'barren', 'barren: {WHOLE_REASON}'", ("barren", WHOLE_REASON), WHOLE_REASON),
    (f"'{CUT}'", "'retracted', 'dev#r'", ("barren", CUT.removeprefix("barren: ")), "dev#r"),
    ("'barren: empty'", "'barren', 'reverted later'", ("barren", "empty"), "reverted later"),
    ("'not used: nothing to teach'", "'open', NULL", ("not_used", "nothing to teach"), None),
    ("'some word of long ago'", "'open', NULL", ("not_used", "some word of long ago"), None),
    ("NULL", "'open', NULL", (None, None), None),
)


def test_the_outcome_of_an_event_becomes_a_word_and_its_reason_has_a_column(empty: str) -> None:
    with closing(Database(empty)) as database:
        migrated_to(database, "0004")
        with database.write() as connection:
            for statement in OLD[:4]:
                connection.execute(text(statement))
            for seq, (outcome, status, *_) in enumerate(OUTCOMES, 1):
                for statement in (
                    EVENT.format(seq=seq, status=status),
                    "INSERT INTO turn_events (turn_id, event_seq, part, place, revision, outcome)"
                    f" VALUES (1, {seq}, 'new', {seq}, 1, {outcome})",
                ):
                    connection.connection.cursor().execute(statement)
        database.migrate()
        with database.read() as connection:
            members = connection.execute(
                text("SELECT outcome, outcome_reason FROM turn_events ORDER BY event_seq")
            ).all()
            reasons = (
                connection.execute(text("SELECT status_reason FROM events ORDER BY seq")).scalars().all()
            )
    assert [tuple(row) for row in members] == [expected for *_, expected, _ in OUTCOMES]
    assert list(reasons) == [expected for *_, expected in OUTCOMES]


def test_turns_closed_before_tokens_were_counted_cost_nothing_and_were_closed_with_their_pass(
    empty: str,
) -> None:
    with closing(Database(empty)) as database:
        migrated_to(database, "0002")
        with database.write() as connection:
            for statement in OLD:
                connection.execute(text(statement))
        database.migrate()
        with database.read() as connection:
            closed = connection.execute(text("SELECT tokens, closed_s FROM turns ORDER BY id")).all()
            [waiting] = backlog.backlogs(connection)
            lately = usage.lately(connection)
    assert [tuple(row) for row in closed] == [(0, 9.0), (0, 10.0), (0, None)]
    assert (waiting.is_learning, waiting.usage) == (True, Usage())
    assert lately == [Trained(agent="billing", weight=1.0, virtual_time=0.0, tokens=0, is_open=True)]
