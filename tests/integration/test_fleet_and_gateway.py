"""Fleet and gateway together, with fake replicas that fail in every way: users notice nothing."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ledger.events import Role
from ledger.versions.promotion import roll_back
from tests.unit.serving.fleet.test_leader import champion, fleet, running
from tests.unit.serving.gateway.gateway_builder import RunningGateway, build_gateway, wait_until
from tests.unit.serving.serving_environment import ServingEnvironment, build_environment

ASK = [{"role": "user", "content": "ask 1"}]
USERS = 8


@pytest.fixture
def two_replicas(tmp_path: Path) -> Iterator[ServingEnvironment]:
    """Billing on two replicas whose every version knows more than the one before."""

    def reply_function(path: str, messages) -> str:
        known = int(path.rpartition("/v")[2].partition("-")[0]) if "/v" in path else 0
        word = messages[-1]["content"].split()[-1]
        right = word.isdigit() and int(word) <= known * 10
        return messages[-1]["content"].replace("ask", "right" if right else "wrong")

    with build_environment(tmp_path) as made:
        made.agent("billing")
        for _ in range(2):
            made.replica(reply_function=reply_function).faults.answer_delay_s = 0.02
        yield made


class Users:
    """They chat and stream without end, and remember who answered and what failed."""

    def __init__(self, gateway: RunningGateway) -> None:
        self._client = gateway.client(default_headers={"x-clorad-capture": "off"})
        self.stop = threading.Event()
        self.versions: list[str] = []
        self.failures: list[BaseException] = []

    def chat(self, streams: bool) -> None:
        while not self.stop.is_set():
            try:
                self.versions.append(self._stream() if streams else self._ask())
            except Exception as failure:  # noqa: BLE001 - whatever a user could see is counted
                self.failures.append(failure)

    def _ask(self) -> str:
        raw = self._client.chat.completions.with_raw_response.create(model="billing", messages=ASK)
        assert raw.parse().choices[0].message.content
        return raw.headers["x-clorad-version"]

    def _stream(self) -> str:
        with self._client.chat.completions.with_streaming_response.create(
            model="billing", messages=ASK, stream=True
        ) as raw:
            assert "".join(chunk.choices[0].delta.content or "" for chunk in raw.parse())
            return raw.headers["x-clorad-version"]


@contextmanager
def users(gateway: RunningGateway) -> Iterator[Users]:
    made = Users(gateway)
    with ThreadPoolExecutor(USERS) as pool:
        for number in range(USERS):
            pool.submit(made.chat, number % 2 == 0)
        try:
            yield made
        finally:
            made.stop.set()


def test_versions_are_judged_promoted_and_rolled_back_while_users_talk(two_replicas):
    with running(fleet(two_replicas)), build_gateway(two_replicas.database) as gateway:
        wait_until(lambda: gateway.get("/readyz").status_code == 200)
        with users(gateway) as talking:
            two_replicas.corrections("billing", 9, role=Role.GATE)
            first = two_replicas.candidate("billing")
            wait_until(lambda: champion(two_replicas) == first.number, wait_s_max=30.0)
            wait_until(lambda: talking.versions[-1] == first.name)
            two_replicas.corrections("billing", 9, role=Role.GATE)
            second = two_replicas.candidate("billing")
            wait_until(lambda: champion(two_replicas) == second.number, wait_s_max=30.0)
            wait_until(lambda: talking.versions[-1] == second.name)
            roll_back(two_replicas.database, "billing", to=None, by="ann", reason="worse")
            began = time.monotonic()
            wait_until(lambda: talking.versions[-1] == first.name)
            assert time.monotonic() - began < 5.0
    assert talking.failures == []
    assert set(talking.versions) == {"v0", first.name, second.name}


def test_replicas_die_and_come_back_one_after_the_other_in_the_middle_of_a_swap(two_replicas):
    standing = two_replicas.champion("billing")
    with running(fleet(two_replicas)), build_gateway(two_replicas.database) as gateway:
        wait_until(lambda: gateway.get("/readyz").status_code == 200, wait_s_max=20.0)
        with users(gateway) as talking:
            wait_until(lambda: standing.name in talking.versions, wait_s_max=20.0)
            two_replicas.corrections("billing", 10, role=Role.DEV)  # what v1 knows already
            two_replicas.corrections("billing", 9, role=Role.GATE)
            candidate = two_replicas.candidate("billing")
            for fake in two_replicas.replicas:
                fake.kill()
                time.sleep(0.3)
                fake.start()
                wait_until(
                    lambda url=fake.url: any(
                        replica["url"] == url
                        and replica["in_rotation"]
                        and standing.model in replica["models"]
                        for replica in gateway.get("/routing").json()["replicas"]
                    ),
                    wait_s_max=30.0,
                )
            wait_until(lambda: champion(two_replicas) == candidate.number, wait_s_max=30.0)
            wait_until(lambda: talking.versions[-1] == candidate.name)
    broken = [str(failure) for failure in talking.failures]
    # A stream in the middle of its answer cannot be begun anew; nothing else may fail.
    assert [why for why in broken if "broke off" not in why] == []
    assert len(broken) <= USERS


def test_the_fleet_role_may_be_away_while_users_talk(two_replicas):
    with build_gateway(two_replicas.database) as gateway:
        with running(fleet(two_replicas)):
            standing = two_replicas.champion("billing")
            wait_until(lambda: gateway.get("/readyz").status_code == 200)
            wait_until(lambda: gateway.get("/routing").json()["agents"]["billing"] == standing.name)
            wait_until(
                lambda: all(standing.model in fake.adapters for fake in two_replicas.replicas),
                wait_s_max=20.0,
            )
        with users(gateway) as talking:
            time.sleep(0.5)
            with running(fleet(two_replicas, holder="another")):
                time.sleep(0.5)
    assert talking.failures == []
    assert set(talking.versions) == {standing.name}
