"""`clorad dead-letters`: reading dead letters and sending them again."""

import base64

import pytest

from tests.unit.daemon.conftest import Clorad


@pytest.mark.usefixtures("story")
class TestRedriving:
    def test_which_letters_must_be_said(self, clorad: Clorad) -> None:
        result = clorad("dead-letters", "redrive")
        assert (result.code, result.out) == (2, "")
        assert "--reason or --all" in result.err
        assert "no dead letter 77" in clorad("dead-letters", "redrive", "1", "77").err
        assert "there are: invalid_utf8" in clorad("dead-letters", "redrive", "--reason", "rain").err

    def test_a_dry_run_tells_what_would_go_and_changes_nothing(self, clorad: Clorad) -> None:
        waiting = clorad("status", "--json").json["outbox"]["waiting"]
        document = clorad("dead-letters", "redrive", "--all", "--dry-run", "--json").json
        assert document["dry_run"] is True
        assert [letter["kept_back"] for letter in document["letters"]] == [
            None,
            "only its beginning was kept",
            None,
        ]
        lost = document["letters"][2]["record"]
        assert (lost["topic"], base64.b64decode(lost["key"])) == ("clorad.feedback", b"k")
        assert base64.b64decode(lost["value"]) == b'{"id": "lost", "source": "ide"'
        assert lost["headers"] == [["ce_id", "lost"], ["ce_source", "ide"], ["clorad_redriven", "3"]]
        assert "2 letters would go" in clorad("dead-letters", "redrive", "--all", "--dry-run").out
        assert clorad("status", "--json").json["outbox"]["waiting"] == waiting

    def test_they_go_once_unless_named(self, clorad: Clorad) -> None:
        assert "2 letters owed" in clorad("dead-letters", "redrive", "--reason", "invalid_json").out
        assert clorad("dead-letters", "show", "3", "--json").json["redriven_s"] is not None
        assert "no dead letters" in clorad("dead-letters", "redrive", "--reason", "invalid_json").out
        again = clorad("dead-letters", "redrive", "3", "--json").json
        assert [letter["id"] for letter in again["letters"]] == [3]


@pytest.mark.usefixtures("story")
class TestDeadLetters:
    def test_they_are_listed_and_shown_whole(self, clorad: Clorad) -> None:
        assert len(clorad("dead-letters", "list").out.splitlines()) == 4
        assert len(clorad("dead-letters", "list", "--reason", "oversized", "--json").json) == 1
        output = clorad("dead-letters", "show", "3").out
        assert '{"id": "lost", "source": "ide"' in output
        assert "offset 9" in output

    def test_an_unknown_reason_or_number_is_said(self, clorad: Clorad) -> None:
        assert clorad("dead-letters", "list", "--reason", "boredom").code == 2
        assert clorad("dead-letters", "show", "99").code == 1
