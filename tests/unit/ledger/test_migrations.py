"""A ledger of an older clorad becomes one of this: what it knew stays, what it did not know is nothing."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from ledger import database as database_module
from ledger.database import Database
from ledger.errors import LedgerUnavailable
from ledger.events import Event, Openings
from ledger.identity import ensure_identity
from ledger.learning import backlog, event_queries, passes, usage
from ledger.learning.usage import TurnCost, Usage
from ledger.reports import provenance
from ledger.reports.receipts import Fate, Receipt, receipt
from ledger.revisions import is_newest
from ledger.versions import routing
from ledger.versions.decisions import Verdict
from ledger.versions.desired import champion
from ledger.versions.evidence import Evidence, Judgement
from tests import postgres_server
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.schema_builder import BILLING, build_schema
from tests.unit.ledger.turn_builder import lease, promote, record

SAMPLES = Path(__file__).parent / "samples"
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
        build_schema(database, "0004")
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
        build_schema(database, "0002")
        with database.write() as connection:
            for statement in OLD:
                connection.execute(text(statement))
        database.migrate()
        with database.read() as connection:
            closed = connection.execute(text("SELECT tokens, closed_s FROM turns ORDER BY id")).all()
            [waiting] = backlog.backlogs(connection)
            costs = usage.recent_costs(connection)
    assert [tuple(row) for row in closed] == [(0, 9.0), (0, 10.0), (0, None)]
    assert (waiting.is_learning, waiting.usage) == (True, Usage())
    assert costs == [TurnCost(agent="billing", weight=1.0, virtual_time=0.0, tokens=0, is_open=True)]


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Database]:
    """A ledger that the clorad of schema 0004 filled, migrated to today's schema.

    billing serves v1; v2 was refused, v3 was damaged, a fourth turn is open. ann rolled sql back to v0.
    Of coder no replica could hold v1, and its second turn was dropped.
    """
    path = tmp_path / "clorad.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((SAMPLES / "ledger_0004.sql").read_text())
    with closing(Database(f"sqlite:///{path}")) as database:
        database.migrate()
        yield database


def receipt_of(database: Database, uid: str) -> Receipt:
    with database.read() as connection:
        [kept] = event_queries.event_by_uid(connection, uid)
        return receipt(connection, kept)


def event_of(database: Database, uid: str) -> Event:
    with database.read() as connection:
        [kept] = event_queries.event_by_uid(connection, uid)
        return kept.event


class TestALedgerThatTheVersionBeforeFilled:
    def test_the_champions_are_routed_as_before(self, stored: Database) -> None:
        with stored.read() as connection:
            table = routing.routing(connection, {})
        assert {agent: route.version for agent, route in table.routes.items()} == {
            "billing": "v1-4780b4",
            "coder": "v0",
            "sql": "v0",
        }
        assert table.routes["billing"].model == "billing@v1-4780b4"

    @pytest.mark.parametrize(
        ("uid", "fate", "result"),
        [
            ("dev#e9", Fate.LIVE, "trained"),
            ("dev#e10", Fate.OUT, "already known"),
            ("dev#e11", Fate.OUT, "barren: its 5120 tokens are more than tokens_max"),
            ("dev#e12", Fate.LIVE, "not used: nothing to teach"),
            ("dev#e31", Fate.OUT, "trained"),
            ("dev#e33", Fate.OUT, "barren: empty"),
        ],
    )
    def test_receipts_say_what_became_of_events(
        self, stored: Database, uid: str, fate: Fate, result: str
    ) -> None:
        event_receipt = receipt_of(stored, uid)
        assert event_receipt.fate is fate
        turn_result = event_receipt.turns[0].result
        assert turn_result is not None
        assert turn_result.text == result

    def test_receipts_show_how_both_models_answered(self, stored: Database) -> None:
        judged = receipt_of(stored, "dev#e1").judged[-1]
        assert (judged.version, judged.verdict) == ("v1-4780b4", Verdict.PROMOTE)
        assert (judged.example.before, judged.example.after) == (0.0, 1.0)
        assert (judged.example.before_text, judged.example.after_text) == ("wrong 1", "right 1")

    def test_the_reason_of_a_status_stands_without_the_word(self, stored: Database) -> None:
        reasons = {id: receipt_of(stored, f"dev#e{id}").status_reason for id in (10, 11, 31)}
        assert reasons == {
            10: None,
            11: "its 5120 tokens are more than tokens_max",
            31: "v1 was rolled back",
        }

    def test_a_version_says_why_it_is_as_it_is(self, stored: Database) -> None:
        with stored.read() as connection:
            promoted = provenance.provenance(connection, "billing", 1)
            withdrawn = provenance.provenance(connection, "sql", 1)
        assert promoted is not None
        assert [decision.verdict for decision in promoted.decisions] == [Verdict.CANARY, Verdict.PROMOTE]
        assert promoted.decisions[-1].evidence.judgement == Judgement(
            alpha_k=0.025, p=0.00390625, wins=8, losses=0, ties=0, suite_wins=2, suite_losses=0, suite=2
        )
        assert [event.kept.event.id for event in promoted.taught] == ["e9", "e10", "e11", "e12"]
        assert withdrawn is not None
        assert withdrawn.decisions[-1].evidence == Evidence(reasons=("too short",), rolled_back_to=0)

    def test_a_prompt_keeps_the_role_that_an_older_clorad_gave_it(self, stored: Database) -> None:
        ensure_identity(stored)
        for number in range(1, 9):
            old = event_of(stored, f"dev#e{number}")
            assert old.prompt_group is not None
            began = Openings(prefixes=(old.prompt_group,), whole=None)
            keep(stored, build_event(f"new{number}", role=None, prompt_group=None, openings=began))
            assert event_of(stored, f"dev#new{number}").role is old.role

    def test_what_waits_waits_on(self, stored: Database) -> None:
        with stored.read() as connection:
            waiting = {agent.agent: agent for agent in backlog.backlogs(connection)}
        assert {name: agent.untaught for name, agent in waiting.items()} == {
            "billing": 4,
            "coder": 0,
            "sql": 0,
        }
        assert (waiting["billing"].refusals, waiting["billing"].is_learning) == (1, True)

    def test_the_turn_that_was_open_makes_a_version_that_is_promoted(self, stored: Database) -> None:
        with stored.read() as connection:
            [unfinished] = passes.unfinished_passes(connection)
        tokens = lease(stored, "billing")
        passes.adopt_pass(stored, unfinished, tokens)
        [turn] = unfinished.turns
        promote(stored, record(stored, turn, token=tokens["billing"]))
        with stored.read() as connection:
            assert champion(connection, "billing") == 4
        assert receipt_of(stored, "dev#e34").fate is Fate.LIVE


def test_a_migration_waits_longer_for_the_lock_than_another_writer(
    empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = Database(empty)
    with ThreadPoolExecutor(1) as pool:
        with holder.write():
            monkeypatch.setattr(database_module, "BUSY_MS_MAX", 100)
            writing, migrating = Database(empty), Database(empty)
            migration = pool.submit(migrating.migrate)
            for _ in range(8):
                with pytest.raises(LedgerUnavailable), writing.write():
                    pass
            assert not migration.done()
        migration.result(timeout=120)
    with migrating.write() as connection:
        assert is_newest(connection)
    if migrating.is_sqlite:
        with migrating.read() as connection:
            assert connection.scalar(text("PRAGMA busy_timeout")) == 100, "only the migration waits longer"
    for database in (holder, writing, migrating):
        database.close()
