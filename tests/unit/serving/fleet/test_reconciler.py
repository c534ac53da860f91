"""A replica holds what the ledger wants, whatever it was sent before and whatever happened to it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ledger.versions import decisions, desired
from ledger.versions.desired import Purpose, Wanted
from serving.fleet.reconciler import Reconciler, Report, in_rotation, judging_replica, versions_to_hold
from serving.fleet.replica import Replica
from serving.fleet.version_check import VersionChecker
from tests.fakes.vllm import FakeVLLM
from tests.fakes.vllm_models import probes
from tests.unit.ledger import turn_builder
from tests.unit.serving.fleet.options_builder import build_replica_options
from tests.unit.serving.gateway.gateway_builder import build_gateway
from tests.unit.serving.serving_environment import BASE_HASH, PROMPT_IDS, ServingEnvironment

FORMAT_1 = Path(__file__).parents[2] / "engine" / "samples" / "format_1"


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reconcile(environment: ServingEnvironment, clock: Clock) -> Iterator[Callable[..., Report]]:
    """Runs one round of the reconciler of a fake replica."""
    reconcilers: dict[str, tuple[Reconciler, Replica]] = {}
    checker = VersionChecker(environment.store, BASE_HASH)

    def run_round(fake: FakeVLLM, **options) -> Report:
        if fake.url not in reconcilers:
            replica = Replica(fake.url)
            reconcilers[fake.url] = (
                Reconciler(replica, checker, build_replica_options(**options), clock=clock),
                replica,
            )
        with environment.database.read() as connection:
            rows = desired.wanted(connection)
        reconciler, _ = reconcilers[fake.url]
        return reconciler.reconcile(versions_to_hold(rows, url=fake.url, usable=[fake.url]))

    yield run_round
    for _, replica in reconcilers.values():
        replica.close()


def test_a_replica_loads_the_champions(environment, reconcile):
    environment.agent("billing")
    champion = environment.champion("billing")
    fake = environment.replica()
    report = reconcile(fake)
    assert report.verified == {champion.model}
    assert fake.adapters == {champion.model: environment.path(champion)}
    assert report.parity[champion.model].passed


def test_an_agent_on_the_base_needs_nothing(environment, reconcile):
    environment.agent("billing")
    assert reconcile(environment.replica()).verified == frozenset()


def test_a_replica_that_answers_otherwise_than_vllm_is_out_until_it_does(environment, reconcile):
    environment.agent("billing")
    champion = environment.champion("billing")
    fake = environment.replica()
    fake.faults.another_api = True
    report = reconcile(fake)
    assert (report.is_usable, report.fault) == (False, f"{fake.url}/v1/completions: not as vLLM answers")
    fake.faults.another_api = False
    assert reconcile(fake).verified == {champion.model}


def test_a_replica_that_restarted_empty_is_refilled_in_one_round(environment, reconcile):
    environment.agent("billing")
    champion = environment.champion("billing")
    fake = environment.replica()
    reconcile(fake)
    fake.kill()
    assert not reconcile(fake).is_usable
    fake.start()
    assert reconcile(fake).verified == {champion.model}


def test_a_replica_that_restarted_between_two_rounds_is_refilled_and_probed_again(environment, reconcile):
    environment.agent("billing")
    champion = environment.champion("billing")
    fake = environment.replica()
    reconcile(fake)
    asked = len(fake.requests)
    fake.kill()
    fake.start()
    fake.faults.load_nothing = True
    assert champion.model in reconcile(fake).failed
    assert len(fake.requests) > asked


def test_predecessors_stay_loaded(environment, reconcile):
    environment.agent("billing")
    first, second = environment.champion("billing"), environment.champion("billing")
    assert reconcile(environment.replica()).verified == {first.model, second.model}


def test_nothing_is_unloaded_before_requests_on_it_have_ended(environment, reconcile, clock):
    environment.agent("billing")
    first = environment.champion("billing")
    fake = environment.replica()
    reconcile(fake)
    second, third = environment.champion("billing"), environment.champion("billing")
    reconcile(fake)
    clock.now_s += 59.0
    reconcile(fake)
    assert first.model in fake.adapters
    clock.now_s += 2.0
    assert reconcile(fake).verified == {second.model, third.model}
    assert set(fake.adapters) == {second.model, third.model}


def test_an_adapter_that_is_wanted_again_in_time_stays(environment, reconcile, clock):
    environment.agent("billing")
    first = environment.champion("billing")
    fake = environment.replica()
    reconcile(fake)
    for _ in range(2):
        environment.champion("billing")
    reconcile(fake)
    with environment.database.write() as connection:
        desired.want(connection, first, Purpose.GATE)
    clock.now_s += 61.0
    assert first.model in reconcile(fake).verified


def test_adapters_of_others_on_the_same_server_are_left_alone(environment, reconcile, clock, tmp_path):
    environment.agent("billing")
    fake = environment.replica()
    fake.adapters["somebody-elses"] = str(tmp_path)
    reconcile(fake)
    clock.now_s += 3600.0
    report = reconcile(fake)
    assert "somebody-elses" in fake.adapters
    assert report.verified == frozenset()


def test_a_load_that_changed_nothing_is_not_held_and_not_kept(environment, reconcile, clock):
    environment.agent("billing")
    champion = environment.champion("billing")
    fake = environment.replica()
    fake.faults.load_nothing = True
    report = reconcile(fake)
    assert report.is_usable
    assert report.verified == frozenset()
    assert report.failed[champion.model].startswith("parity")
    assert fake.adapters == {}
    fake.faults.load_nothing = False
    assert reconcile(fake).verified == frozenset(), "not before the retry is due"
    clock.now_s += 6.0
    assert reconcile(fake).verified == {champion.model}


def test_a_refused_load_is_reported_and_tried_again(environment, reconcile, clock):
    environment.agent("billing")
    champion = environment.champion("billing")
    fake = environment.replica()
    fake.faults.refuse_loads = True
    assert reconcile(fake).failed[champion.model].startswith("500")
    fake.faults.refuse_loads = False
    clock.now_s += 6.0
    report = reconcile(fake)
    assert report.verified == {champion.model}
    assert report.failed == {}


def test_versions_that_come_together_are_loaded_and_then_probed_together(environment, reconcile):
    for agent in ("billing", "sql"):
        environment.agent(agent)
    champions = [environment.champion(agent) for agent in ("billing", "sql")]
    fake = environment.replica()
    assert reconcile(fake).verified == {champion.model for champion in champions}
    paths = [path for path, _ in fake.requests]
    assert paths.index("/v1/completions") > max(
        place for place, path in enumerate(paths) if path == "/v1/load_lora_adapter"
    )


def test_a_version_that_is_not_served_as_trained_does_not_hold_up_the_others(environment, reconcile):
    environment.agent("billing")
    first = environment.champion("billing")
    fake = environment.replica()
    assert reconcile(fake).verified == {first.model}
    environment.agent("sql")
    second = environment.champion("sql")
    fake.faults.load_nothing = True
    environment.agent("coder")
    third = environment.champion("coder")
    report = reconcile(fake)
    assert report.verified == {first.model}
    assert set(report.failed) == {second.model, third.model}


def test_a_replica_over_another_base_gets_no_traffic(environment, reconcile):
    environment.agent("billing")
    foreign = [probe.to_json() for probe in probes("elsewhere", PROMPT_IDS, base="another base")]
    environment.candidate("billing", probes=foreign)
    with environment.database.write() as connection:
        [candidate] = decisions.undecided(connection)
        desired.want(connection, candidate, Purpose.GATE)
    fake = environment.replica()
    assert "its base is not the one" in reconcile(fake).fault
    assert "its base is not the one" in reconcile(fake).fault, "and it stays so"


def test_a_server_that_is_not_vllm_gets_no_traffic_and_no_commands(environment, reconcile):
    environment.agent("billing")
    environment.champion("billing")
    with build_gateway(environment.database) as other:  # any other HTTP server will do
        replica = Replica(other.url + "/routing?")
        report = Reconciler(
            replica, VersionChecker(environment.store, BASE_HASH), build_replica_options()
        ).reconcile([])
        replica.close()
    assert report.fault.endswith("not as vLLM answers")


def test_a_damaged_version_is_loaded_nowhere(environment, reconcile):
    environment.agent("billing")
    champion = environment.champion("billing")
    (environment.store / champion.path / "adapter_model.safetensors").write_bytes(b"flipped bits")
    fake = environment.replica()
    assert reconcile(fake).failed[champion.model] == "not what was trained: adapter_model.safetensors"
    assert fake.requests == []


def test_a_version_that_computes_nan_is_loaded_nowhere(environment, reconcile):
    environment.agent("billing")
    bad = [probe.to_json() for probe in probes("x", PROMPT_IDS, base="base")]
    (_, *numbers), *rows = bad[0]["logprobs"]
    bad[0]["logprobs"] = [[float("nan"), *numbers], *rows]
    champion = environment.candidate("billing", probes=bad)
    turn_builder.promote(environment.database, champion)
    fake = environment.replica()
    assert reconcile(fake).failed[champion.model] == "its probes are not finite"
    assert fake.requests == []


def test_a_version_with_a_manifest_of_the_first_format_is_held(
    environment: ServingEnvironment, reconcile: Callable[..., Report]
) -> None:
    environment.agent("billing")
    champion = environment.champion("billing")
    manifest = environment.store / champion.path / "manifest.json"
    values = json.loads(manifest.read_text())
    del values["format"]
    values["metrics"] = json.loads((next(FORMAT_1.glob("v*")) / "manifest.json").read_text())["metrics"]
    manifest.write_text(json.dumps(values))
    assert reconcile(environment.replica()).verified == {champion.model}


def test_a_version_that_a_newer_clorad_wrote_is_not_held_and_both_formats_are_named(
    environment: ServingEnvironment, reconcile: Callable[..., Report]
) -> None:
    environment.agent("billing")
    champion = environment.candidate("billing", format=99)
    turn_builder.promote(environment.database, champion)
    fake = environment.replica()
    assert "has format 99, this clorad reads formats 1 to" in reconcile(fake).failed[champion.model]
    assert fake.requests == []


def test_a_version_whose_directory_appears_late_is_loaded_then(environment, reconcile, clock):
    environment.agent("billing")
    champion = environment.champion("billing")
    away = (environment.store / champion.path).rename(environment.store / "away")
    fake = environment.replica()
    assert "store is away or behind" in reconcile(fake).failed[champion.model]
    away.rename(environment.store / champion.path)
    clock.now_s += 6.0
    assert reconcile(fake).verified == {champion.model}


def test_the_most_important_adapters_are_held_first(environment):
    def row(purpose: Purpose, number: int, since_s: float = 0.0) -> Wanted:
        version = environment.champion("billing") if number else None
        return Wanted(
            agent="billing", purpose=purpose, number=number, version=version, share=0.0, since_s=since_s
        )

    environment.agent("billing")
    old, new = row(Purpose.PREDECESSOR, 1, 1.0), row(Purpose.PREDECESSOR, 2, 2.0)
    gate, serve, base = row(Purpose.GATE, 3), row(Purpose.SERVE, 4), row(Purpose.SERVE, 0)
    rows = [old, gate, base, new, serve]

    def hold(count: int) -> list[object]:
        return versions_to_hold(rows, url="a", usable=["a"])[:count]

    assert hold(9) == [serve.version, gate.version, new.version, old.version]
    assert hold(2) == [serve.version, gate.version]
    assert versions_to_hold([gate], url="b", usable=["a"]) == []


def test_of_candidates_that_do_not_all_fit_the_one_that_waits_longest_is_judged_first(environment):
    environment.agent("billing")
    rows = [
        Wanted(
            agent="billing",
            purpose=Purpose.GATE,
            number=number,
            version=environment.champion("billing"),
            share=0.0,
            since_s=since_s,
        )
        for number, since_s in ((1, 30.0), (2, 10.0), (3, 20.0))
    ]
    assert versions_to_hold(rows, url="a", usable=["a"])[0] == rows[1].version


def test_candidates_are_judged_on_one_replica_and_stay_there_while_others_come_and_go():
    urls = [f"http://r{n}" for n in range(4)]
    homes = {judging_replica(f"billing@v{n}-000000", urls) for n in range(40)}
    assert homes == set(urls)
    for n in range(40):
        home = judging_replica(f"billing@v{n}-000000", urls)
        others = [url for url in urls if url != home]
        assert judging_replica(f"billing@v{n}-000000", [home, *others[1:]]) == home
    assert judging_replica("x", []) is None


@pytest.mark.parametrize(
    ("held", "faults", "rotation"),
    [
        ({"a": {"m"}, "b": {"m"}}, set(), {"a", "b"}),
        ({"a": {"m"}, "b": set()}, set(), {"a"}),
        ({"a": {"m"}, "b": {"m"}}, {"a"}, {"b"}),
        ({"a": set(), "b": set()}, set(), {"a", "b"}),  # no replica holds it: all stay in rotation
        ({"a": {"m"}, "b": {"n"}}, set(), {"a", "b"}),  # each lacks what the other holds
        ({"a": {"m"}, "b": {"m"}}, {"a", "b"}, set()),
    ],
)
def test_a_replica_that_lacks_what_another_holds_leaves_the_rotation(held, faults, rotation):
    reports = [
        Report(url=url, verified=frozenset(models), fault="gone" if url in faults else None)
        for url, models in held.items()
    ]
    assert in_rotation(reports, frozenset({"m", "n"})) == rotation
