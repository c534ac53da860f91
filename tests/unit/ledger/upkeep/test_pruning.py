"""Which versions must keep their directories, and what is said of those that have none any more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import leases
from ledger.database import Database
from ledger.errors import FlipRefused
from ledger.learning import turns
from ledger.upkeep import pruning
from ledger.upkeep.pruning import Family, needed
from ledger.versions import decisions, desired, lineage, promotion, routing
from ledger.versions.desired import Purpose
from ledger.versions.lineage import BASE
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import build_version, open_pass, promote, record, refuse


@st.composite
def families(draw: st.DrawFn) -> Family:
    """Versions 1 to n, each made from an earlier one; anything may be wanted, held or built upon."""
    count = draw(st.integers(0, 12))
    parents = {number: draw(st.integers(0, number - 1)) for number in range(1, count + 1)}
    some = st.frozensets(st.sampled_from([BASE, *parents]), max_size=3)
    return Family(
        parents=parents,
        champion=draw(st.sampled_from([BASE, *parents])),
        wanted=draw(some),
        undecided=draw(some) - {BASE},
        starts=draw(some),
        loaded=draw(some | st.just(frozenset({99}))),
    )


def line(family: Family) -> list[int]:
    line = [family.champion]
    while line[-1] != BASE:
        line.append(family.parents[line[-1]])
    return line[:-1]


@given(families(), st.integers(1, 5))
def test_everything_somebody_counts_on_stays(family: Family, keep: int) -> None:
    stays = needed(family, keep=keep)
    for group in ({family.champion}, family.wanted, family.undecided, family.starts, family.loaded):
        assert (group & family.parents.keys()) <= stays
    assert {family.parents[number] for number in family.undecided} - {BASE} <= stays
    assert set(line(family)[:keep]) <= stays <= family.parents.keys()


@given(families(), st.integers(1, 5))
def test_nothing_else_does(family: Family, keep: int) -> None:
    somebodys = {family.champion} | family.wanted | family.undecided | family.starts | family.loaded
    somebodys |= {family.parents[number] for number in family.undecided} | set(line(family)[:keep])
    assert needed(family, keep=keep) <= somebodys


@given(families(), st.integers(1, 5))
def test_who_keeps_more_loses_nothing(family: Family, keep: int) -> None:
    assert needed(family, keep=keep) <= needed(family, keep=keep + 1)


def promoted(database: Database, count: int) -> None:
    for number in range(count):
        keep(database, build_event(f"e{number}"))
        promote(database, build_version(database))


def going(database: Database, *, keep: int = 1) -> list[int]:
    with database.read() as connection:
        return [version.number for version in pruning.unneeded(connection, "billing", keep=keep)]


def pruned(database: Database, *, keep: int = 1) -> None:
    with database.write() as connection:
        pruning.mark(connection, pruning.unneeded(connection, "billing", keep=keep))


def test_champion_predecessor_and_the_newest_of_the_lineage_stay(database: Database) -> None:
    promoted(database, 5)
    assert going(database, keep=3) == [1, 2]
    assert going(database, keep=1) == [1, 2, 3], "v4 is the predecessor: still loaded"
    assert going(database, keep=9) == []


def test_a_refused_version_goes_and_a_candidate_stays(database: Database) -> None:
    keep(database, build_event("1"))
    refuse(database, build_version(database))
    assert going(database) == [1]
    build_version(database)
    assert going(database) == [1]


def test_what_is_wanted_stays_for_whatever_purpose(database: Database) -> None:
    promoted(database, 4)
    with database.write() as connection:
        [second] = [version for version in lineage.versions_of(connection, "billing") if version.number == 2]
        desired.want(connection, second, Purpose.CANARY, share=0.1)
    assert going(database) == [1]


def test_what_a_replica_was_last_seen_with_stays(database: Database) -> None:
    promoted(database, 3)
    with database.read() as connection:
        [first, *_] = lineage.versions_of(connection, "billing")
    held = routing.ReplicaState(
        url="http://a", in_rotation=True, base_name="base", models=(first.model, "else@v1")
    )
    routing.record_replicas(database, [held])
    assert going(database) == []
    routing.record_replicas(database, [])
    assert going(database) == [1]


def test_where_the_turns_of_an_unfinished_pass_began_stays(database: Database) -> None:
    promoted(database, 2)
    keep(database, build_event("b"), build_event("s", agent="sql"))
    opened = open_pass(database, "billing", "sql")
    record(database, opened.turns[0])  # v3 of v2, in a pass that is resumed for sql's sake
    with database.read() as connection:
        candidate = decisions.undecided(connection)[0]
    refuse(database, candidate)
    leases.release(database, {turns.lease_name("billing"): opened.turns[0].plan.token})
    promotion.roll_back(database, "billing", to=0, by="ann", reason="")
    keep(database, build_event("c"))
    promote(database, build_version(database))
    assert going(database) == [1, 3], "v2 is where the unfinished pass would begin again"
    token = opened.turns[1].plan.token
    turns.drop_turn(database, opened.turns[1], token=token, reason="", tokens=0, results={})
    assert going(database) == [1, 2, 3]


def test_who_was_pruned_is_not_pruned_again_and_cannot_be_gone_back_to(database: Database) -> None:
    promoted(database, 4)
    pruned(database, keep=2)
    assert going(database, keep=2) == []
    with pytest.raises(FlipRefused, match=r"billing@v1-\w+ was pruned on .*; one can go back to v3, v0"):
        promotion.roll_back(database, "billing", to=1, by="ann", reason="")
    assert promotion.roll_back(database, "billing", to=None, by="ann", reason="") == (4, 3)
    with pytest.raises(FlipRefused, match="its files are gone; one can go back to v0"):
        promotion.roll_back(database, "billing", to=None, by="ann", reason="")
    assert promotion.roll_back(database, "billing", to=0, by="ann", reason="") == (3, 0)
