"""The accuracy of versions on held-out prompts, as the gate's decisions recorded it."""

import pytest

from ledger.database import Database
from ledger.reports.history.gate_accuracy import by_version, gate_accuracies
from ledger.versions.decisions import Verdict
from ledger.versions.evidence import Evidence, Pair
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import build_evidence, build_version, promote, refuse


def judged(*scores: tuple[float, float]) -> Evidence:
    return Evidence(
        gate=tuple(
            Pair(event=f"dev#{n}", before=before, after=after) for n, (before, after) in enumerate(scores)
        )
    )


def test_the_last_judgement_of_each_version_counts_with_the_means_of_both_models(database: Database) -> None:
    keep(database, build_event("e1"))
    refuse(database, build_version(database), Verdict.ABSTAIN, evidence=judged((0.0, 0.5), (1.0, 1.0)))
    keep(database, build_event("e2"))
    second = build_version(database)
    refuse(database, second, Verdict.CANARY, evidence=judged((0.0, 1.0), (0.0, 0.0), (0.5, 0.5)))
    promote(database, second)  # without scores: what the canary's decision recorded stays
    with database.read() as connection:
        curves = by_version(gate_accuracies(connection))
    assert [(one.number, one.verdict, one.before, one.after, one.prompts) for one in curves["billing"]] == [
        (1, Verdict.ABSTAIN, 0.5, 0.75, 2),
        (2, Verdict.CANARY, pytest.approx(1 / 6), 0.5, 3),
    ]
    assert curves.keys() == {"billing"}


def test_what_was_read_before_is_not_read_again(database: Database) -> None:
    keep(database, build_event("e1"), build_event("e2", agent="sql"))
    refuse(database, build_version(database), evidence=build_evidence("dev#g"))
    with database.read() as connection:
        [first] = gate_accuracies(connection)
    refuse(database, build_version(database, "sql"), evidence=build_evidence("dev#h"))
    with database.read() as connection:
        assert [one.agent for one in gate_accuracies(connection, after_id=first.decision_id)] == ["sql"]
        assert [one.agent for one in gate_accuracies(connection, agent="billing")] == ["billing"]
