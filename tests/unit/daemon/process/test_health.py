import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from daemon.process.health import Health, served
from daemon.process.probing import roles
from daemon.settings import Settings


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock)


def get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def port(health: Health) -> Iterator[int]:
    with served(health, 0) as port:
        yield port


def test_a_role_that_has_said_nothing_is_not_ready(health: Health) -> None:
    assert health.readiness() == (False, {"ready": False, "checks": {}})


def test_ready_means_every_named_check_holds(health: Health, clock: Clock) -> None:
    health.ready("ledger", True)
    health.ready("kafka", False, "no broker")
    clock.now += 5
    ready, shown = health.readiness()
    assert not ready
    assert shown["checks"]["kafka"] == {"ok": False, "why": "no broker", "for_s": 5.0}
    health.ready("kafka", True)
    assert health.readiness()[0]


def test_another_reason_for_the_same_state_keeps_its_age(health: Health, clock: Clock) -> None:
    health.ready("kafka", False, "no broker")
    clock.now += 5
    health.ready("kafka", False, "no coordinator")
    clock.now += 1
    assert health.readiness()[1]["checks"]["kafka"] == {"ok": False, "why": "no coordinator", "for_s": 6.0}


def test_a_loop_that_breaks_its_promise_is_not_alive_until_it_speaks(health: Health, clock: Clock) -> None:
    health.alive("poll", age_s_max=10)
    clock.now += 10
    assert health.liveness()[0]
    clock.now += 0.1
    alive, shown = health.liveness()
    assert not alive
    assert shown["late"] == ["poll"]
    health.alive("poll", age_s_max=10)
    assert health.liveness()[0]


def test_probes_are_answered_in_status_codes_and_json(health: Health, port: int, clock: Clock) -> None:
    assert get(port, "/healthz")[0] == 200
    assert get(port, "/readyz")[0] == 503
    health.ready("ledger", True)
    status, body = get(port, "/readyz")
    assert (status, json.loads(body)["ready"]) == (200, True)
    health.alive("poll", age_s_max=1)
    clock.now += 2
    assert get(port, "/healthz")[0] == 503
    assert get(port, "/elsewhere")[0] == 404


def test_meters_are_shown_to_prometheus(port: int) -> None:
    status, body = get(port, "/metrics")
    assert status == 200
    assert b"process_resident_memory_bytes" in body


def test_it_listens_on_loopback_only(port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=1)


def test_it_listens_elsewhere_where_it_is_told_to(health: Health) -> None:
    with served(health, 0, "0.0.0.0") as port:
        socket.create_connection(("127.0.0.2", port), timeout=5).close()
        assert get(port, "/healthz")[0] == 200


def test_it_listens_on_ipv6_too(health: Health) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with served(health, 0, "::1") as port:
        socket.create_connection(("::1", port), timeout=5).close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.3", "0.0.0.0"])
def test_roles_are_asked_where_they_listen(health: Health, host: str) -> None:
    health.ready("ledger", True)
    with served(health, 0, host) as port:
        settings = Settings(telemetry={"health_port": port, "health_host": host})
        assert roles(settings)["intake"]["ready"]
    settings = Settings(telemetry={"health_port": port, "health_host": "127.0.0.2"})
    assert roles(settings)["intake"] is None


def test_an_address_of_somebody_else_is_an_error_at_start(health: Health) -> None:
    with pytest.raises(OSError), served(health, 0, "192.0.2.1"):
        pass


def test_a_taken_port_is_an_error_at_start(health: Health, port: int) -> None:
    with pytest.raises(OSError), served(health, port):
        pass


class TestToken:
    """With `telemetry.token`, who does not have it learns whether the role is ready, and nothing more."""

    @pytest.fixture
    def guarded(self, health: Health) -> Iterator[int]:
        health.ready("ledger", False, "no ledger at the usual place")
        health.alive("poll")
        with served(health, 0, token="s3cret") as port:
            yield port

    @pytest.mark.parametrize("given", [{}, {"authorization": "Bearer wrong"}, {"authorization": "s3cret"}])
    def test_without_it_metrics_are_closed_and_probes_get_their_status(
        self, guarded: int, given: dict[str, str]
    ) -> None:
        assert get(guarded, "/metrics", **given)[0] == 401
        assert get(guarded, "/healthz", **given) == (200, b"{}\n")
        assert get(guarded, "/readyz", **given) == (503, b"{}\n")

    def test_with_it_everything_is_told(self, guarded: int) -> None:
        token = {"authorization": "Bearer s3cret"}
        assert get(guarded, "/metrics", **token)[0] == 200
        assert get(guarded, "/metrics", authorization="bearer  s3cret")[0] == 200
        assert get(guarded, "/metrics", authorization="Basic s3cret")[0] == 401
        assert b"poll" in get(guarded, "/healthz", **token)[1]
        assert b"usual place" in get(guarded, "/readyz", **token)[1]

    def test_clorad_status_has_it(self, health: Health) -> None:
        health.ready("ledger", True)
        with served(health, 0, token="s3cret") as port:
            asked = roles(Settings(telemetry={"health_port": port, "token": "s3cret"}))
        assert asked["intake"]["checks"]["ledger"]["ok"]
