"""What gateways counted: each record once, each conversation once, and old counts go."""

from sqlalchemy import text

from ledger import schema
from ledger.database import Database
from ledger.events import LiveCounts, Signal, VersionCounts
from ledger.reports.audit import audit
from ledger.versions.live_counts import canary_counts, delete_old, promoted_counts
from tests.unit.ledger.event_builder import INTERACTIONS, build_interaction, keep

V6, V7 = "v6-aaaaaa", "v7-bbbbbb"


def build_counts(
    sequence: int,
    *,
    producer: str = "p1",
    errors: dict[str, tuple[str, ...]] | None = None,
    share: float = 0.05,
) -> LiveCounts:
    """19 conversations of the champion and one of the canary; `errors` are fingerprints by version."""
    shown = errors or {}
    return LiveCounts(
        producer=producer,
        sequence=sequence,
        agent="billing",
        canary=V7,
        share=share,
        versions={
            V6: VersionCounts(conversations=19, signals={Signal.ERROR: shown.get(V6, ())}),
            V7: VersionCounts(conversations=1, signals={Signal.ERROR: shown.get(V7, ())}),
        },
    )


def errors(database: Database) -> tuple[int, int]:
    """Conversations with errors: of the canary, of the champion."""
    with database.read() as connection:
        counted = canary_counts(connection, "billing", V7)
    return counted.signals[Signal.ERROR, 0.05, True], counted.signals[Signal.ERROR, 0.05, False]


def conversations(database: Database, share: float = 0.05) -> tuple[int, int]:
    with database.read() as connection:
        counted = canary_counts(connection, "billing", V7)
    return counted.conversations[share, True], counted.conversations[share, False]


def test_counts_of_several_gateways_add_up(database: Database) -> None:
    keep(database, build_counts(1), build_counts(2), build_counts(1, producer="p2"), partition=INTERACTIONS)
    assert conversations(database) == (3, 57)


def test_a_record_that_arrives_again_counts_once(database: Database) -> None:
    kept = keep(database, build_counts(1), build_counts(1), build_counts(2), partition=INTERACTIONS)
    assert (kept.stored, kept.duplicates) == (2, 1)
    again = keep(database, build_counts(1), build_counts(2), partition=INTERACTIONS)
    assert (again.stored, again.duplicates) == (0, 2)
    assert conversations(database) == (2, 38)


def test_a_conversation_counts_once_whichever_gateway_and_version_saw_it(database: Database) -> None:
    keep(
        database,
        build_counts(1, errors={V7: ("a" * 16, "b" * 16), V6: ("c" * 16,)}),
        build_counts(1, producer="p2", errors={V7: ("a" * 16, "c" * 16)}),
        partition=INTERACTIONS,
    )
    assert errors(database) == (2, 1)


def test_each_share_is_counted_for_itself(database: Database) -> None:
    keep(database, build_counts(1), build_counts(2, share=0.25), partition=INTERACTIONS)
    assert conversations(database, 0.05) == conversations(database, 0.25) == (1, 19)


def test_an_audit_accounts_for_counts_as_for_interactions(database: Database) -> None:
    keep(database, build_interaction("i1"), build_counts(1), build_counts(1), partition=INTERACTIONS)
    with database.read() as connection:
        assert audit(connection).disagreements == ()


def test_old_counts_are_deleted_and_new_ones_stay(database: Database) -> None:
    keep(database, build_counts(1, errors={V7: ("a" * 16,)}), partition=INTERACTIONS)
    assert delete_old(database) == 0
    with database.write() as connection:
        for table, column in (("live_conversations", "since_s"), ("live_signals", "seen_s")):
            connection.execute(text(f"UPDATE {table} SET {column} = {column} - 900000"))
    assert delete_old(database) == 3
    assert (conversations(database), errors(database)) == ((0, 0), (0, 0))


def test_a_promoted_version_is_counted_from_the_first_whole_minute_on(database: Database) -> None:
    promoted_s = 1_800_000_030.0
    rows = (  # version, conversations, since_s
        (V6, 19, 1_799_999_940),
        (V6, 7, 1_800_000_060),  # answers that were under way
        (V7, 5, 1_800_000_000),
        (V7, 30, 1_800_000_060),
        (V7, 20, 1_800_000_120),
    )
    with database.write() as connection:
        for version, number, since_s in rows:
            place = {"agent": "billing", "canary": "", "share": 0.0, "version": version}
            connection.execute(
                schema.live_conversations.insert().values(**place, since_s=since_s, conversations=number)
            )
            signal = {**place, "signal": Signal.LENGTH.value, "conversation": f"{version} {since_s}"}
            connection.execute(schema.live_signals.insert().values(**signal, seen_s=since_s + 1.0))
    with database.read() as connection:
        counts = promoted_counts(connection, "billing", version=V7, predecessor=V6, promoted_s=promoted_s)
    assert (counts.before, counts.before_shown) == (19, {Signal.LENGTH: 1})
    assert counts.after == ((1_800_000_060, 30), (1_800_000_120, 20))
    assert sorted(counts.after_shown) == [
        (Signal.LENGTH, 1_800_000_061.0),
        (Signal.LENGTH, 1_800_000_121.0),
    ]
