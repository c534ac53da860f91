"""The example of a scorer of one's own decides at the gate, as a function and as a server."""

import runpy
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from ledger.events import Role
from ledger.versions.decisions import Verdict
from serving.scoring.registry import ScorerRegistry
from serving.scoring.verifier import HttpVerifier
from tests.integration.example_stage import ROOT
from tests.unit.ledger.event_builder import build_event
from tests.unit.serving.fleet.test_judging import JudgingSetup
from tests.unit.serving.scoring.scorer_builder import install_functions
from tests.unit.serving.serving_environment import build_environment

EXAMPLE = ROOT / "examples" / "05-your-own-scorer.py"
example = runpy.run_path(str(EXAMPLE))


@contextmanager
def serve_scores() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), example["ScoreHandler"])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/score"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def decide(folder: Path, registry: ScorerRegistry, name: str) -> Verdict:
    """The gate's verdict on a version that promises what was wanted; the base promises something else."""
    with build_environment(folder) as environment:
        environment.agent("support", scorer=name)
        environment.replica(
            reply_function=lambda path, messages: (
                f"We pay {'20' if 'v1-' in path else '99'} euros back for {messages[-1]['content']}."
            )
        )
        events = [
            build_event(
                f"g{n}",
                agent="support",
                role=Role.GATE,
                data={
                    "messages": [{"role": "user", "content": f"order {n}"}],
                    "rejected": "no",
                    "corrected": f"You get 20 euros for order {n}.",
                },
            )
            for n in range(8)
        ]
        environment.say(*events)
        environment.candidate("support")
        with closing(JudgingSetup(environment, scorers=registry)) as judge:
            judge.run()
            return judge.decisions("support")[-1].verdict


def test_the_amounts_decide() -> None:
    answers = ["You get 20 euros.", "Soon.", "You get 20 euros and 5 € more."]
    assert example["score"]([], "We pay 20 euros.", answers) == [1.0, 0.5, 0.0]


def test_the_function_decides_at_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "your_package.py").write_text(EXAMPLE.read_text())
    install_functions(tmp_path, monkeypatch, policy="your_package:score")
    assert decide(tmp_path, ScorerRegistry(wait_s_max=30.0), "policy") is Verdict.PROMOTE


def test_the_server_decides_at_the_gate(tmp_path: Path) -> None:
    with serve_scores() as url:
        registry = ScorerRegistry(
            {"policy": lambda: HttpVerifier(url, headers={}, wait_s_max=30.0)}, wait_s_max=30.0
        )
        assert decide(tmp_path, registry, "policy") is Verdict.PROMOTE
