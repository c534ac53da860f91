"""The fleet role as it runs: its loops in threads, its lease, and what it writes for the gateways."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType

import pytest
from structlog.testing import capture_logs

from ledger import leases
from ledger.events import Role
from ledger.heartbeat import hold_leases
from ledger.versions import desired
from ledger.versions import routing as table
from ledger.versions.promotion import roll_back
from serving.fleet.leader import LEASE, Fleet, build_fleet, run_fleet
from tests.meters import metric_values
from tests.unit.serving.fleet.options_builder import (
    build_fleet_options,
    build_judging_options,
    build_replica_options,
)
from tests.unit.serving.fleet.test_judging import knows, number_in
from tests.unit.serving.serving_environment import ServingEnvironment


class RecordedHealth:
    def __init__(self) -> None:
        self.checks: dict[str, bool] = {}

    def alive(self, name: str) -> None: ...

    def ready(self, name: str, ok: bool, why: str = "") -> None:
        self.checks[name] = ok


def fleet(
    environment: ServingEnvironment,
    holder: str = "one",
    api_keys: Mapping[str, str] = MappingProxyType({}),
    **options,
) -> Fleet:
    return build_fleet(
        environment.database,
        tuple(fake.url for fake in environment.replicas),
        build_fleet_options(
            environment.store,
            holder=holder,
            tick_s=0.05,
            lease_s=1.0,
            replica=build_replica_options(unload_after_s=0.5),
            judging=build_judging_options(placing_s_max=5.0),
            **options,
        ),
        suite=lambda _connection, _candidate, _supporters: [],
        redact=lambda text: text,
        health=RecordedHealth(),
        api_keys=api_keys,
    )


@contextmanager
def running(led: Fleet) -> Iterator[threading.Event]:
    stopping = threading.Event()
    faults: list[BaseException] = []

    def run() -> None:
        try:
            run_fleet(led, stopping)
        except BaseException as fault:
            faults.append(fault)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield stopping
    finally:
        stopping.set()
        thread.join(timeout=10.0)
        assert not thread.is_alive(), "every wait of the role is bounded"
        assert faults == []


def wait_for(done: Callable[[], bool], *, wait_s_max: float = 10.0) -> float:
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < wait_s_max, "it did not come to that"
        time.sleep(0.02)
    return time.monotonic() - began


def replica_states(environment: ServingEnvironment) -> dict[str, table.ReplicaState]:
    with environment.database.read() as connection:
        return {state.url: state for state in table.replica_states(connection)}


def champion(environment: ServingEnvironment, agent: str = "billing") -> int:
    with environment.database.read() as connection:
        return desired.champion(connection, agent)


@pytest.fixture
def billing(environment: ServingEnvironment) -> ServingEnvironment:
    environment.agent("billing")
    for _ in range(2):
        environment.replica(reply_function=knows("v1-", "v2-"))
    return environment


def test_a_candidate_reaches_every_replica_and_is_promoted(billing):
    billing.corrections("billing", 8, role=Role.GATE)
    candidate = billing.candidate("billing")
    with running(fleet(billing)):
        wait_for(lambda: champion(billing) == candidate.number)
        wait_for(lambda: all(candidate.model in state.models for state in replica_states(billing).values()))
    assert all(state.in_rotation for state in replica_states(billing).values())


def test_a_candidate_that_passed_is_promoted_while_the_next_one_is_asked(
    billing: ServingEnvironment,
) -> None:
    billing.agent("shipping")
    candidates = {}
    for agent in ("billing", "shipping"):
        billing.corrections(agent, 8, role=Role.GATE)
        candidates[agent] = billing.candidate(agent)
    asked: list[str] = []
    promoted = threading.Event()

    def answer(path: str, messages: Sequence[Mapping[str, str]]) -> str:
        agent = next((agent for agent, candidate in candidates.items() if candidate.path in path), "")
        if agent and number_in(messages):
            asked.append(agent)
            if agent != asked[0]:
                assert promoted.wait(5.0), f"{asked[0]} was to be promoted first"
        return knows("v1-")(path, messages)

    for replica in billing.replicas:
        replica.reply_function = answer
    with running(fleet(billing)):
        wait_for(lambda: bool(asked))
        wait_for(lambda: champion(billing, asked[0]) == candidates[asked[0]].number, wait_s_max=5.0)
        promoted.set()
        for agent, candidate in candidates.items():
            wait_for(lambda agent=agent, number=candidate.number: champion(billing, agent) == number)  # type: ignore[misc]


def test_an_adapter_beyond_the_capacity_is_logged_and_the_champion_stays(billing):
    serving = billing.champion("billing")
    billing.corrections("billing", 8, role=Role.GATE)
    candidate = billing.candidate("billing")
    full = replace(
        fleet(billing), options=replace(fleet(billing).options, replica=build_replica_options(adapters_max=1))
    )
    with capture_logs() as logged, running(full):
        wait_for(lambda: any(line.get("left_out") == [candidate.model] for line in logged))
        wait_for(lambda: all(serving.model in state.models for state in replica_states(billing).values()))
    assert champion(billing) == serving.number


def test_a_rollback_needs_no_load_and_raises_the_generation(billing):
    first, second = billing.champion("billing"), billing.champion("billing")
    with running(fleet(billing)):
        wait_for(
            lambda: all(
                {first.model, second.model} <= set(state.models) for state in replica_states(billing).values()
            )
        )
        wait_for(lambda: len(replica_states(billing)) == 2)
        with billing.database.read() as connection:
            before = table.routing(connection, {}).generation
        roll_back(billing.database, "billing", to=None, by="ann", reason="worse")
        with billing.database.read() as connection:
            routing = table.routing(connection, {})
    assert routing.generation > before
    assert routing.routes["billing"].version == first.name
    assert all(first.model in state.models and state.in_rotation for state in routing.replicas)


def test_a_replica_that_dies_leaves_and_comes_back_refilled(billing):
    standing = billing.champion("billing")
    dying = billing.replicas[0]
    with running(fleet(billing)):
        wait_for(
            lambda: (
                all(state.in_rotation for state in replica_states(billing).values())
                and len(replica_states(billing)) == 2
            )
        )
        dying.kill()
        wait_for(lambda: not replica_states(billing)[dying.url].in_rotation)
        assert replica_states(billing)[dying.url].models == ()
        dying.start()
        wait_for(lambda: replica_states(billing)[dying.url].in_rotation)
        assert standing.model in replica_states(billing)[dying.url].models


def test_a_process_that_stands_by_is_ready(billing):
    stand_by = fleet(billing, holder="two")
    for check in ("ledger", "replicas"):  # its state when the ledger was away, or when it led
        stand_by.health.ready(check, False, "not there")
    with hold_leases(billing.database, ["fleet"], holder="one", ttl_s=8.0), running(stand_by):
        wait_for(lambda: all(stand_by.health.checks.values()))


def test_a_leader_that_starts_anew_takes_nobody_out_of_rotation(billing):
    billing.champion("billing")
    with running(fleet(billing)):
        wait_for(lambda: len(replica_states(billing)) == 2)
    ever_out: list[str] = []
    watching = threading.Event()

    def watch() -> None:
        while not watching.wait(0.01):
            ever_out.extend(url for url, state in replica_states(billing).items() if not state.in_rotation)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with running(fleet(billing, holder="two")) as _:
        time.sleep(1.0)
    watching.set()
    watcher.join(timeout=5.0)
    assert ever_out == []


def test_one_leads_and_the_other_takes_over_when_it_stops(billing):
    def leader() -> str | None:
        with billing.database.read() as connection:
            return leases.held_names(connection).get(LEASE)

    with running(fleet(billing, holder="one")) as stop_one:
        wait_for(lambda: leader() == "one")
        with running(fleet(billing, holder="two")):
            time.sleep(0.3)
            assert leader() == "one"
            stop_one.set()
            wait_for(lambda: leader() == "two")


def test_an_adapter_that_is_no_longer_wanted_is_unloaded(billing):
    old = [billing.champion("billing") for _ in range(3)]
    fake = billing.replicas[0]
    with running(fleet(billing)):
        wait_for(lambda: old[2].model in fake.adapters)
        billing.champion("billing")
        wait_for(lambda: old[1].model not in fake.adapters)
        assert old[2].model in fake.adapters, "the predecessor stays"


def test_only_the_leader_exports_the_fleet_gauges(billing):
    def missing_by_replica() -> dict[str, float]:
        return {
            dict(labels)["replica"]: count
            for labels, count in metric_values("clorad.fleet.adapters.missing").items()
        }

    billing.champion("billing")
    full, refusing = billing.replicas
    refusing.faults.refuse_loads = True
    with running(fleet(billing)):
        wait_for(lambda: sorted(missing_by_replica().values()) == [0, 1])
        assert missing_by_replica() == {
            full.url.removeprefix("http://"): 0,
            refusing.url.removeprefix("http://"): 1,
        }
        wait_for(lambda: metric_values("clorad.fleet.replicas.in_rotation") == {(): 1})
        assert metric_values("clorad.fleet.replicas.configured") == {(): 2}
    assert missing_by_replica() == {}
    assert (
        metric_values("clorad.fleet.replicas.in_rotation")
        == metric_values("clorad.fleet.replicas.configured")
        == {}
    )


def test_replicas_behind_a_key_are_filled_judged_and_swapped(billing):
    for number, fake in enumerate(billing.replicas):
        fake.api_key = f"s3cret-{number}"
    billing.corrections("billing", 8, role=Role.GATE)
    candidate = billing.candidate("billing")
    keys = {fake.url: fake.api_key for fake in billing.replicas}
    with running(fleet(billing, api_keys=keys)):
        wait_for(lambda: champion(billing) == candidate.number)
        wait_for(lambda: all(candidate.model in state.models for state in replica_states(billing).values()))
    for fake in billing.replicas:
        assert set(fake.authorizations) == {f"Bearer {fake.api_key}"}


def test_a_replica_that_refuses_the_key_is_out_of_rotation_and_its_note_says_so(billing):
    open_replica, closed = billing.replicas
    closed.api_key = "s3cret"
    with running(fleet(billing, api_keys={closed.url: "wrong"})):
        wait_for(
            lambda: (
                len(replica_states(billing)) == 2 and replica_states(billing)[open_replica.url].in_rotation
            )
        )
        state = replica_states(billing)[closed.url]
    assert not state.in_rotation
    assert "fleet.api_key" in str(state.note)
    assert "wrong" not in str(state.note)
