"""The examples of `feedback/CLIENT.md` do what the page says, at a real gateway."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.serving.gateway.gateway_builder import RunningGateway, build_gateway, wait_until
from tests.unit.serving.serving_environment import build_environment

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "feedback" / "CLIENT.md").read_text()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    with build_environment(tmp_path) as environment:
        environment.agent("billing-support")
        with build_gateway(environment.database) as running:
            wait_until(lambda: running.document("/routing").get("agents"))
            yield running


def run_example(language: str, gateway: RunningGateway, *command: str) -> str:
    """Run the page's example in `language`, with the address of this gateway in it. Gives what it prints."""
    [code] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert code.count("http://127.0.0.1:8080") == 1
    done = subprocess.run(
        [*command, code.replace("http://127.0.0.1:8080", gateway.url)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_python_example_sends_its_events(gateway: RunningGateway) -> None:
    run_example("python", gateway, sys.executable, "-c")
    first, second, third, last = gateway.sends.data("clorad.feedback")
    assert (first["corrected"], first["author"]) == ("cancel(1042)", "ann")
    assert (second["action"], third["value"]) == ("approve", -1.0)
    identity = dict(gateway.sends.records[0].headers)
    assert last["target"] == {"source": "clorad-client", "id": (identity["ce_id"] or b"").decode()}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_example_sends_its_event(gateway: RunningGateway) -> None:
    answer = json.loads(run_example("sh", gateway, "bash", "-c"))
    assert answer["id"] == "my-id-1"
    [data] = gateway.sends.data("clorad.feedback")
    assert data["corrected"] == "cancel(1042)"
