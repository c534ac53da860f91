"""`clorad schema` and `config`: what they print and what they refuse."""

import pytest

from tests.unit.daemon.conftest import Clorad


class TestSchema:
    @pytest.mark.parametrize(
        "name", ["correction", "clorad.intervention.v1", "outcome", "retraction", "interaction"]
    )
    def test_every_type_has_one(self, clorad: Clorad, name: str) -> None:
        assert clorad("schema", name).json["$schema"].endswith("2020-12/schema")

    def test_an_unknown_type_is_answered_with_those_there_are(self, clorad: Clorad) -> None:
        result = clorad("schema", "applause")
        assert result.code == 2
        assert "clorad.correction.v1" in result.err


def test_kafka_options_as_kafka_python_takes_them_are_taken(clorad: Clorad) -> None:
    options = '{"request_timeout_ms": 500, "linger_ms": 0.5, "acks": "all", "retries": 3, "client_id": "c"}'
    assert clorad("config", "--check", env={"CLORAD_KAFKA__OPTIONS": options}).code == 0


def test_a_gateway_that_is_open_to_others_must_be_meant(clorad: Clorad) -> None:
    others = {"CLORAD_GATEWAY__HOST": "0.0.0.0"}
    refused = clorad("config", "--check", env=others)
    assert refused.code == 78
    assert "gateway.access is open and gateway.host is 0.0.0.0" in refused.err
    assert clorad("config", "--check", env={**others, "CLORAD_GATEWAY__ACCESS": "keys"}).code == 0
