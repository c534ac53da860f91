"""What events may do without a signature, and on whose events they may act."""

import pytest

from ledger.database import Database
from ledger.events import Event, Kind, Reason, Role, Trust, TrustLevels
from ledger.learning import event_queries
from ledger.learning.agents import Agent, declare
from tests.unit.ledger.event_builder import build_event, build_outcome, build_retraction, keep

SIGNED = Trust.SIGNED


def demand(database: Database, **levels: Trust) -> None:
    declare(database, Agent(name="billing", base_hash="b" * 64, trust=TrustLevels(**levels)))


def dead(database: Database, event: Event) -> dict[Reason, int]:
    return dict(keep(database, event).dead)


class TestTheLeastLevel:
    @pytest.mark.parametrize(
        ("use", "event"),
        [
            ("teach", build_event("1")),
            ("teach", build_event("2", role=None, interaction="i")),
            ("judge", build_event("3", role=Role.GATE)),
            ("judge", build_event("4", role=Role.DEV, kind=Kind.APPROVE)),
            ("judge", build_event("5", role=None, interaction="i")),
            ("amend", build_event("6", key="k", revision=2)),
            ("amend", build_outcome("7", -1.0, amends="k")),
            ("retract", build_retraction("8", "1")),
        ],
    )
    def test_an_unsigned_event_that_an_agent_demands_signed_is_a_dead_letter(
        self, database: Database, use: str, event: Event
    ) -> None:
        demand(database, **{use: SIGNED})
        assert dead(database, event) == {Reason.UNSIGNED: 1}

    def test_other_events_of_the_agent_need_no_signature(self, database: Database) -> None:
        demand(database, judge=SIGNED, amend=SIGNED, retract=SIGNED)
        assert dead(database, build_event("1", key="k")) == {}

    def test_a_signed_event_is_stored_with_who_signed_it(self, database: Database) -> None:
        demand(database, teach=SIGNED)
        signed = build_event("1", trust=SIGNED, signer="gateway", key_id="k-1", rights=frozenset({"act"}))
        assert dead(database, signed) == {}
        with database.read() as connection:
            [kept] = event_queries.event_by_uid(connection, "dev#1")
        assert kept.event == signed

    def test_the_levels_are_those_of_the_last_declaration(self, database: Database) -> None:
        demand(database, teach=SIGNED)
        demand(database)
        assert dead(database, build_event("1")) == {}
