"""A role's process as the supervisor sees it: run for real, its exit code and its lines on stderr."""

import gzip
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from daemon.process.role_names import BRIDGE, ROLES, health_port
from tests.otlp_collector import OtlpCollector

ROOT = Path(__file__).parents[4]

PREAMBLE = """
import sys, threading
import structlog
from daemon.process.role_process import RoleRefused, run_role
from daemon.settings import Settings
settings = Settings(telemetry={"log_format": "json", "health_port": int(sys.argv[1])})
log = structlog.get_logger("daemon.test")
"""


def start(body: str, *, health_port: int = 0, name: str = "intake") -> "subprocess.Popen[str]":
    script = f"{PREAMBLE}\n{body}\nsys.exit(run_role('{name}', role, settings))"
    return subprocess.Popen(
        [sys.executable, "-c", script, str(health_port)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


def wait_for_line(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stderr is not None
    while text not in (line := process.stderr.readline()):
        assert line, "the process ended early"


def finish(process: "subprocess.Popen[str]") -> list[dict[str, Any]]:
    _, log_text = process.communicate(timeout=20)
    return [json.loads(line) for line in log_text.splitlines()]


def test_a_role_asked_to_stop_ends_with_zero() -> None:
    process = start("def role(settings, stopping, health):\n log.info('waits')\n stopping.wait(20)")
    wait_for_line(process, "waits")
    process.send_signal(signal.SIGTERM)
    assert finish(process)[-1]["event"] == "role stopped"
    assert process.returncode == 0


def test_a_second_signal_ends_the_process_at_once() -> None:
    process = start("import time\ndef role(settings, stopping, health):\n log.info('waits')\n time.sleep(20)")
    wait_for_line(process, "waits")
    asked_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert time.monotonic() - asked_s < 10
    assert process.returncode == 1


def test_a_role_that_refuses_says_why_in_one_line_and_ends_with_78() -> None:
    process = start(
        "def role(settings, stopping, health): raise RoleRefused('kafka.instance_id: another has it')"
    )
    [refusal] = [line for line in finish(process) if line["level"] == "critical"]
    assert refusal["why"] == "kafka.instance_id: another has it"
    assert process.returncode == 78


def test_each_role_has_a_health_port_of_its_own_also_without_a_supervisor() -> None:
    assert [health_port(9000, role) for role in ROLES] == [9000, 9001, 9002, 9003, 9004]
    assert health_port(9000, BRIDGE) == 9005
    assert {health_port(0, role) for role in (*ROLES, BRIDGE)} == {0}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start("def role(*_): pass", health_port=taken.getsockname()[1] - 3, name="gateway")
        assert str(taken.getsockname()[1]) in finish(process)[-1]["why"]


def test_a_taken_health_port_is_refused_by_name() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start("def role(*_): pass", health_port=taken.getsockname()[1])
        why = finish(process)[-1]["why"]
        assert why.startswith(
            f"telemetry.health_port: 127.0.0.1:{taken.getsockname()[1]} cannot be listened on ("
        )
    assert process.returncode == 78


@pytest.mark.parametrize("where", ["main", "thread"])
def test_a_fault_is_logged_without_what_people_wrote(where: str) -> None:
    fails = "{}['please refund my invoice 4711']"
    body = {
        "main": f"def role(settings, stopping, health): {fails}",
        "thread": (
            "from concurrent.futures import ThreadPoolExecutor\n"
            "def role(settings, stopping, health):\n"
            f" ThreadPoolExecutor(1).submit(lambda: {fails}).result()"
        ),
    }[where]
    process = start(body)
    lines = finish(process)
    assert process.returncode == 1
    [death] = [line for line in lines if line["level"] == "critical"]
    assert death["fault"] == "KeyError"
    assert any("role" in frame for frame in death["where"])
    assert "refund" not in json.dumps(lines)


def test_every_line_names_the_role_and_libraries_speak_only_when_it_matters() -> None:
    process = start(
        "import logging\n"
        "def role(settings, stopping, health):\n"
        " logging.getLogger('kafka.conn').info('noise')\n"
        " logging.getLogger('kafka.conn').warning('trouble')\n"
        " threading.Thread(target=lambda: log.info('from a thread', agents=2)).start()\n"
    )
    lines = {line["event"]: line for line in finish(process)}
    assert "noise" not in lines
    assert lines["trouble"]["logger"] == "kafka.conn"
    assert lines["from a thread"]["agents"] == 2
    assert all(line["role"] == "intake" for line in lines.values())


def test_meters_carry_the_role_and_are_scraped() -> None:
    process = start(
        "from opentelemetry import metrics\n"
        "from prometheus_client import generate_latest\n"
        "def role(settings, stopping, health):\n"
        " metrics.get_meter('feedback').create_counter('feedback.records.kept').add(3, {'topic': 't'})\n"
        " shown = generate_latest().decode()\n"
        " kept = 'feedback_records_kept_total{' in shown\n"
        " log.info('shown', kept=kept, role_named='clorad_role=\"intake\"' in shown)\n"
    )
    [shown] = [line for line in finish(process) if line["event"] == "shown"]
    assert (shown["kept"], shown["role_named"]) == (True, True)


def test_meters_are_pushed_to_a_collector_where_one_is_named() -> None:
    pushed: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            pushed.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{collector.server_address[1]}"
        process = start(
            "from opentelemetry import metrics\n"
            f"settings = Settings(telemetry={{'otlp_endpoint': {endpoint!r}}})\n"
            "def role(settings, stopping, health):\n"
            " metrics.get_meter('feedback').create_counter('feedback.records.kept').add(3)\n"
        )
        finish(process)
        collector.shutdown()
    assert process.returncode == 0
    assert [path for path, _ in pushed] == ["/v1/metrics"]
    body = gzip.decompress(pushed[0][1]) if pushed[0][1][:2] == b"\x1f\x8b" else pushed[0][1]
    assert b"feedback.records.kept" in body
    assert b"clorad.role" in body


def test_spans_reach_a_collector_and_their_ids_the_log(tmp_path: Path) -> None:
    collector = OtlpCollector(tmp_path / "traces")
    process = start(
        "from feedback.tracing import name_ledger, version_root, version_span\n"
        f"settings = Settings(telemetry={{'otlp_endpoint': {collector.url!r}}})\n"
        "def role(settings, stopping, health):\n"
        " name_ledger('ledger-1')\n"
        " with version_root('billing', 7, traces=[], began_s=1.0): log.info('version made')\n"
        " with version_span('clorad.gate', 'billing', 7): log.info('decided')\n"
        " log.info('outside')\n"
    )
    lines = {line["event"]: line for line in finish(process)}
    collector.close()
    turn, gate = collector.spans()
    assert (lines["version made"]["trace_id"], lines["version made"]["span_id"]) == (turn.trace, turn.id)
    assert (lines["decided"]["trace_id"], lines["decided"]["span_id"]) == (turn.trace, gate.id)
    assert (gate.parent, gate.attributes) == (turn.id, {"clorad.agent": "billing", "clorad.version": 7})
    assert "trace_id" not in lines["outside"]


def test_people_get_lines_instead_of_json() -> None:
    process = start(
        "settings = Settings(telemetry={'log_format': 'console'})\n"
        "def role(settings, stopping, health): log.info('records kept', new=3)"
    )
    _, lines = process.communicate(timeout=20)
    assert "records kept" in lines
    assert "new=3" in lines
    assert "{" not in lines


def test_what_is_imported_before_a_role_runs_is_never_looked_at_by_the_garbage_collector() -> None:
    process = start(
        "import gc\ndef role(*_):\n"
        " log.info('counted', exempt=gc.get_freeze_count(), watched=len(gc.get_objects()))"
    )
    [counted] = [line for line in finish(process) if line["event"] == "counted"]
    assert counted["exempt"] > 20 * counted["watched"]
