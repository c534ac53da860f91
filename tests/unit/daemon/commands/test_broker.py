"""Commands that speak to Kafka: what they refuse before anything is sent, and how they end."""

import base64
import json
from pathlib import Path

import pytest

from daemon.commands import broker
from tests.unit.daemon.conftest import Clorad

AWAY = {"CLORAD_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}


WHOLE = ("--agent", "billing", "--prompt", "cancel it", "--rejected", "no", "--corrected", "yes")


class TestSend:
    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            (("correction", *WHOLE[:6]), "corrected"),
            (("correction", *WHOLE[2:]), "agent"),
            (
                ("correction", "--agent", "billing", "--corrected", "yes"),
                "needs messages, or interaction, or conversation and turn",
            ),
            (
                ("intervention", "--agent", "billing", "--action", "shout", "--prompt", "x", "--said", "y"),
                "action: literal_error ('takeover', 'override', ",
            ),
            (("intervention", "--agent", "billing", "--action", "takeover", "--prompt", "x"), "turns"),
            (
                ("outcome", "--agent", "billing", "--value", "7", "--interaction", "i"),
                "value: less_than_equal (1.0)",
            ),
            (("retraction", "no-hash-sign", "--agent", "billing"), "SOURCE#ID"),
            (("correction", "--file", "missing.json"), "--file: No such file"),
            (("correction", "--file", "broken.json"), "--file: not JSON"),
            (("correction", "--file", "list.json"), "one JSON object"),
            (("correction", *WHOLE, "--source", ""), "source: missing"),
            (("correction", *WHOLE, "--comment", "x" * 300_000), "at most 262144"),
        ],
    )
    def test_what_intake_would_refuse_is_refused_here(
        self, clorad: Clorad, words: tuple[str, ...], complaint: str
    ) -> None:
        Path("broken.json").write_text("{")
        Path("list.json").write_text("[]")
        result = clorad("send", *words, env=AWAY)
        assert result.code == 2
        assert complaint in result.err
        assert result.err.count("\n") == 1

    def test_a_signer_that_may_not_speak_for_the_source_sends_nothing(self, clorad: Clorad) -> None:
        signer = {"secret": base64.b64encode(b"s" * 32).decode(), "sources": ["ide/*"]}
        signing = {"CLORAD_FEEDBACK__SIGN_AS": "ide", "CLORAD_FEEDBACK__SIGNERS": json.dumps({"ide": signer})}
        Path("examples.jsonl").write_text("")
        for words in (("send", "correction", *WHOLE), ("import", "examples.jsonl", "--agent", "billing")):
            result = clorad(*words, env=AWAY | signing)
            assert (result.code, "feedback.signers.ide.sources: needs clorad-" in result.err) == (78, True)

    def test_texts_are_not_repeated_in_a_complaint(self, clorad: Clorad) -> None:
        result = clorad("send", "outcome", "--agent", "billing", "--prompt", "my secret", env=AWAY)
        assert result.code == 2
        assert "secret" not in result.err

    def test_an_event_may_come_from_standard_input(self, clorad: Clorad) -> None:
        data = {"agent": "billing", "author": "ann", "corrected": 7}
        result = clorad("send", "correction", "--file", "-", stdin=json.dumps(data), env=AWAY)
        assert "corrected: string_type" in result.err

    def test_what_was_perhaps_sent_can_be_sent_again_under_its_id(
        self, clorad: Clorad, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(broker, "ACK_S_MAX", 1.0)
        result = clorad("send", "correction", *WHOLE, "--id", "e-17", "--json", env=AWAY)
        assert (result.code, result.out) == (75, ""), "nothing that a program would take for an answer"
        assert "--id e-17" in result.err


def test_a_kafka_version_that_is_none_is_refused_in_one_line(clorad: Clorad) -> None:
    result = clorad("topics", "create", env={"CLORAD_KAFKA__OPTIONS__API_VERSION": "newest"})
    assert (result.code, result.err) == (
        78,
        'clorad: kafka.options: api_version must be like "2.3" or [2, 3]\n',
    )


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ('{"request_timeout_ms": "soon"}', "request_timeout_ms must be a number, not a text\n"),
        ('{"request_timeout_ms": true}', "request_timeout_ms must be a number\n"),
        ('{"check_crcs": "no"}', "check_crcs must be true or false, not a text\n"),
        ('{"check_crcs": 0}', "check_crcs must be true or false\n"),
        ('{"client_rack": 7}', "client_rack must be a text\n"),
        ('{"retries": []}', "retries must be a number\n"),
    ],
)
def test_kafka_options_of_another_kind_are_refused_in_one_line(
    clorad: Clorad, option: str, expected: str
) -> None:
    for words in (("topics", "create"), ("config", "--check")):
        result = clorad(*words, env={"CLORAD_KAFKA__OPTIONS": option})
        assert (result.code, result.err.count("\n")) == (78, 1)
        assert result.err.startswith(f"clorad: kafka.options: {expected}")


def test_topics_are_not_made_where_no_broker_answers(clorad: Clorad) -> None:
    options = {"CLORAD_KAFKA__OPTIONS": '{"bootstrap_timeout_ms": 500}'}
    result = clorad("topics", "create", env={**AWAY, **options})
    assert (result.code, result.out) == (75, "")
    assert "Kafka at 127.0.0.1:1 did not answer" in result.err


def test_options_kafka_python_does_not_know_are_refused(clorad: Clorad) -> None:
    result = clorad("topics", "create", env={"CLORAD_KAFKA__OPTIONS": '{"sasl_mechanics": "PLAIN"}'})
    assert (result.code, "sasl_mechanics" in result.err) == (78, True)
