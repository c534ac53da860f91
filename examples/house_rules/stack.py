"""Starts and stops what the demo runs on: Kafka, one or two vLLM replicas, and clorad's four roles.

All files are in one folder, all servers listen on loopback. `stop` leaves no process behind. Where a demo
was killed before it could stop, the next start ends what it left.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.kafka.broker import LocalBroker, free_port
from deploy.vllm.server import LocalReplica, ServerOptions
from examples.house_rules.demo_process import DemoProcess, kill_group
from examples.house_rules.recipe import BaseOptions, clorad_toml
from feedback.topics import Topics

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "examples" / "base_model" / "weights"
ROLES = ("intake", "learner", "fleet", "gateway")
READY_S_MAX = 240.0
FREE_MIB_MIN = 700
_COMMAND_S_MAX = 300.0  # `replay` trains a whole pass again


class StackFailedError(RuntimeError):
    """Something is missing or did not start. The message says what and why in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """What to start."""

    folder: Path
    agents: Mapping[str, str]  # name -> scorer
    base: BaseOptions = field(default_factory=lambda: BaseOptions(path=BASE))
    replicas: int = 1
    max_loras: int = 8  # adapters in one batch of a replica
    separate_roles: bool = False  # one process for each role instead of `clorad run`, to kill them one by one


class Stack:
    """The servers and roles of one demo. Call `start` once; `stop` may be called at any time."""

    def __init__(self, plan: StackOptions) -> None:
        self._plan = plan
        self._open = ExitStack()
        self.folder = plan.folder
        self.bootstrap = os.environ.get("KAFKA_BOOTSTRAP", "")
        self._external = bool(self.bootstrap)
        self.kafka_options: dict[str, Any] = {}
        self.broker = "kafka"  # or mock
        self.replicas: list[LocalReplica] = []
        self.roles: dict[str, DemoProcess] = {}
        self.gateway = f"http://127.0.0.1:{free_port()}"
        self.config = plan.folder / "clorad.toml"
        self.ledger_url = f"sqlite:///{plan.folder / 'ledger.db'}"

    def start(self) -> None:
        """Start Kafka and vLLM and wait until they answer; roles may be started then.

        Raises `StackFailedError`. Call `stop` even then.
        """
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start Kafka and launch vLLM; roles may be started while vLLM gets ready. Raises as `start`."""
        self.claim()
        self._clear()
        try:
            urls = self._launch_replicas()
            self._start_kafka()
            self.config.write_text(
                clorad_toml(
                    folder=self.folder,
                    base=self._plan.base,
                    bootstrap=self.bootstrap,
                    kafka_options=self.kafka_options,
                    # A Kafka that was there before may hold events of earlier demos.
                    first_start="end" if self._external else "beginning",
                    replicas=urls,
                    gateway_port=int(self.gateway.rpartition(":")[2]),
                    ledger_url=self.ledger_url,
                    agents=self._plan.agents,
                )
            )
            self.clorad("topics", "create")
            self._examine_servers_of_others()
        except (
            RuntimeError,
            OSError,
        ) as fault:  # LocalBroker and LocalReplica say in one line what is missing
            raise StackFailedError(str(fault)) from fault
        self._prepare_roles()

    def wait_ready(self) -> None:
        """Wait until every replica has answered once. Raises `StackFailedError`."""
        try:
            for replica in self.replicas:
                replica.wait_ready(ready_s_max=READY_S_MAX)
        except (RuntimeError, OSError) as fault:
            raise StackFailedError(str(fault)) from fault

    def stop(self) -> None:
        """End every process that this stack started."""
        for role in self.roles.values():
            role.ask_to_stop()
        self._open.close()

    def clorad(self, *words: str) -> str:
        """What `clorad WORDS` prints. Raises `StackFailedError` with its last line if it fails."""
        completed = self.run_clorad(*words)
        if completed.returncode != 0:
            lines = (completed.stderr or completed.stdout).strip().splitlines() or ["it printed nothing"]
            raise StackFailedError(f"clorad {words[0]} ended with {completed.returncode}: {lines[-1][:300]}")
        return completed.stdout

    def run_clorad(self, *words: str, wait_s_max: float = _COMMAND_S_MAX) -> subprocess.CompletedProcess[str]:
        """Run `clorad WORDS` to its end, whatever its exit code. Raises `StackFailedError` on a timeout."""
        try:
            return subprocess.run(
                [*_CLORAD, "--config", str(self.config), *words],
                capture_output=True,
                text=True,
                check=False,
                timeout=wait_s_max,
            )
        except subprocess.TimeoutExpired:
            raise StackFailedError(f"clorad {words[0]} took longer than {wait_s_max:.0f} s") from None

    def faults(self) -> list[str]:
        """Roles that ended although nobody asked them to, each with its exit code and last line."""
        return [
            f"{role.name} ended with {role.ended()}: {role.last_line()}"
            for role in self.roles.values()
            if role.ended() is not None
        ]

    def claim(self) -> None:
        """Lock the folder until `stop`: two demos in one folder would end each other's processes.

        Raises `StackFailedError` where another demo has the lock.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = self._open.enter_context(self.folder.with_suffix(".lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackFailedError(
                f"another demo runs in {self.folder}, or is about to stop: wait for its end"
            ) from None

    def _clear(self) -> None:
        """Remove what an earlier demo left, its processes included."""
        _end_leftovers(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        free_mib = shutil.disk_usage(self.folder).free // 2**20
        if free_mib < FREE_MIB_MIN:
            raise StackFailedError(
                f"{free_mib} MiB free on the disk of {self.folder}, {FREE_MIB_MIN} are needed"
            )

    def _launch_replicas(self) -> list[str]:
        if url := os.environ.get("VLLM_URL"):
            return [url]
        cores = os.cpu_count() or 1
        for number in range(self._plan.replicas):
            # Two replicas get one core each. With one replica a core stays free for the learner.
            options = ServerOptions(
                max_loras=self._plan.max_loras,
                cores=str(number % cores) if self._plan.replicas > 1 else None,
            )
            replica = LocalReplica(
                self._plan.base.path, self.folder / f"replica-{number}", free_port(), options=options
            )
            self._open.callback(replica.stop)
            replica.launch()
            self.replicas.append(replica)
        return [replica.url for replica in self.replicas]

    def _examine_servers_of_others(self) -> None:
        """Raises `StackFailedError` with the first fault of a Kafka or a vLLM that others started."""
        if not (self._external or os.environ.get("VLLM_URL")):
            return
        (self.folder / "adapters").mkdir(exist_ok=True)
        self.clorad("ledger", "migrate")
        examined = self.run_clorad("doctor", "--quick", "--json")
        try:
            findings = json.loads(examined.stdout)["findings"]
        except (ValueError, LookupError):
            raise StackFailedError(f"clorad doctor: {examined.stderr.strip()[-300:]}") from None
        for fault in findings:
            if fault["severity"] == "error" and fault["where"] not in self._own_urls():
                raise StackFailedError(f"{fault['where']}: {fault['what']}; {fault['remedy']}")

    def _own_urls(self) -> list[str]:
        """Of replicas that this demo started: they may not listen yet."""
        return [replica.url for replica in self.replicas]

    def _start_kafka(self) -> None:
        if self.bootstrap:
            return
        broker = LocalBroker(self.folder / "kafka", free_port())
        if shutil.which("java") is None:
            self._start_mock()
            return
        self._open.callback(broker.stop)
        broker.start()
        self.bootstrap = broker.bootstrap

    def _start_mock(self) -> None:
        from deploy.kafka.mock import API_VERSION, MockCluster

        cluster = MockCluster()
        self._open.callback(cluster.stop)
        self.bootstrap = cluster.start()
        cluster.make(Topics().retention_days())
        self.broker = "mock"
        self.kafka_options = {"api_version": list(API_VERSION)}

    def start_role(self, name: str, *, failpoint: str | None = None) -> None:
        """Start the role, with a failpoint where one is named."""
        # The learner runs at a lower priority: people wait for answers, nobody waits for a training step.
        armed = {"CLORAD_FAILPOINT": failpoint} if failpoint else {}
        self.roles[name].start(armed, nice=5 if name == "learner" else 0)

    def _prepare_roles(self) -> None:
        for name in ROLES if self._plan.separate_roles else ("run",):
            command = [*_CLORAD, "--config", str(self.config), name]
            self.roles[name] = DemoProcess(name, command, self.folder / f"{name}.log")
            self._open.callback(self.roles[name].stop)

    def wait_for_agents(self) -> None:
        """Wait until the gateway lists every agent. Raises `StackFailedError` after `READY_S_MAX`."""
        until = time.monotonic() + READY_S_MAX
        while time.monotonic() < until:
            if faults := self.faults():
                raise StackFailedError(faults[0])
            if set(self._plan.agents) <= self._listed():
                return
            time.sleep(0.5)
        raise StackFailedError(
            f"the gateway does not list the agents after {READY_S_MAX:.0f} s, see {self.folder}"
        )

    def routed(self, agent: str) -> str:
        """The version that the gateway routes the agent to; empty where it does not answer."""
        return str(self._read_gateway("/routing").get("agents", {}).get(agent, ""))

    def _listed(self) -> set[str]:
        return {model["id"] for model in self._read_gateway("/v1/models").get("data", ())}

    def _read_gateway(self, path: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"{self.gateway}{path}", timeout=5.0) as answer:
                read: dict[str, Any] = json.load(answer)
        except (OSError, ValueError):
            return {}
        return read


def _end_leftovers(folder: Path) -> None:
    """End the processes of a demo that was killed: their command lines name this folder."""
    for replica_folder in folder.glob("replica-*"):
        LocalReplica(BASE, replica_folder, 0).stop()
    if (folder / "kafka").is_dir():
        LocalBroker(folder / "kafka").kill()
    for pid_file in folder.glob("*.pid"):
        kill_group(pid_file, belongs_to=str(folder))


_CLORAD = (sys.executable, "-m", "daemon")
