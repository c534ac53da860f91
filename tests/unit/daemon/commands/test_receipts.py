"""`clorad receipt`: what became of one event."""

import re

import pytest

from tests.unit.daemon.conftest import Clorad

pytestmark = pytest.mark.usefixtures("story")


class TestReceipt:
    def test_a_live_event_shows_its_version_and_what_changed(self, clorad: Clorad) -> None:
        output = clorad("receipt", "dev#e1").out
        assert "live: the version that serves was taught it, since" in output
        assert "correction for billing by bob: cancel order e1" in output
        assert re.search(r"turn 1 in pass 1 as new: trained → v1-\w{6} promoted", output)
        assert "before: It was dropped." in output
        assert "after:  It is cancelled. notify: true" in output

    def test_a_gate_event_says_that_it_is_never_learned_from(self, clorad: Clorad) -> None:
        output = clorad("receipt", "g1").out
        assert "gate: candidates are judged on it" in output
        assert output.count("score 0.00 → 1.00") == 2

    def test_programs_get_the_same(self, clorad: Clorad) -> None:
        [document] = clorad("receipt", "dev#e1", "--json").json["receipts"]
        assert (document["fate"], document["role"], document["stored"]["offset"]) == ("live", "train", 1)
        assert document["turns"][0]["verdict"] == "promote"
        assert document["live_since_s"] == document["turns"][0]["decided_s"]
        assert document["changed"][0]["event"] == "dev#g1"

    def test_an_event_in_a_refused_version_says_why_and_what_happens_now(self, clorad: Clorad) -> None:
        output = clorad("receipt", "f1").out
        assert "being trained on right now" in output
        assert "refused" in output
        assert "harm: 4 of 48" in output

    def test_a_record_that_became_a_dead_letter_is_found_by_its_name(self, clorad: Clorad) -> None:
        assert "dead letter 3: invalid_json" in clorad("receipt", "ide#lost").out
        assert clorad("receipt", "lost", "--json").json["dead_letters"][0]["reason"] == "invalid_json"

    def test_what_never_arrived_is_said_in_one_line(self, clorad: Clorad) -> None:
        result = clorad("receipt", "dev#nothing")
        assert (result.code, result.out) == (1, "")
        assert (
            result.err
            == "clorad: nothing called dev#nothing arrived: neither as an event nor as a dead letter\n"
        )
