"""What is known of a champion from its promotion and the looks at it."""

from dataclasses import replace

import pytest

from ledger.database import Database
from ledger.learning.event_queries import event_by_uid
from ledger.learning.last_tries import last_tries
from ledger.reports.receipts import receipt
from ledger.reports.version_list import version_list
from ledger.versions import promotion
from ledger.versions.decisions import Verdict
from ledger.versions.evidence import Circumstances, Evidence
from ledger.versions.lineage import Version
from ledger.versions.looks import ServingChampion, keep, serving_champions
from tests.unit.ledger.event_builder import build_event
from tests.unit.ledger.event_builder import keep as keep_events
from tests.unit.ledger.turn_builder import JUDGEMENT, build_decision, build_version

PROMOTED = Circumstances(suite=8, server="0.32.0", template="a1")


@pytest.fixture
def champion(database: Database) -> Version:
    keep_events(database, build_event("1"))
    version = build_version(database)
    evidence = Evidence(judgement=JUDGEMENT, under=PROMOTED)
    promotion.promote(database, version, build_decision(version, Verdict.PROMOTE, evidence=evidence))
    return version


def read(database: Database) -> ServingChampion:
    with database.read() as connection:
        [champion] = serving_champions(connection)
    return champion


def test_a_champion_is_known_with_what_it_was_promoted_under(database: Database, champion: Version) -> None:
    serving = read(database)
    assert (serving.version, serving.predecessor, serving.looks) == (champion, None, 0)
    assert serving.under == serving.promoted_under == PROMOTED
    assert serving.is_predecessor_wanted


def test_looks_are_counted_and_update_what_is_known(database: Database, champion: Version) -> None:
    grown = Circumstances(suite=12, template="b2")
    assert keep(database, champion, Evidence(judgement=JUDGEMENT, under=grown))
    assert keep(database, champion, Evidence(reasons=("no prompts to compare",), under=grown))
    serving = read(database)
    assert serving.looks == 1, "one compared answers"
    assert serving.under == Circumstances(suite=12, server="0.32.0", template="b2")
    assert serving.has_other_template


def test_a_champion_of_an_earlier_clorad_knows_its_server_from_the_first_look_on(
    database: Database, champion: Version
) -> None:
    keep_events(database, build_event("2"))
    second = build_version(database)
    promotion.promote(database, second, build_decision(second, Verdict.PROMOTE))
    assert read(database).under == Circumstances()
    keep(database, second, Evidence(judgement=JUDGEMENT, under=PROMOTED))
    serving = read(database)
    assert serving.under == serving.promoted_under == PROMOTED
    assert not serving.has_other_template


def test_a_look_at_a_version_that_serves_no_more_is_not_recorded(
    database: Database, champion: Version
) -> None:
    promotion.roll_back(database, "billing", to=None, by="ann", reason="worse")
    assert not keep(database, champion, Evidence(judgement=JUDGEMENT, under=PROMOTED))
    with database.read() as connection:
        assert serving_champions(connection) == []


def test_a_look_leaves_the_verdict_as_it_is_everywhere(database: Database, champion: Version) -> None:
    before = _shown(database)
    keep(database, champion, Evidence(judgement=replace(JUDGEMENT, suite=12), under=PROMOTED))
    assert _shown(database) == before
    assert before[-1] is Verdict.PROMOTE


def _shown(database: Database) -> tuple[object, ...]:
    """What three reports say about the version."""
    with database.read() as connection:
        [event] = event_by_uid(connection, "dev#1")
        shown = receipt(connection, event)
        return last_tries(connection), version_list(connection, "billing"), shown.fate, shown.turns[0].verdict
