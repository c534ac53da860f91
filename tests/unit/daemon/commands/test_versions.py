"""`clorad versions`, `why` and `rollback`: what they show and what they change."""

import re

import pytest

from daemon.commands.documents.version_document import parse_reference
from daemon.commands.versions import training_line, tries_line
from daemon.console import CommandFailed
from engine.measurements import End, RateTry
from tests.unit.daemon.conftest import Clorad
from tests.unit.engine.measurements import build_metrics


def test_a_training_says_how_long_it_was_and_what_ended_it() -> None:
    metrics = build_metrics(
        steps=25, ended=End.LEARNED, learned_share=1.0, kept_share=0.996, learning_rate=1.32e-3
    )
    assert training_line(metrics) == (
        "25 steps at a learning rate of 0.0013, until its corrections were learned; "
        "100% of its corrections are learned, 99.6% of its anchors' tokens kept"
    )
    spent = build_metrics(steps=100, ended=End.STEPS, learned_share=0.5, learning_rate=1e-3)
    assert training_line(spent) == (
        "100 steps at a learning rate of 0.001, as many as its recipe allows; "
        "50% of its corrections are learned"
    )


def test_a_training_of_an_older_clorad_says_what_is_known() -> None:
    older = build_metrics(ended=None, learned_share=None, learning_rate=None)
    assert training_line(older) == "3 steps"
    assert training_line(None) == "its manifest cannot be read here"


@pytest.mark.usefixtures("story")
class TestVersions:
    def test_verdict_evidence_and_people_are_on_one_line(self, clorad: Clorad) -> None:
        newest, oldest = clorad("versions", "billing").out.splitlines()[1:]
        assert re.search(r"v2-\w{6} +v1-\w{6} +refused +gate +2 +1 +harm", newest)
        assert re.search(r"v1-\w{6} +v0 +promoted +gate +3 +2 +8 wins, 1 loss, 3 ties; p = 0.0195", oldest)

    def test_programs_get_the_same(self, clorad: Clorad) -> None:
        newest, oldest = clorad("versions", "billing", "--json").json
        assert (newest["verdict"], newest["reasons"]) == ("refuse", ["harm: 4 of 48 prompts became worse"])
        assert (oldest["events"], oldest["authors"], oldest["serving"]) == (3, 2, True)

    def test_an_agent_without_versions_serves_the_base(self, clorad: Clorad) -> None:
        assert "serves v0" in clorad("versions", "coder").out

    def test_a_misspelt_agent_is_answered_with_those_there_are(self, clorad: Clorad) -> None:
        result = clorad("versions", "biling")
        assert (result.code, result.err) == (1, "clorad: no agent biling; there are: billing, coder, sql\n")


@pytest.mark.usefixtures("story")
class TestWhy:
    def test_it_says_who_taught_what_whether_it_is_better_and_how_to_undo_it(self, clorad: Clorad) -> None:
        output = clorad("why", "billing@v1").out
        assert re.search(r"standing +serving", output)
        assert re.search(r"people +bob \(2\), ann \(1\)", output)
        assert "8 wins, 1 loss, 3 ties; p = 0.0195 (needs ≤ 0.0250)" in output
        assert re.search(
            r"cancel order g1 +It was dropped\. +It is cancelled\. notify: true +0\.00 → 1\.00", output
        )
        assert re.search(r"dev#e0 +correction +ann +cancel order e0", output)
        assert "to undo: clorad rollback billing --to 0 --reason" in output

    def test_programs_get_the_same(self, clorad: Clorad) -> None:
        document = clorad("why", "billing@v1", "--json").json
        assert [taught["uid"] for taught in document["taught"]] == ["dev#e0", "dev#e1", "dev#e2"]
        assert document["authors"] == {"bob": 2, "ann": 1}
        assert document["decisions"][0]["evidence"]["judgement"]["wins"] == 8
        assert (document["parent"], document["pass"], document["serving"]) == ("v0", 1, True)
        assert document["undo"] == "clorad rollback billing --to 0 --reason '…'"

    def test_a_refused_version_needs_no_undoing(self, clorad: Clorad) -> None:
        output = clorad("why", "billing@v2").out
        assert "not serving" in output
        assert "harm: 4 of 48 prompts became worse" in output
        assert "to undo: nothing" in output

    @pytest.mark.parametrize(
        ("reference", "complaint", "code"),
        [
            ("billing", "a version is named", 2),
            ("billing@v9", "billing has no version 9", 1),
            ("billing@v1-ffffff", "billing@v1 is v1-", 1),
            ("nobody@v1", "no agent nobody", 1),
            ("billing@v0", "the base model", 1),
        ],
    )
    def test_what_was_never_made_is_said_in_one_line(
        self, clorad: Clorad, reference: str, complaint: str, code: int
    ) -> None:
        result = clorad("why", reference)
        assert (result.code, result.out) == (code, "")
        assert complaint in result.err
        assert result.err.count("\n") == 1

    def test_references_are_read_with_and_without_hash(self) -> None:
        assert parse_reference("a.b-c@v12-0af3") == ("a.b-c", 12, "0af3")
        assert parse_reference("billing@7") == ("billing", 7, None)
        with pytest.raises(CommandFailed):
            parse_reference("billing@latest")


@pytest.mark.usefixtures("story")
class TestRollback:
    def test_the_agent_goes_back_and_the_decision_has_a_name(self, clorad: Clorad) -> None:
        result = clorad("rollback", "billing", "--reason", "too short", "--by", "ann")
        assert re.match(r"billing goes back from v1-\w{6} to v0; ", result.out)
        document = clorad("why", "billing@v1", "--json").json
        last = document["decisions"][-1]
        assert (last["verdict"], last["by"], last["evidence"]["reasons"]) == (
            "rollback",
            "ann",
            ["too short"],
        )
        assert clorad("status", "--json").json["agents"]["billing"]["version"] == "v0"
        assert "v1 was rolled back" in clorad("receipt", "dev#e1").out

    def test_with_nothing_to_go_back_to_it_is_refused(self, clorad: Clorad) -> None:
        result = clorad("rollback", "coder")
        assert (result.code, result.err) == (1, "clorad: coder: v0 has no earlier champion\n")


def test_why_says_which_learning_rates_were_tried_and_which_was_chosen() -> None:
    rates = [
        RateTry(learning_rate=rate, steps=40, loss_nats=loss, kept_share=None, is_chosen=loss < 1.0)
        for rate, loss in ((2e-4, 1.25), (6e-4, 0.5))
    ]
    assert tries_line(rates) == (
        "0.0002: loss 1.250 nats after 40 steps; 0.0006: loss 0.500 nats after 40 steps, chosen"
    )
    assert tries_line(()) == ""
