"""Scorers of the user's own for tests: installed functions, and a server whose answers the test sets."""

import json
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

FUNCTIONS = """
import os, subprocess, sys, time

def length(messages, wanted, answers):
    return [min(1.0, len(answer) / len(wanted)) for answer in answers]

def loud(messages, wanted, answers):
    print("what people wrote", flush=True)
    print("what people wrote", file=sys.stderr, flush=True)
    os.write(1, b"{}")
    return [1, 0.5]

def passes(messages, wanted, answers):
    return (answer == wanted for answer in answers)

def raises(messages, wanted, answers):
    raise ValueError(f"secret {wanted}")

def hangs(messages, wanted, answers):
    time.sleep(600)

def ends(messages, wanted, answers):
    os._exit(0)

def leaves(messages, wanted, answers):
    sys.exit(3)

def not_a_number(messages, wanted, answers):
    return [float("nan")] * len(answers)

def too_much(messages, wanted, answers):
    return [2.0] * len(answers)

def too_few(messages, wanted, answers):
    return [1.0]

def words(messages, wanted, answers):
    return ["good"] * len(answers)

def nothing(messages, wanted, answers):
    return None

def secrets(messages, wanted, answers):
    return [float(any(name.startswith("CLORAD_") for name in os.environ))] * len(answers)

def moody(messages, wanted, answers):
    if "moody" in wanted:
        raise KeyError(wanted)
    return [0.25] * len(answers)
"""


def install_functions(folder: Path, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    """Entry points for all of `FUNCTIONS` under their own names, and for `more`: name -> module:function."""
    names = [line.split()[1].partition("(")[0] for line in FUNCTIONS.splitlines() if line.startswith("def ")]
    entries = {name.replace("_", "-"): f"tests_own_scorers:{name}" for name in names} | more
    metadata = folder / "tests_own_scorers-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tests-own-scorers\nVersion: 1.0\n")
    lines = "\n".join(f"{name} = {target}" for name, target in entries.items())
    (metadata / "entry_points.txt").write_text(f"[clorad.scorers]\n{lines}\n")
    (folder / "tests_own_scorers.py").write_text(textwrap.dedent(FUNCTIONS))
    monkeypatch.syspath_prepend(folder)


class ScoringServer:
    """`reply` gets path and body, and returns status and answer: JSON, bytes, or None to say nothing."""

    def __init__(self) -> None:
        self.reply: Callable[[str, Any], tuple[int, Any]] = lambda _path, _body: (200, {})
        self.requests: list[tuple[str, Any, dict[str, str]]] = []
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.requests.append((self.path, body, {k.lower(): v for k, v in self.headers.items()}))
                status, answer = server.reply(self.path, body)
                if answer is None:
                    server.closing.wait(30)
                    return
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that left
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@contextmanager
def build_scoring_server() -> Iterator[ScoringServer]:
    server = ScoringServer()
    try:
        yield server
    finally:
        server.close()


def chat_reply(text: Any) -> dict[str, Any]:
    """What a server of OpenAI's API answers."""
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}
