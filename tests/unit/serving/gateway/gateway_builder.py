"""Runs a gateway on a real port, in a thread, with the environment's ledger and fake replicas."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import httpx
import openai

from daemon.limit_settings import LimitSettings
from daemon.roles.gateway import access_of, fields_of, limits_of
from daemon.settings import GatewaySettings
from deploy.kafka.broker import free_port
from feedback.producer import KafkaRecord, NotAcknowledged, Sent, TooManyWaiting
from feedback.redaction import Redactor
from feedback.signing import gateway_key
from ledger.database import Database
from ledger.identity import Identity
from ledger.versions import routing as table
from ledger.versions.lineage import Version
from serving.gateway.access.control import AccessOptions
from serving.gateway.app import Gateway, GatewayOptions, run_gateway
from serving.gateway.edge.limits import GatewayLimits
from serving.gateway.edge.request_fields import FieldRules
from serving.gateway.feedback_endpoint import FeedbackEndpoint
from serving.gateway.live_counter import LiveCounter
from serving.gateway.recorder import Recorder, Send
from serving.gateway.routing import RoutingTable
from tests.unit.serving.serving_environment import ServingEnvironment

LIVE = "clorad.live.v1"
IDENTITY = Identity(ledger_id="ledger", secret=b"k" * 32)
ASK = [{"role": "user", "content": "ask 1"}]
LOOPBACK: dict[str, Any] = {"trust_env": False, "verify": False}
"""Options of httpx. Loading the certificates of all authorities takes longer than most requests here."""


@dataclass(slots=True)
class RecordedSends:
    """A `send` that stores the records, instead of Kafka's producer."""

    records: list[KafkaRecord] = field(default_factory=list)
    fault: str | None = None  # "full", "unacknowledged", "silent"

    def __call__(self, record: KafkaRecord) -> Future[Sent]:
        if self.fault == "full":
            raise TooManyWaiting
        future: Future[Sent] = Future()
        if self.fault == "unacknowledged":
            future.set_exception(NotAcknowledged("KafkaTimeoutError"))
        elif self.fault is None:
            self.records.append(record)
            future.set_result(Sent(topic=record.topic, partition=0, offset=len(self.records)))
        return future

    def data(self, topic: str, *, kind: str = "") -> list[dict[str, Any]]:
        """Data of the records on the topic, of that type if one is given, else without live counts."""
        return [
            json.loads(record.value or b"")
            for record in self.records
            if record.topic == topic and (_kind(record) == kind if kind else _kind(record) != LIVE)
        ]


def _kind(record: KafkaRecord) -> str:
    return (dict(record.headers).get("ce_type") or b"").decode()


class RecordedHealth:
    def __init__(self) -> None:
        self.checks: dict[str, bool] = {}

    def alive(self, name: str) -> None: ...

    def ready(self, name: str, ok: bool, why: str = "") -> None:
        self.checks[name] = ok


@dataclass(slots=True, kw_only=True)
class RunningGateway:
    """A gateway that listens on loopback, with its parts that tests check."""

    url: str
    sends: RecordedSends
    database: Database
    stopping: threading.Event
    health: RecordedHealth
    clients: list[openai.OpenAI] = field(default_factory=list)  # closed with the gateway

    def client(self, **given: Any) -> openai.OpenAI:
        """The official client. It never retries, so that tests see each failure."""
        common = {"base_url": self.url + "/v1", "api_key": "none", "max_retries": 0, "timeout": 20.0}
        http_client = openai.DefaultHttpxClient(**LOOPBACK)
        client = openai.OpenAI(**{**common, "http_client": http_client, **given})
        self.clients.append(client)
        return client

    def get(self, path: str, **headers: str) -> httpx.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.get(self.url + path, headers=names, timeout=10.0, **LOOPBACK)

    def document(self, path: str) -> dict[str, Any]:
        """The JSON document at `path`; an empty one as long as the gateway answers with an error."""
        answer = self.get(path)
        document: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return document

    def send(self, path: str, body: Any, **headers: str) -> httpx.Response:
        names = {"content-type": "application/json"}
        names |= {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.post(self.url + path, content=content, headers=names, timeout=20.0, **LOOPBACK)


def build_options(**changed: Any) -> GatewayOptions:
    """Options for tests: loopback, short waits."""
    usual = {"host": "127.0.0.1", "port": 0, "request_s_max": 10.0, "shutdown_delay_s": 0.0, "poll_s": 0.05}
    common = {"limits": build_limits(), "fields": build_field_rules(), "access": build_access()}
    return GatewayOptions(**{**common, **usual, **changed})


def build_access(**changed: Any) -> AccessOptions:
    """Access as `daemon.settings` has it by default, with some settings changed."""
    return access_of(GatewaySettings(**changed))


def build_field_rules(**changed: Any) -> FieldRules:
    """The rules for fields that `daemon.settings` has by default, with some changed."""
    return replace(fields_of(GatewaySettings()), **changed)


def build_limits(**changed: Any) -> GatewayLimits:
    """The limits that `daemon.settings` has by default, with some changed."""
    return replace(limits_of(LimitSettings()), **changed)


@contextmanager
def build_gateway(
    database: Database,
    *,
    send: Send | None = None,
    captures: Send | None = None,
    ack_s_max: float = 0.5,
    captures_bytes_max: int = 32 * 1024 * 1024,
    redactor: Redactor | None = None,
    **options: Any,
) -> Iterator[RunningGateway]:
    """Feedback goes to `send`, what is captured to `captures`; what is not given, to `sends`."""
    sends = RecordedSends()
    redactor = redactor or Redactor(lambda raw: f"{len(raw):06x}")
    gateway = Gateway(
        table=RoutingTable(database),
        recorder=Recorder(captures or sends, redactor, share=1.0, bytes_max=captures_bytes_max),
        live=LiveCounter(sends, lambda raw: sha256(raw).hexdigest()),
        feedback=FeedbackEndpoint(send or sends, redactor, gateway_key(IDENTITY), ack_s_max=ack_s_max),
        options=build_options(port=free_port(), **options),
    )
    health = RecordedHealth()
    stopping = threading.Event()
    thread = threading.Thread(target=run_gateway, args=(gateway, stopping, health))
    thread.start()
    running = RunningGateway(
        url=f"http://127.0.0.1:{gateway.options.port}",
        sends=sends,
        database=database,
        stopping=stopping,
        health=health,
    )
    try:
        wait_until(lambda: _listens(running))
        yield running
    finally:
        for client in running.clients:
            client.close()
        stopping.set()
        thread.join(timeout=20.0)
        assert not thread.is_alive(), "every wait of the gateway is bounded"


def report_replicas(environment: ServingEnvironment, *, out: frozenset[str] = frozenset()) -> None:
    """Record in the ledger what each fake lists, as the fleet role does."""
    table.record_replicas(
        environment.database,
        [
            table.ReplicaState(
                url=fake.url,
                in_rotation=fake.url not in out,
                base_name=fake.base_name,
                models=tuple(fake.adapters),
            )
            for fake in environment.replicas
        ],
    )


def name_of(path: str, _messages: Any) -> str:
    """A reply function for `FakeVLLM`: every model answers with its own name."""
    return path.rpartition("/")[2]


def load_adapter(environment: ServingEnvironment, version: Version) -> None:
    """Load `version` on every replica, and record that in the ledger."""
    for fake in environment.replicas:
        fake.adapters[version.model] = environment.path(version)
    report_replicas(environment)


def ask_agent(gateway: RunningGateway, agent: str = "billing", **more: Any) -> str:
    """What the agent answers to `ASK`."""
    return text_of(gateway.client().chat.completions.create(model=agent, messages=ASK, **more))


def text_of(answer: Any) -> str:
    return answer.choices[0].message.content


def build_error_event(status: int) -> bytes:
    """An error as vLLM reports it in a stream that has begun."""
    return json.dumps({"error": {"message": "oh", "type": "Error", "param": None, "code": status}}).encode()


def wait_until(done: Any, *, wait_s_max: float = 10.0) -> None:
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < wait_s_max, "the condition did not become true in time"
        time.sleep(0.02)


def _listens(running: RunningGateway) -> bool:
    try:
        return running.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False
