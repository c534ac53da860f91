"""Interactions that no event is about are deleted; those that labels may read stay."""

from threading import Event

from sqlalchemy import select, update

from daemon.upkeep import retention as loop
from ledger import schema
from ledger.database import Database
from ledger.events import Status
from ledger.reports.audit import audit
from ledger.upkeep import retention
from ledger.upkeep.retention import DAY_S
from tests.unit.ledger.event_builder import INTERACTIONS, build_event, build_interaction, build_unusable, keep
from tests.unit.ledger.turn_builder import open_pass, untaught_events


def aged(database: Database, days: float) -> None:
    """All that was kept so far was kept so many days earlier."""
    with database.write() as connection:
        earlier = schema.interactions.c.received_s - days * DAY_S
        connection.execute(update(schema.interactions).values(received_s=earlier))


def left(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(select(schema.interactions.c.id).order_by(schema.interactions.c.id)))


def test_what_no_event_is_about_goes_after_its_days_and_the_audit_stays_clean(database: Database) -> None:
    keep(database, build_interaction("a"), build_interaction("b"), build_unusable(), partition=INTERACTIONS)
    aged(database, 31)
    keep(database, build_interaction("young"), partition=INTERACTIONS)
    with database.read() as connection:
        assert retention.would_go(connection, older_than_s=30 * DAY_S) == (2, 2 * _size())
    assert loop.prune(database, 30, Event()) == 2
    assert left(database) == ["young"]
    assert loop.prune(database, 30, Event()) == 0
    with database.read() as connection:
        assert audit(connection).disagreements == ()


def _size() -> int:
    return len('[{"role": "user", "content": "hello"}]') + len("hi") + len("{}")


def test_what_an_event_names_stays_and_its_whole_conversation(database: Database) -> None:
    talk = [build_interaction(f"t{turn}", conversation="c", turn=turn) for turn in range(3)]
    theirs = build_interaction("theirs", conversation="c", agent="sql")
    alone = [build_interaction("x", conversation="other"), build_interaction("named")]
    keep(database, *talk, theirs, *alone, partition=INTERACTIONS)
    keep(database, build_event("1", interaction="t1"), build_event("2", interaction="named"))
    aged(database, 31)
    loop.prune(database, 30, Event())
    assert left(database) == ["named", "t0", "t1", "t2"]


def test_what_a_turn_was_given_as_an_anchor_stays(database: Database) -> None:
    keep(database, build_interaction("shown"), build_interaction("other"), partition=INTERACTIONS)
    keep(database, build_event("1"))
    open_pass(database, "billing", replies=("shown",))
    aged(database, 31)
    loop.prune(database, 30, Event())
    assert left(database) == ["shown"]


def test_an_event_that_names_a_conversation_only_keeps_it_too(database: Database) -> None:
    keep(
        database,
        build_interaction("a", conversation="c"),
        build_interaction("b", conversation="d"),
        partition=INTERACTIONS,
    )
    keep(database, build_event("1", conversation="c"), build_event("2", conversation="d", agent="sql"))
    aged(database, 31)
    loop.prune(database, 30, Event())
    assert left(database) == ["a"]


def test_an_event_that_comes_while_pages_are_walked_through_keeps_its_interaction(database: Database) -> None:
    keep(database, build_interaction("a"), build_interaction("b"), partition=INTERACTIONS)
    aged(database, 31)
    [ids] = retention.pages(database, older_than_s=DAY_S)
    keep(database, build_event("1", interaction="a", role=None, prompt_group=None))
    assert retention.delete_unneeded(database, ids) == 1
    assert left(database) == ["a"]
    assert [kept.status for kept in untaught_events(database, "billing")] == [Status.OPEN]


def test_what_names_a_pruned_interaction_waits_like_for_one_that_never_came(database: Database) -> None:
    keep(database, build_interaction("a"), partition=INTERACTIONS)
    aged(database, 31)
    loop.prune(database, 30, Event())
    keep(database, build_event("1", interaction="a", role=None, prompt_group=None))
    with database.read() as connection:
        assert connection.scalar(select(schema.events.c.status)) == Status.WAITING.value


def test_long_lists_are_walked_through_in_pages_ties_included(database: Database) -> None:
    names = [f"i{number:04d}" for number in range(2 * retention.PAGE_ROWS + 50)]
    keep(database, *[build_interaction(name) for name in names], partition=INTERACTIONS)
    keep(database, *[build_event(name, interaction=name) for name in names[:300]])
    aged(database, 31)
    pages = list(retention.pages(database, older_than_s=DAY_S))
    assert [len(page) for page in pages] == [0, 100, 50]
    assert loop.prune(database, 1, Event()) == 150
    assert left(database) == names[:300]


def test_a_role_that_is_stopping_is_not_kept_waiting(database: Database) -> None:
    names = [f"i{number:04d}" for number in range(3 * retention.PAGE_ROWS)]
    keep(database, *[build_interaction(name) for name in names], partition=INTERACTIONS)
    aged(database, 31)
    over = Event()
    over.set()
    assert loop.prune(database, 30, over) == retention.PAGE_ROWS


def test_nothing_goes_where_it_is_off(database: Database) -> None:
    keep(database, build_interaction("a"), partition=INTERACTIONS)
    aged(database, 9999)

    class OneRound(Event):
        def wait(self, timeout: float | None = None) -> bool:
            self.set()
            return True

    loop.run(database, 0, OneRound())
    assert left(database) == ["a"]
    loop.run(database, 30, OneRound())
    assert left(database) == []
