"""The gateway as a server: model list, health, readiness, and answers without a ledger."""

import time
from pathlib import Path

import pytest

from ledger.database import Database
from ledger.errors import LedgerDamaged
from ledger.learning import agents
from serving.gateway.feedback_endpoint import ACK_S_MAX
from tests.unit.serving.gateway.gateway_builder import (
    ASK,
    RunningGateway,
    ask_agent,
    build_gateway,
    build_options,
    name_of,
    report_replicas,
    wait_until,
)
from tests.unit.serving.serving_environment import ServingEnvironment


def test_the_model_list_holds_the_agents(gateway: RunningGateway) -> None:
    assert [model.id for model in gateway.client().models.list()] == ["billing", "sql"]


def test_requests_are_answered_while_the_ledger_is_away(
    gateway: RunningGateway, two_replicas: ServingEnvironment, tmp_path: Path
) -> None:
    assert ask_agent(gateway).startswith("v1-")
    (tmp_path / "clorad.db").rename(tmp_path / "away.db")
    two_replicas.database.close()
    time.sleep(0.3)
    assert {ask_agent(gateway).partition("-")[0] for _ in range(5)} == {"v1"}
    assert gateway.get("/readyz").status_code == 200


def test_requests_are_answered_while_the_ledger_is_damaged(
    gateway: RunningGateway, two_replicas: ServingEnvironment, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"this was a ledger once\n" * 1000)
    damaged.replace(tmp_path / "clorad.db")
    for name in ("clorad.db-wal", "clorad.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    two_replicas.database.close()
    with pytest.raises(LedgerDamaged), two_replicas.database.read():
        pass
    time.sleep(0.3)
    assert {ask_agent(gateway).partition("-")[0] for _ in range(5)} == {"v1"}
    assert gateway.get("/readyz").status_code == 200


def test_a_gateway_without_a_ledger_waits_for_it_and_is_not_ready(
    environment: ServingEnvironment, tmp_path: Path
) -> None:
    environment.agent("sql")
    environment.replica(reply_function=name_of)
    report_replicas(environment)
    later = tmp_path / "later"
    database = Database(f"sqlite:///{later / 'clorad.db'}")  # no tables in it yet
    with build_gateway(database) as gateway:
        time.sleep(0.3)
        assert gateway.get("/healthz").status_code == 200
        assert gateway.get("/readyz").status_code == 503
        assert gateway.get("/v1/models").status_code == 503
        answer = gateway.send("/v1/chat/completions", {"model": "sql", "messages": ASK})
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        database.migrate()
        agents.declare(database, agents.Agent(name="sql", base_hash="b" * 64))
        wait_until(lambda: gateway.document("/v1/models").get("data"))
        assert [model.id for model in gateway.client().models.list()] == ["sql"]
    database.close()


def test_an_answer_may_take_as_long_during_shutdown_as_at_any_time() -> None:
    assert build_options(request_s_max=60.0).drain_s_max > 60.0
    assert build_options(request_s_max=1.0).drain_s_max > ACK_S_MAX, "feedback is not cut off either"


def test_tools_can_read_the_routing_table(gateway: RunningGateway, two_replicas: ServingEnvironment) -> None:
    shown = gateway.get("/routing").json()
    assert shown["agents"]["sql"] == "v0"
    assert shown["agents"]["billing"].startswith("v1-")
    assert len(shown["replicas"]) == 2
