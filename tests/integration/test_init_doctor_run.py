"""From nothing to roles that are ready, as a newcomer with a Kafka and a vLLM does it: three commands."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.kafka.broker import LocalBroker, free_port
from tests.installation import ROOT, Installation
from tests.vllm_server import RealVLLM

pytestmark = [pytest.mark.kafka, pytest.mark.vllm, pytest.mark.timeout(600)]

STARTED = ("intake", "learner", "fleet", "gateway")
READY_S_MAX = 240.0


class EmptyFolder(Installation):
    """An installation before `clorad init`: a folder, and ports for what will run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log, self.health_port = folder, folder / "log", free_port()
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CLORAD_")}
        ports = {
            "CLORAD_GATEWAY__PORT": str(free_port()),
            "CLORAD_GATEWAY__LEAVE_S": "0",
            "CLORAD_TELEMETRY__HEALTH_PORT": str(self.health_port),
        }
        self.environment = {**clean, **ports, "PYTHONPATH": str(ROOT)}

    def unready_roles(self) -> list[str]:
        """The roles that do not answer, or that wait for something."""
        roles = self.json("status")["roles"]
        return [name for name in STARTED if not (roles[name] or {}).get("ready")]


def test_a_kafka_and_a_vllm_given_by_url_are_all_that_three_commands_need(
    tmp_path: Path, own_broker: Callable[..., LocalBroker], vllm: RealVLLM
) -> None:
    newcomer = EmptyFolder(tmp_path)
    broker = own_broker()
    options = ("--brokers", broker.bootstrap, "--replica", vllm.url, "--agent", "billing")
    said = newcomer.clorad("init", "--yes", *options)
    assert "topics: made clorad.feedback" in said
    assert str(vllm.base) in (tmp_path / "clorad.toml").read_text(), "the replica says where its base is"

    document = json.loads(newcomer.clorad("doctor", "--json"))
    assert document["findings"] == []
    assert {check["name"] for check in document["checks"] if check["state"] == "skipped"} <= {
        *("group", "keys", "scorers"),
    }

    with newcomer.running(*STARTED):
        began_s = time.monotonic()
        while not (tmp_path / "log").exists() or newcomer.unready_roles():
            assert time.monotonic() - began_s < READY_S_MAX, newcomer.log.read_text()[-4000:]
            time.sleep(1.0)
        document = json.loads(newcomer.clorad("doctor", "--quick", "--json"))
        assert document["findings"] == [], "it may be asked while the roles run"

    broker.kill()
    newcomer.environment["CLORAD_KAFKA__OPTIONS"] = '{"bootstrap_timeout_ms": 1000}'
    document = json.loads(newcomer.clorad("doctor", "--quick", "--json", ok=False))
    assert [finding["name"] for finding in document["findings"]] == ["kafka-away"]
