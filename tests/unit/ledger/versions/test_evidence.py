"""Evidence is read in every format that was ever written; a newer format is refused by name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from ledger import schema
from ledger.database import Database
from ledger.errors import NewerEvidence
from ledger.learning import event_queries
from ledger.reports.overview import overview
from ledger.reports.receipts import receipt
from ledger.reports.version_list import version_list
from ledger.upkeep import forgetting
from ledger.upkeep.mentions import Subject
from ledger.versions import decisions
from ledger.versions.evidence import FORMAT, Answers, Evidence, Judgement, Pair, from_json
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import build_evidence, build_version, refuse

SAMPLES = Path(__file__).parents[1] / "samples"
NEWER = {"format": FORMAT + 1, "verdicts": [{"wins": 8}]}
NEWER_REFUSED = "the evidence of a decision has format 3, this clorad reads formats 1 to 2: upgrade clorad"


def stored_samples(format_number: int) -> dict[str, Any]:
    text = (SAMPLES / f"evidence_{format_number}.json").read_text()
    samples: dict[str, Any] = json.loads(text)
    return samples


@pytest.fixture
def with_newer_evidence(database: Database) -> Database:
    """billing has a refused version; the evidence of its decision was written by a newer clorad."""
    keep(database, build_event("1"))
    refuse(database, build_version(database), evidence=build_evidence("dev#g1"))
    with database.write() as connection:
        refusal = schema.decisions.c.kind == "refuse"
        connection.execute(update(schema.decisions).where(refusal).values(evidence=NEWER))
    return database


@pytest.mark.parametrize("format_number", range(1, FORMAT + 1))
class TestEachStoredFormat:
    def test_a_promotion_is_read_whole(self, format_number: int) -> None:
        evidence = from_json(stored_samples(format_number)["promote"])
        assert evidence.reasons == ()
        assert evidence.judgement == Judgement(
            alpha_k=0.025, p=0.00390625, wins=8, losses=0, ties=0, suite_wins=2, suite_losses=0, suite=2
        )
        assert evidence.gate == tuple(Pair(event=f"dev#e{n}", before=0.0, after=1.0) for n in (1, 2))
        assert evidence.suite[0] == Pair(event="dev#e13", before=0.0, after=1.0, again=(0.0, 1.0))
        assert evidence.answers["dev#e1"] == Answers(before="wrong 1", after="right 1")
        assert evidence.attempt == 1
        assert evidence.replica == "http://127.0.0.1:8001"
        assert evidence.parity["probes"] == 3
        assert evidence.answer_counts["after"]["answers"] == 10
        assert list(evidence.replicas) == ["http://127.0.0.1:8001"]
        assert evidence.judged_events() == ["dev#e1", "dev#e2", "dev#e13", "dev#e14"]

    def test_a_refusal_and_abstentions_keep_their_reasons(self, format_number: int) -> None:
        samples = {name: from_json(stored) for name, stored in stored_samples(format_number).items()}
        assert samples["refuse"].reasons[0] == "harm: 2 of 2 prompts became worse, 0 better"
        assert samples["unfit"] == Evidence(reasons=("not what was trained: adapter_config.json",))
        assert samples["not held"].reasons == ("no replica could hold it",)
        assert samples["not held"].failed == {"http://127.0.0.1:8001": "500: Call to add_lora method failed"}

    def test_a_rollback_says_why_and_to_which_version(self, format_number: int) -> None:
        evidence = from_json(stored_samples(format_number)["rollback"])
        assert evidence == Evidence(reasons=("too short",), rolled_back_to=0)

    def test_an_initial_decision_has_no_evidence(self, format_number: int) -> None:
        assert from_json(stored_samples(format_number)["initial"]) == Evidence()

    def test_it_is_written_again_in_the_newest_format(self, format_number: int) -> None:
        for stored in stored_samples(format_number).values():
            evidence = from_json(stored)
            written = json.loads(json.dumps(evidence.to_json()))
            assert written["format"] == FORMAT
            assert from_json(written) == evidence


def test_what_is_written_today_is_the_stored_sample_of_the_newest_format() -> None:
    for name, stored in stored_samples(FORMAT).items():
        written = from_json(stored_samples(1)[name]).to_json()
        today = {"answer_counts" if key == "speech" else key: value for key, value in stored.items()}
        assert json.loads(json.dumps(written)) == today


@pytest.mark.parametrize(
    ("stored", "named"),
    [(NEWER, "format 3"), ({"format": "B", "reasons": []}, "format B"), ({"format": None}, "format None")],
)
def test_an_unknown_format_is_refused_in_one_line_that_names_both_formats_and_the_way_out(
    stored: Mapping[str, Any], named: str
) -> None:
    with pytest.raises(NewerEvidence) as refused:
        from_json(stored)
    line = str(refused.value)
    assert named in line
    assert line.endswith("this clorad reads formats 1 to 2: upgrade clorad")
    assert "\n" not in line


def test_lists_show_evidence_that_a_newer_clorad_wrote_as_unreadable(with_newer_evidence: Database) -> None:
    with with_newer_evidence.read() as connection:
        [decision] = decisions.decisions_of(connection, "billing", 1)
        [line] = version_list(connection, "billing")
        [kept] = event_queries.event_by_uid(connection, "dev#1")
        [turn] = receipt(connection, kept).turns
        last = overview(connection).agents[0].last
    assert decision.evidence == Evidence(reasons=(NEWER_REFUSED,), is_readable=False)
    assert last is not None
    for reasons in (line.reasons, turn.reasons, last.reasons):
        assert reasons == (NEWER_REFUSED,)


def test_evidence_that_a_newer_clorad_wrote_is_never_written_again(with_newer_evidence: Database) -> None:
    with with_newer_evidence.read() as connection:
        [decision] = decisions.decisions_of(connection, "billing", 1)
    with pytest.raises(AssertionError):
        decision.evidence.to_json()


def test_forgetting_stops_before_it_would_miss_answers_in_evidence_it_cannot_read(
    with_newer_evidence: Database,
) -> None:
    about_ann = Subject(kind="author", names=frozenset({"ann"}))
    with pytest.raises(match="upgrade clorad"):
        forgetting.forget(with_newer_evidence, about_ann, whom="f", by="dpo", reason="asked")
    with with_newer_evidence.read() as connection:
        [kept] = event_queries.event_by_uid(connection, "dev#1")
    assert kept.forgotten is None
