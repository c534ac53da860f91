"""`clorad promote`, `refuse`, `hold` and `resume`: what they change, and what status says of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.database import Database
from ledger.learning.agents import Agent, declare
from ledger.versions import decisions, desired, promotion
from ledger.versions.decisions import Verdict
from ledger.versions.desired import Purpose
from ledger.versions.evidence import Evidence
from tests.unit.daemon.conftest import Clorad
from tests.unit.ledger.event_builder import build_event, build_retraction, keep
from tests.unit.ledger.ledger_builder import build_ledger
from tests.unit.ledger.turn_builder import build_decision, build_version, promote


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """billing has a candidate that the gate has not judged yet."""
    database = build_ledger(tmp_path / "clorad.db")
    declare(database, Agent(name="billing", base_hash="b" * 64, confirm=True))
    keep(database, build_event("e1"))
    build_version(database)
    yield database
    database.close()


def pass_gate(database: Database) -> None:
    with database.write() as connection:
        [candidate] = decisions.undecided(connection)
        decisions.decide(connection, build_decision(candidate, Verdict.CANARY))
        desired.want(connection, candidate, Purpose.CANARY)


def last(database: Database) -> tuple[str, str, tuple[str, ...]]:
    with database.read() as connection:
        decision = decisions.decisions_of(connection, "billing")[-1]
    return decision.verdict.value, decision.by, decision.evidence.reasons


def test_a_person_lets_a_version_serve_that_passed_the_gate(clorad: Clorad, database: Database) -> None:
    pass_gate(database)
    said = clorad("promote", "billing@v1", "--by", "ann", "--reason", "read its answers")
    assert said.out == "billing: v1-000001 is promoted as soon as the replicas hold it\n"
    assert last(database) == ("confirm", "ann", ("read its answers",))


def test_a_version_that_has_not_passed_the_gate_is_not_promoted(clorad: Clorad, database: Database) -> None:
    said = clorad("promote", "billing@v1")
    assert (said.code, said.err) == (1, "clorad: billing@v1-000001: it has not passed the gate\n")
    assert last(database)[0] == "initial"


def test_a_person_refuses_a_version_and_says_why(clorad: Clorad, database: Database) -> None:
    assert clorad("refuse", "billing@v1").code == 2
    said = clorad("refuse", "billing@v1", "--by", "ann", "--reason", "too short", "--json")
    assert said.json == {"agent": "billing", "version": "v1-000001", "verdict": "refuse", "by": "ann"}
    assert last(database) == ("refuse", "ann", ("too short",))
    again = clorad("refuse", "billing@v1", "--reason", "again")
    assert again.err == "clorad: billing@v1-000001: already decided\n"


def test_the_champion_is_neither_promoted_nor_refused(clorad: Clorad, database: Database) -> None:
    with database.read() as connection:
        [candidate] = decisions.undecided(connection)
    promote(database, candidate)
    for command in ("promote", "refuse"):
        said = clorad(command, "billing@v1", "--reason", "no")
        assert said.err == ("clorad: billing serves v1-000001; `clorad rollback billing` goes back\n"), (
            command
        )


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("billing@v9", "billing has no version 9"),
        ("billing@v1-ffffff", "billing@v1 is v1-000001, not v1-ffffff"),
        ("sql@v1", "no agent sql; there are: billing"),
    ],
)
@pytest.mark.usefixtures("database")
def test_what_is_not_there_is_refused(clorad: Clorad, reference: str, why: str) -> None:
    assert clorad("promote", reference).err == f"clorad: {why}\n"


def test_an_agent_is_on_hold_until_it_is_resumed_and_status_says_so(
    clorad: Clorad, database: Database
) -> None:
    pass_gate(database)
    said = clorad("hold", "billing", "--by", "ann", "--reason", "month's end")
    assert said.out == "billing is on hold\n"
    assert clorad("status", "--json").json["agents"]["billing"]["on_hold_by"] == "ann"
    assert "! billing: on hold by ann since" in clorad("status").out
    assert clorad("hold", "billing", "--reason", "too").out == "billing was on hold already\n"
    assert clorad("resume", "billing").out == "billing goes on\n"
    assert clorad("resume", "billing").out == "billing was not on hold\n"
    assert clorad("hold", "sql", "--reason", "no").err == "clorad: no agent sql; there are: billing\n"


def test_status_says_what_a_candidate_waits_for(clorad: Clorad, database: Database) -> None:
    assert clorad("status", "--json").json["agents"]["billing"]["candidate_waits_for"] is None
    pass_gate(database)
    waits = "a person: clorad promote billing@v1 or clorad refuse billing@v1"
    assert clorad("status", "--json").json["agents"]["billing"]["candidate_waits_for"] == waits
    assert "v1-000001 waits for a person" in " ".join(clorad("status").out.split())
    assert f"waits for {waits}" in clorad("why", "billing@v1").out
    assert "taught to a candidate that passed the gate and waits for a person" in clorad("receipt", "e1").out


def test_status_says_what_a_canary_waits_for(clorad: Clorad, database: Database) -> None:
    declare(database, Agent(name="billing", base_hash="b" * 64, canary_share=0.05))
    pass_gate(database)
    with database.read() as connection:
        [candidate] = decisions.undecided(connection)
    promotion.give_share(database, candidate, 0.05, by="canary", evidence=Evidence())
    waits = clorad("status", "--json").json["agents"]["billing"]["candidate_waits_for"]
    assert waits.endswith("s more of this step (5% of the conversations)")
    waits = clorad("status", "--json", env={"CLORAD_CANARY__S_MAX": "0.001"}).json["agents"]["billing"]
    assert waits["candidate_waits_for"] == "its first conversation (5% of the conversations)"


def test_a_refused_version_is_brought_back_with_a_reason_and_shown(
    clorad: Clorad, database: Database
) -> None:
    clorad("refuse", "billing@v1", "--by", "ann", "--reason", "too short")
    keep(database, build_retraction("r", "e1"))
    unexplained = clorad("promote", "billing@v1", "--by", "ben")
    assert unexplained.code == 2
    assert "say why it comes back, --reason" in unexplained.err
    said = clorad("promote", "billing@v1", "--by", "ben", "--reason", "long enough", "--json")
    assert said.json == {
        "agent": "billing",
        "version": "v1-000001",
        "verdict": "reinstate",
        "by": "ben",
        "not_following": [{"event": "dev#e1", "status": "retracted"}],
    }
    assert last(database) == ("reinstate", "ben", ("long enough",))
    assert "brought back by ben" in clorad("why", "billing@v1").out
    assert clorad("refuse", "billing@v1", "--by", "ann", "--reason", "too short").code == 0
    text = clorad("promote", "billing@v1", "--by", "ben", "--reason", "long enough").out
    assert text.endswith("it was taught with dev#e1, which stays retracted\n")
