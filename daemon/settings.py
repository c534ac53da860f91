"""Every setting with its default, its unit and its reason. `daemon.settings_file` reads their values."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from daemon import setting_checks

VARIABLE_PREFIX = "CLORAD_"


class _Group(BaseModel):
    # Defaults are checked too: a relative path would be one folder here and another at a replica.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,  # an infinite weight would never be charged for what it used
    )


def _absolute(path: Path) -> Path:
    return path.expanduser().resolve()


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Brokers = Annotated[str, AfterValidator(setting_checks.brokers)]
LedgerUrl = Annotated[str, AfterValidator(setting_checks.ledger_url)]
ServerUrl = Annotated[str, AfterValidator(setting_checks.server_url)]
HeaderSecret = Annotated[SecretStr, AfterValidator(setting_checks.header_secret)]
ScorerName = Annotated[str, AfterValidator(setting_checks.scorer)]
RecipeChanges = Annotated[dict[str, Any], AfterValidator(setting_checks.recipe)]


class KafkaSettings(_Group):
    """Where events come from and go to."""

    bootstrap_servers: Brokers = "127.0.0.1:9092"
    """Comma-separated host:port, as every Kafka client takes it."""
    group: str = Field(default="clorad", min_length=1)
    """Consumer group of intake; offsets of record are the ledger's."""
    instance_id: str | None = None
    """Static membership (KIP-345): a restart rejoins at once. Must be unique per process."""
    first_start: Literal["committed", "beginning", "end"] = "committed"
    """Where a partition the ledger has never read begins; `committed`: the group's offset, else 0."""
    on_gap: Literal["halt", "continue"] = "halt"
    """Offsets lost to retention or to a record no client can decode: stop there, or record the gap."""
    records_max: int = Field(default=500, ge=1, le=10_000)
    """Records a poll: bounds memory and the length of a transaction."""
    join_s_max: float = Field(default=3600.0, gt=0)
    """Seconds feedback waits for the interaction it names; then it is a dead letter, to be redriven."""
    options: dict[str, Any] = Field(default_factory=dict, repr=False)
    """Passed to every kafka-python client as they are (security, api_version, …)."""


class LedgerSettings(_Group):
    """The durable store every role meets in."""

    url: LedgerUrl = Field(default="sqlite:///clorad.db", repr=False)
    """SQLAlchemy URL: sqlite:///path or postgresql+psycopg://…"""
    administrators: frozenset[str] = frozenset()
    """Authors who may retract what other sources said."""
    backlog_rows_max: int = Field(default=2_000_000, ge=1)
    """Untaught events and unsent messages at which intake pauses, until a fifth of them are gone."""
    backlog_mib_max: int = Field(default=8192, ge=1)
    """The same in MiB: what is far from us (Postgres) has a disk that we do not see."""
    interactions_days: int = Field(default=30, ge=0)
    """Days an interaction is kept that no event is about: feedback comes within days. 0: for ever."""
    free_disk_mib_min: int = Field(default=200, ge=0)
    """Free disk below which no turn starts and intake pauses, until there is a quarter more. 0: never."""


class StoreSettings(_Group):
    """Where adapter versions live; every replica must be able to read it under the same path."""

    path: AbsolutePath = Path("adapters")
    """Directory of versions; shared storage in a fleet."""


class EngineSettings(_Group):
    """The warm base model and how it trains."""

    base: AbsolutePath = Path("base")
    """Directory of the frozen Hugging Face base model, with tokenizer and chat template."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the base stays loaded."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the frozen base; adapters' master weights are always float32."""
    threads: int = Field(default=1, ge=1, le=256)
    """CPU threads of the learner; part of what makes a pass repeatable."""
    slots: int = Field(default=8, ge=1, le=1024)
    """Agents trained in one pass at most."""
    rank_max: int = Field(default=16, ge=1, le=512)
    """Largest LoRA rank; smaller ones are zero-padded, exactly."""
    tokens_max: int = Field(default=2048, ge=16)
    """Tokens a packed micro-batch: bounds memory, whatever the number of agents."""
    mixing: Literal["auto", "never"] = "auto"
    """`never`: one agent a micro-batch, bitwise independent of who else is training."""


class LearningSettings(_Group):
    """When an agent learns and what from."""

    events_min: int = Field(default=16, ge=1)
    """Untaught events that make an agent due."""
    events_max: int = Field(default=256, ge=1)
    """New events in one turn; the rest wait for the next."""
    age_s_max: float = Field(default=3600.0, gt=0)
    """Seconds after which an agent is due with fewer events, and with too little evidence for the gate."""
    replay_max: int = Field(default=64, ge=0)
    """Taught events shown again in a turn, so that later lessons do not undo earlier ones."""
    anchors_max: int = Field(default=160, ge=0)
    """Approved replies shown in a turn: where nothing should change. Without them it breaks the rest."""
    refusals_max: int = Field(default=3, ge=1)
    """Refused candidates an event may be new in; then it is contested: held until a person looks."""
    gather_s: float = Field(default=2.0, ge=0, le=600)
    """Seconds the first agent that is due waits for others: agents in one pass cost less than one by one."""


class GateSettings(_Group):
    """How sure one must be before a version serves."""

    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance of promoting a candidate that is no better, over all tries since the last promotion."""
    suite_max: int = Field(default=128, ge=0)
    """Prompts of the no-harm suite."""
    answer_tokens_max: int = Field(default=256, ge=1)
    """Tokens an answer may have while it is judged."""
    in_flight_max: int = Field(default=8, ge=1, le=256)
    """Judging requests at once on one replica."""
    kl_nats_max: float | None = Field(default=None, gt=0)
    """How far a turn may move an agent on its anchors (forward KL, nats a token); left out: not judged.
    The gate abstains where it was not measured: an agent without approved replies has no anchors."""


class FleetSettings(_Group):
    """The vLLM servers."""

    replicas: tuple[ServerUrl, ...] = Field(default=("http://127.0.0.1:8000",), repr=False)
    """Base URLs. Only clorad should reach them: whoever does, and has their key, can load adapters."""
    request_s_max: float = Field(default=60.0, gt=0)
    """Longest answer in flight: how long a replaced version stays loaded at least."""
    adapters_max: int = Field(default=32, ge=2)
    """Adapters a replica is given at once, candidates too; its --max-cpu-loras must allow as many."""
    api_key: HeaderSecret | None = None
    """Key of the replicas, as vLLM's --api-key or VLLM_API_KEY has it; None: they ask for none."""
    api_keys: dict[ServerUrl, HeaderSecret] = Field(default_factory=dict)
    """Keys of single replicas by URL, where they differ: a shared fleet, or while a key is replaced."""

    @model_validator(mode="after")
    def _keys_have_replicas(self) -> Self:
        if {url.rstrip("/") for url in self.api_keys} - {url.rstrip("/") for url in self.replicas}:
            raise ValueError("api_keys names a URL that is not one of replicas")
        return self

    def replica_keys(self) -> dict[str, str]:
        """The key of each replica that has one, by URL without a slash at its end."""
        own = {url.rstrip("/"): key for url, key in self.api_keys.items()}
        keys = {url.rstrip("/"): own.get(url.rstrip("/"), self.api_key) for url in self.replicas}
        return {url: key.get_secret_value() for url, key in keys.items() if key is not None}


class LimitSettings(_Group):
    """What one client, and all of them together, may ask of the gateway."""

    body_kib_max: int = Field(default=4096, ge=1)
    """KiB of a request's body: 128,000 tokens of text, every character escaped, and an image fit."""
    bodies_mib_max: int = Field(default=64, ge=1)
    """MiB of all larger bodies being read or answered, decoded; beyond, large requests get a 503."""
    depth_max: int = Field(default=64, ge=8, le=500)
    """Levels of lists and objects in a body; JSON schemas of tools take two levels a level."""
    values_max: int = Field(default=100_000, ge=1000)
    """JSON values in a body: decoding that many takes some 20 ms, in which nobody else is answered."""
    captures_mib_max: int = Field(default=32, ge=1)
    """MiB of captures that wait for Kafka; beyond, interactions are not captured."""
    requests_max: int = Field(default=1024, ge=1)
    """Requests answered at once; beyond, clients get a 503."""
    requests_per_s_max: int = Field(default=2000, ge=1)
    """Requests a second from one address; beyond, a 429. A proxy in front of the gateway is one address."""
    header_kib_max: int = Field(default=32, ge=1)
    """KiB of one request's headers, as much as other servers allow; beyond, a 431."""
    headers_max: int = Field(default=100, ge=10)
    """Headers of one request, as many as other servers allow; beyond, a 431."""
    header_s_max: float = Field(default=10.0, gt=0)
    """Seconds for a request's headers, from its first byte; slower clients get a 408."""
    body_s_max: float = Field(default=60.0, gt=0)
    """Seconds for a request's body: the largest arrives at 300 kbit/s; slower clients get a 408."""
    idle_s_max: float = Field(default=75.0, gt=0)
    """Seconds a connection may wait for a request; clients that keep theirs for longer find it closed."""
    connections_max: int = Field(default=2048, ge=16)
    """Connections of clients; beyond, those that wait make room. Each answer needs another to its replica."""


class GatewaySettings(_Group):
    """The data plane users talk to."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on."""
    capture_share: float = Field(default=1.0, ge=0, le=1)
    """Share of the interactions kept, for agents that opted in."""
    leave_s: float = Field(default=5.0, ge=0)
    """Seconds requests are taken after SIGTERM with /readyz red, so that load balancers notice. 0: none."""
    limits: LimitSettings = LimitSettings()


class TelemetrySettings(_Group):
    """How a role is watched."""

    log_format: Literal["json", "console"] = "json"
    """One JSON object a line, or coloured lines for people."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level logged."""
    health_port: int = Field(default=0, ge=0, le=65535 - 3)
    """/healthz, /readyz and /metrics: intake's port; learner, fleet, gateway follow. 0: none."""
    health_host: str = Field(default="127.0.0.1", min_length=1)
    """Address these listen on: 0.0.0.0 or :: where probes come from elsewhere; then set `token`."""
    token: HeaderSecret | None = None
    """Bearer token for /metrics and for what /healthz and /readyz tell besides their status. None: none."""
    otlp_endpoint: ServerUrl | None = Field(default=None, repr=False)
    """OpenTelemetry collector the meters are pushed to; None: they are only scraped."""


class AgentSettings(_Group):
    """One agent, declared at start."""

    scorer: ScorerName = "exact"
    """How the gate compares an answer with what it should be."""
    recipe: RecipeChanges = Field(default_factory=dict)
    """Differences from the default recipe (engine/recipe.py)."""
    capture: bool = False
    """Keep this agent's interactions, so that feedback may name them."""
    weight: float = Field(default=1.0, gt=0)
    """Share of training when several agents are due."""
    tokens_per_hour_max: int | None = Field(default=None, ge=1)
    """Training tokens within 3600 s at which no turn is started; one turn may overshoot it. None: no end."""


class Settings(BaseSettings):
    """All of it."""

    model_config = SettingsConfigDict(
        env_prefix=VARIABLE_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    ledger: LedgerSettings = LedgerSettings()
    store: StoreSettings = StoreSettings()
    engine: EngineSettings = EngineSettings()
    learning: LearningSettings = LearningSettings()
    gate: GateSettings = GateSettings()
    fleet: FleetSettings = FleetSettings()
    gateway: GatewaySettings = GatewaySettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    agents: dict[str, AgentSettings] = Field(default_factory=dict)
    failpoint: str | None = Field(default=None, pattern=r"^[a-z][a-z-]*(:[1-9][0-9]*)?$")
