"""Runs a real Apache Kafka on this machine: one KRaft node on loopback, from its Maven jars.

Its data directory has everything, so that another process can find, stop or restart it. Jars go to `libs/`.
"""

import argparse
import base64
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deploy import process

HERE = Path(__file__).resolve().parent
LIBS = HERE / "libs"
DATA = HERE.parents[1] / ".kafka"
PORT, JAVA_MIN = 9092, 17

_DOWNLOAD_S_MAX = 600.0
_FORMAT_S_MAX = 60.0
_READY_LINE = "Kafka Server started"


class BrokerUnavailable(RuntimeError):
    """The broker cannot start or did not. The text says what is missing and how to get it."""


class LocalBroker:
    """One broker on one data directory. `start` adopts a broker that already runs there."""

    def __init__(
        self,
        data: Path,
        port: int = PORT,
        *,
        node: int = 1,
        cluster_id: str | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self._data = data.resolve()
        self._port = port
        self._node = node
        self._cluster_id = cluster_id or new_cluster_id()
        self._properties = dict(properties or {})
        self._started: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """The address that clients connect to."""
        return f"127.0.0.1:{self._port}"

    @property
    def data(self) -> Path:
        """The data directory."""
        return self._data

    @property
    def log(self) -> Path:
        """The file with what the broker printed, across restarts."""
        return self._data / "broker.log"

    def pid(self) -> int | None:
        """The id of the process that runs on this data directory, or None."""
        return process.running(self._data / "broker.pid", self._started, marks=[str(self._data)])

    def start(self, *, ready_s_max: float = 90.0) -> None:
        """Start the broker and wait until it answers. Raises `BrokerUnavailable` in one line."""
        self.launch()
        try:
            self.wait_ready(ready_s_max=ready_s_max)
        except BrokerUnavailable:
            self.kill()
            raise

    def launch(self) -> None:
        """Start the broker without waiting: of several, none is ready before most of them are launched."""
        if self.pid() is None:
            java = needed("java", f"openjdk-{JAVA_MIN}-jre-headless")
            _check_version(java)
            download_jars()
            self._format(java)
            self._launch(java)

    def wait_ready(self, *, ready_s_max: float) -> None:
        """Wait until the last start has finished and the port is open. Raises `BrokerUnavailable`."""
        began_at = self._log_length_at_start()

        def ready() -> bool:
            if self.pid() is None:
                raise BrokerUnavailable(f"the broker ended while starting: {self._last_line()}")
            with self.log.open("rb") as log:
                log.seek(began_at)
                return _READY_LINE.encode() in log.read() and _is_open(self._port)

        if not _wait(ready, wait_s_max=ready_s_max):
            raise BrokerUnavailable(
                f"the broker was not ready after {ready_s_max:.0f} s: {self._last_line()}"
            )

    def stop(self, *, wait_s_max: float = 30.0) -> None:
        """Send SIGTERM and wait for the end; after `wait_s_max` seconds, kill the broker."""
        self._end(signal.SIGTERM)
        if not _wait(lambda: self.pid() is None, wait_s_max=wait_s_max):
            self.kill()
        self._reap()

    def kill(self) -> None:
        """End the broker with SIGKILL, as a crash would; its data stays."""
        self._end(signal.SIGKILL)
        self._reap()
        _wait(lambda: self.pid() is None, wait_s_max=10.0)

    def _end(self, how: signal.Signals) -> None:
        pid = self.pid()
        if pid is not None:
            os.kill(pid, how)

    def _reap(self) -> None:
        if self._started is not None:
            self._started.wait(timeout=10.0)
            self._started = None

    def _format(self, java: str) -> None:
        """Give the storage a cluster id. Formatting again keeps what is there."""
        self._data.mkdir(parents=True, exist_ok=True)
        settings = self._data / "server.properties"
        settings.write_text("".join(f"{name}={value}\n" for name, value in self._settings().items()))
        if (self._data / "log" / "meta.properties").exists():
            return
        tool = [*_java(java, heap_mib=128), "kafka.tools.StorageTool"]
        _run(
            [*tool, "format", "--ignore-formatted", "-t", self._cluster_id, "-c", str(settings)],
            wait_s_max=_FORMAT_S_MAX,
        )

    def _launch(self, java: str) -> None:
        length = self.log.stat().st_size if self.log.exists() else 0
        (self._data / "broker.start").write_text(str(length))
        with self.log.open("ab") as log:
            self._started = subprocess.Popen(
                [*_java(java, heap_mib=512), "kafka.Kafka", str(self._data / "server.properties")],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in the demo must not reach the broker
            )
        (self._data / "broker.pid").write_text(str(self._started.pid))

    def _settings(self) -> dict[str, str]:
        controller = free_port()
        return {
            "process.roles": "broker,controller",
            "node.id": str(self._node),
            "listeners": f"PLAINTEXT://127.0.0.1:{self._port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self._port}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"{self._node}@127.0.0.1:{controller}",
            "log.dirs": str(self._data / "log"),
            "auto.create.topics.enable": "false",
            # One node: nothing to replicate to, and few internal partitions to open at start.
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            # A killed broker can return only after its old session has ended (9 s by default).
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "500",
        } | self._properties

    def _log_length_at_start(self) -> int:
        try:
            return int((self._data / "broker.start").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1][:300] if lines else f"nothing in {self.log.name}"


def download_jars() -> None:
    """Download the broker's jars to `libs/`, which is complete or absent. Raises `BrokerUnavailable`."""
    if LIBS.is_dir():
        return
    maven = needed("mvn", "maven")
    draft = HERE / f".libs.{os.getpid()}"
    wanted = ["-DincludeScope=runtime", f"-DoutputDirectory={draft}"]
    _run([maven, "-q", "-B", "dependency:copy-dependencies", *wanted], wait_s_max=_DOWNLOAD_S_MAX)
    try:
        draft.rename(LIBS)
    except OSError:
        shutil.rmtree(draft)  # another process was faster


def needed(program: str, package: str) -> str:
    """The program's path. Raises `BrokerUnavailable` with the command that installs it."""
    path = shutil.which(program)
    if path is None:
        raise BrokerUnavailable(
            f"{program} is missing, the local Kafka needs it: apt-get install -y {package}"
        )
    return path


def new_cluster_id() -> str:
    """A random cluster id in Kafka's form, without dashes: a leading one would look like an option."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "0")


def free_port() -> int:
    """A port on loopback on which no process listened a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check_version(java: str) -> None:
    printed = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', printed)
    if version is None or int(version.group(1)) < JAVA_MIN:
        raise BrokerUnavailable(
            f"the local Kafka needs Java {JAVA_MIN} or later, "
            f"found {version.group(1) if version else 'none'}: "
            f"apt-get install -y openjdk-{JAVA_MIN}-jre-headless"
        )


def _java(java: str, *, heap_mib: int) -> list[str]:
    return [
        java,
        f"-Xmx{heap_mib}m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}",
        "-cp",
        f"{LIBS}/*",
    ]


def _run(command: Sequence[str], *, wait_s_max: float) -> None:
    completed = subprocess.run(
        command, cwd=HERE, capture_output=True, text=True, check=False, timeout=wait_s_max
    )
    if completed.returncode != 0:
        lines = (completed.stdout + completed.stderr).strip().splitlines() or ["it printed nothing"]
        program = Path(command[0]).name
        raise BrokerUnavailable(f"{program} ended with {completed.returncode}: {lines[-1][:300]}")


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait(done: Callable[[], bool], *, wait_s_max: float) -> bool:
    until = time.monotonic() + wait_s_max
    while not done():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m deploy.kafka.broker start|stop|status`; `status` exits with 1 where no broker runs."""
    parser = argparse.ArgumentParser(prog="python -m deploy.kafka.broker", description=__doc__)
    parser.add_argument("action", choices=("start", "stop", "status"))
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args(arguments)
    broker = LocalBroker(options.data, options.port)
    try:
        if options.action == "start":
            broker.start()
        elif options.action == "stop":
            broker.stop()
    except (BrokerUnavailable, subprocess.TimeoutExpired) as complaint:
        print(complaint, file=sys.stderr)
        return 1
    pid = broker.pid()
    print(f"kafka on {broker.bootstrap}: " + (f"process {pid}" if pid else "not running"))
    return 0 if pid or options.action == "stop" else 1


if __name__ == "__main__":
    sys.exit(main())
