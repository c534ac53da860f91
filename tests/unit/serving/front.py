"""A gateway on a real port, in a thread, over the scene's ledger and fake replicas."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai

from deploy.kafka.broker import free_port
from feedback.producer import KafkaRecord, NotAcknowledged, Sent, TooManyWaiting
from feedback.redaction import Redactor
from ledger.database import Database
from ledger.versions import routing as table
from serving.gateway.app import Gateway, GatewayOptions, run_gateway
from serving.gateway.feedback_endpoint import FeedbackEndpoint
from serving.gateway.recorder import Recorder, Send
from serving.gateway.routing import RoutingTable
from tests.unit.serving.scene import Scene


@dataclass(slots=True)
class Post:
    """Stands where Kafka's producer does."""

    records: list[KafkaRecord] = field(default_factory=list)
    trouble: str | None = None  # "full", "unacknowledged", "silent"

    def __call__(self, record: KafkaRecord) -> Future[Sent]:
        if self.trouble == "full":
            raise TooManyWaiting
        future: Future[Sent] = Future()
        if self.trouble == "unacknowledged":
            future.set_exception(NotAcknowledged("KafkaTimeoutError"))
        elif self.trouble is None:
            self.records.append(record)
            future.set_result(Sent(topic=record.topic, partition=0, offset=len(self.records)))
        return future

    def data(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(record.value or b"") for record in self.records if record.topic == topic]


class RecordedHealth:
    def __init__(self) -> None:
        self.checks: dict[str, bool] = {}

    def alive(self, name: str) -> None: ...

    def ready(self, name: str, ok: bool, why: str = "") -> None:
        self.checks[name] = ok


@dataclass(slots=True, kw_only=True)
class Front:
    """A running gateway."""

    url: str
    post: Post
    database: Database
    stopping: threading.Event
    health: RecordedHealth
    clients: list[openai.OpenAI] = field(default_factory=list)  # closed with the front

    def client(self, **given: Any) -> openai.OpenAI:
        """What our users have. It never tries twice: a failure is seen."""
        common = {"base_url": self.url + "/v1", "api_key": "none", "max_retries": 0, "timeout": 20.0}
        made = openai.OpenAI(**common, **given)
        self.clients.append(made)
        return made

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=10.0, trust_env=False)

    def send(self, path: str, body: Any, **headers: str) -> httpx.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.post(self.url + path, content=content, headers=names, timeout=20.0, trust_env=False)


@contextmanager
def front(
    database: Database, *, send: Send | None = None, ack_s_max: float = 0.5, **options: Any
) -> Iterator[Front]:
    """Feedback goes to `send`; captures, and feedback where it is not given, to the front's own `post`."""
    post = Post()
    redactor = Redactor(lambda raw: f"{len(raw):06x}")
    gateway = Gateway(
        table=RoutingTable(database),
        captor=Recorder(post, redactor),
        inbox=FeedbackEndpoint(send or post, redactor, ack_s_max=ack_s_max),
        options=GatewayOptions(port=free_port(), **{"poll_s": 0.05, "request_s_max": 10.0, **options}),
    )
    health = RecordedHealth()
    stopping = threading.Event()
    thread = threading.Thread(target=run_gateway, args=(gateway, stopping, health))
    thread.start()
    made = Front(
        url=f"http://127.0.0.1:{gateway.options.port}",
        post=post,
        database=database,
        stopping=stopping,
        health=health,
    )
    try:
        until(lambda: _listens(made))
        yield made
    finally:
        for client in made.clients:
            client.close()
        stopping.set()
        thread.join(timeout=20.0)
        assert not thread.is_alive(), "every wait of the gateway is bounded"


def show(scene: Scene, *, out: frozenset[str] = frozenset()) -> None:
    """Write what each fake really lists, as a fleet role would have seen it."""
    table.record_replicas(
        scene.database,
        [
            table.ReplicaState(
                url=fake.url,
                in_rotation=fake.url not in out,
                base_name=fake.base_name,
                models=tuple(fake.adapters),
            )
            for fake in scene.replicas
        ],
    )


def until(done: Any, *, wait_s_max: float = 10.0) -> None:
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < wait_s_max, "it did not come to that"
        time.sleep(0.02)


def _listens(made: Front) -> bool:
    try:
        return made.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False
