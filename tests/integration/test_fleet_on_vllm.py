"""Fleet and gateway on a real vLLM: what is loaded is what was trained, and swaps cost no request."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.vllm.server import LocalReplica
from engine.adapter_files import content_hash
from ledger import leases
from ledger.errors import LedgerUnavailable
from ledger.events import Role
from ledger.learning import turns
from ledger.versions.lineage import Version, version_name
from ledger.versions.promotion import roll_back
from ledger.versions.routing import replica_states
from serving.fleet.judging import SuiteOf
from serving.fleet.leader import build_fleet, run_fleet
from serving.fleet.reconciler import Reconciler
from serving.fleet.replica import Replica
from serving.fleet.version_check import VersionChecker
from tests import vllm_server
from tests.unit.ledger import turn_builder
from tests.unit.serving.fleet.options_builder import build_fleet_options, build_replica_options
from tests.unit.serving.gateway.gateway_builder import (
    RecordedHealth,
    RunningGateway,
    build_gateway,
    wait_until,
)
from tests.unit.serving.serving_environment import BASE_HASH, ServingEnvironment, build_environment, manifest
from tests.vllm_server import RealVLLM

pytestmark = pytest.mark.vllm

PROMPTS = ([7, 20, 61, 44, 90], [99, 98, 17])
ASK = [{"role": "user", "content": "refund order 42 please"}]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[ServingEnvironment]:
    with build_environment(tmp_path) as made:
        made.agent("billing", capture=True)
        yield made


def trained(environment: ServingEnvironment, base: Path, *, seed: int) -> Version:
    """A candidate that is a real PEFT adapter, with probes by torch and PEFT."""
    environment.corrections("billing", 1, role=Role.TRAIN)
    [turn] = turn_builder.open_pass(environment.database, "billing").turns
    draft = vllm_server.write_adapter(
        environment.store / "billing" / f".draft-{turn.id}", seed=seed, base=base
    )
    (draft / "optimizer.safetensors").write_bytes(b"moments")
    hash_of_draft = content_hash(draft)
    path = f"billing/{version_name(turn.number, hash_of_draft)}"
    final = draft.rename(environment.store / path)
    facts = manifest(final, hash_of_draft, {"probes": reference(base, final)})
    (final / "manifest.json").write_text(json.dumps(facts))
    made = turns.record_version(
        environment.database,
        turn,
        token=turn.plan.token,
        content_hash=hash_of_draft,
        base_hash=BASE_HASH,
        path=path,
        tokens=100,
        results=turn_builder.build_results(turn),
    )
    leases.release(environment.database, {turns.lease_name("billing"): turn.plan.token})
    return made


def reference(base: Path, adapter: Path) -> list[dict[str, Any]]:
    """What torch and PEFT say to some prompts, greedily: probes as the engine would have written them."""
    import torch
    from peft import PeftModel
    from transformers import Qwen3ForCausalLM

    bare = Qwen3ForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    taught = PeftModel.from_pretrained(
        Qwen3ForCausalLM.from_pretrained(base, dtype=torch.float32), adapter
    ).eval()

    def after(model: Any, ids: list[int]) -> Any:
        with torch.no_grad():
            return model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)

    probes = []
    for prompt in PROMPTS:
        ids, likely, numbers = list(prompt), [], {"logprobs": [], "base_logprobs": []}
        for _ in range(4):
            adapted, frozen = after(taught, ids), after(bare, ids)
            likely.append(sorted({*adapted.topk(5).indices.tolist(), *frozen.topk(5).indices.tolist()}))
            numbers["logprobs"].append(adapted[likely[-1]].tolist())
            numbers["base_logprobs"].append(frozen[likely[-1]].tolist())
            ids.append(int(adapted.argmax()))
        probes.append({"prompt_tokens": len(prompt), "token_ids": ids, "likely": likely, **numbers})
    return probes


def no_suite(_connection: object, _candidate: object, _supporters: object) -> list[Any]:
    """Nothing to harm."""
    return []


def judging_never_ends(_connection: object, _candidate: object, _supporters: object) -> list[Any]:
    """For tests that promote by hand: the gate must not be faster."""
    raise LedgerUnavailable("no judging in this test")


@contextmanager
def fleet(environment: ServingEnvironment, *urls: str, suite: SuiteOf = no_suite) -> Iterator[None]:
    led = build_fleet(
        environment.database,
        urls,
        build_fleet_options(
            environment.store, holder="test", tick_s=0.2, replica=build_replica_options(unload_after_s=1.0)
        ),
        suite=suite,
        redact=lambda text: text,
        health=RecordedHealth(),
    )
    stopping = threading.Event()
    thread = threading.Thread(target=run_fleet, args=(led, stopping))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(timeout=30.0)
        assert not thread.is_alive()


@pytest.fixture
def clean(vllm: RealVLLM) -> Iterator[RealVLLM]:
    """The session's server, without adapters afterwards."""
    yield vllm
    replica = Replica(vllm.url)
    for name in replica.models():
        replica.unload(name)
    replica.close()


def shown(gateway: RunningGateway) -> dict[str, Any]:
    routing: dict[str, Any] = gateway.get("/routing").json()
    return routing


def holds(gateway: RunningGateway, version: Version) -> bool:
    return any(version.model in replica["models"] for replica in shown(gateway)["replicas"])


def test_a_swap_and_a_rollback_under_load_cost_no_request(environment, clean):
    first = trained(environment, clean.base, seed=1)
    turn_builder.promote(environment.database, first)
    second = trained(environment, clean.base, seed=2)
    judged = fleet(environment, clean.url, suite=judging_never_ends)
    with judged, build_gateway(environment.database) as gateway:
        wait_until(lambda: holds(gateway, first) and holds(gateway, second), wait_s_max=30.0)
        client, stop, spoken = gateway.client(), threading.Event(), []

        def chat() -> None:
            while not stop.is_set():
                raw = client.chat.completions.with_raw_response.create(
                    model="billing", messages=ASK, max_tokens=4, temperature=0
                )
                spoken.append(raw.headers["x-clorad-version"])

        with ThreadPoolExecutor(4) as pool:
            chatting = [pool.submit(chat) for _ in range(4)]
            try:
                wait_until(lambda: len(spoken) > 8)
                flipped = time.monotonic()
                turn_builder.promote(environment.database, second)
                wait_until(lambda: shown(gateway)["agents"]["billing"] == second.name)
                swap_s = time.monotonic() - flipped
                wait_until(lambda: spoken[-1] == second.name)
                roll_back(environment.database, "billing", to=None, by="ann", reason="worse")
                back = time.monotonic()
                wait_until(lambda: shown(gateway)["agents"]["billing"] == first.name)
                back_s = time.monotonic() - back
                wait_until(lambda: spoken[-1] == first.name)
            finally:
                stop.set()  # else the pool would wait for ever for those who chat
        assert [chat.exception() for chat in chatting] == [None] * 4
        assert set(spoken) == {first.name, second.name}
        assert swap_s < 1.0
        assert back_s < 1.0
        wait_until(lambda: gateway.sends.records)
        kept = gateway.sends.data("clorad.interactions")[-1]
        assert len(kept["token_ids"]) == len(kept["logprobs"]) == 4


def test_what_vllm_serves_is_within_round_off_of_torch(environment, clean):
    candidate = trained(environment, clean.base, seed=3)
    turn_builder.promote(environment.database, candidate)
    replica = Replica(clean.url)
    report = Reconciler(
        replica, VersionChecker(environment.store, BASE_HASH), build_replica_options()
    ).reconcile([candidate])
    replica.close()
    parity = report.parity[candidate.model]
    assert parity.passed
    assert parity.difference_nats < 1e-4
    assert parity.base_difference_nats < 1e-4
    assert parity.distance_nats > 0.1


def test_an_adapter_that_is_not_what_was_probed_is_not_served(environment, clean):
    honest = trained(environment, clean.base, seed=4)
    turn_builder.promote(environment.database, honest)
    swapped = vllm_server.write_adapter(environment.store / "other", seed=5, base=clean.base)
    shutil.copy(swapped / "adapter_model.safetensors", environment.store / honest.path)
    facts = json.loads((environment.store / honest.path / "manifest.json").read_text())
    forged = manifest(environment.store / honest.path, honest.hash, {"probes": facts["probes"]})
    (environment.store / honest.path / "manifest.json").write_text(json.dumps(forged))
    with fleet(environment, clean.url), build_gateway(environment.database) as gateway:
        wait_until(lambda: shown(gateway)["replicas"], wait_s_max=20.0)
        time.sleep(1.0)
        assert not holds(gateway, honest)
        with environment.database.read() as connection:
            [state] = replica_states(connection)
        assert "parity" in (state.note or "")


@pytest.mark.timeout(600)  # it starts a server again
def test_a_server_that_was_killed_is_refilled_before_it_answers_again(
    environment, killable_vllm: LocalReplica
):
    server = killable_vllm
    base = vllm_server.known(server.url).base
    champion = trained(environment, base, seed=6)
    turn_builder.promote(environment.database, champion)
    with fleet(environment, server.url), build_gateway(environment.database) as gateway:
        wait_until(lambda: holds(gateway, champion), wait_s_max=30.0)
        server.kill()
        wait_until(lambda: gateway.get("/readyz").status_code == 503, wait_s_max=20.0)
        began = time.monotonic()
        server.start()
        wait_until(lambda: gateway.get("/readyz").status_code == 200, wait_s_max=30.0)
        assert holds(gateway, champion)
        raw = gateway.client().chat.completions.with_raw_response.create(
            model="billing", messages=ASK, max_tokens=4
        )
        assert raw.headers["x-clorad-version"] == champion.name
        assert time.monotonic() - began < 200.0
