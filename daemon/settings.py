"""Every setting with its default, its unit and its reason. `daemon.settings_file` reads their values."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, IPvAnyNetwork, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from daemon import setting_checks
from daemon.feedback_settings import FeedbackSettings, TrustSettings
from daemon.limit_settings import LimitSettings
from daemon.rejudge_settings import RejudgeSettings
from daemon.scorer_settings import ScorerSettings
from daemon.setting_group import SettingGroup as _Group
from daemon.setting_groups.bridges import BridgeSettings
from daemon.setting_groups.canary import CanarySettings
from daemon.setting_groups.dashboard import DashboardSettings
from daemon.setting_groups.experiments import ExperimentSettings
from daemon.setting_groups.git import GitSettings
from daemon.setting_groups.learning import LearningSettings
from daemon.setting_groups.notify import NotifySettings
from ledger.versions.gate_modes import GateMode

VARIABLE_PREFIX = "CLORAD_"


AbsolutePath = Annotated[Path, AfterValidator(setting_checks.absolute_path)]
Brokers = Annotated[str, AfterValidator(setting_checks.brokers)]
LedgerUrl = Annotated[str, AfterValidator(setting_checks.ledger_url)]
ServerUrl = Annotated[str, AfterValidator(setting_checks.server_url)]
HostName = Annotated[str, AfterValidator(setting_checks.host_name)]
Origin = Annotated[str, AfterValidator(setting_checks.origin)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,100}$")]
HeaderSecret = Annotated[SecretStr, AfterValidator(setting_checks.header_secret)]
ScorerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,40}$")]
RecipeChanges = Annotated[dict[str, Any], AfterValidator(setting_checks.recipe)]


class KafkaSettings(_Group):
    """Kafka, from which intake reads events and to which clorad sends messages."""

    bootstrap_servers: Brokers = "127.0.0.1:9092"
    """Comma-separated host:port, in the form that every Kafka client reads."""
    group: str = Field(default="clorad", min_length=1)
    """Consumer group of intake. The ledger's offsets decide where it reads on, not the group's."""
    instance_id: str | None = None
    """Static membership (KIP-345): a restart rejoins at once. Must be unique per process."""
    first_start: Literal["committed", "beginning", "end"] = "committed"
    """Where intake begins a partition that it never read; `committed`: at the group's offset, else at 0."""
    on_gap: Literal["halt", "continue"] = "halt"
    """What intake does at offsets that retention deleted or that no client can decode: stop, or skip them."""
    records_max: int = Field(default=500, ge=1, le=10_000)
    """Records that one poll returns at most: bounds memory and the length of a transaction."""
    join_s_max: float = Field(default=3600.0, gt=0)
    """Seconds that feedback waits for the interaction it names; then it becomes a dead letter."""
    options: dict[str, Any] = Field(default_factory=dict, repr=False)
    """Options that every kafka-python client gets unchanged (security, api_version, …)."""


class LedgerSettings(_Group):
    """The database in which all roles store what must survive a crash."""

    url: LedgerUrl = Field(default="sqlite:///clorad.db", repr=False)
    """SQLAlchemy URL: sqlite:///path or postgresql+psycopg://…"""
    administrators: frozenset[str] = frozenset()
    """Authors whose signed events may amend and retract what others said."""
    backlog_rows_max: int = Field(default=2_000_000, ge=1)
    """Untaught events and unsent messages at which intake pauses, until there are a fifth fewer."""
    backlog_mib_max: int = Field(default=8192, ge=1)
    """MiB of them at which intake pauses: it cannot see how full the disk of a Postgres server is."""
    interactions_days: int = Field(default=30, ge=0)
    """Days to store an interaction that no event names: feedback comes within days. 0: for ever."""
    free_disk_mib_min: int = Field(default=200, ge=0)
    """MiB of free disk below which intake pauses and no turn starts, until there is a quarter more. 0:
    never."""


class StoreSettings(_Group):
    """The adapter store; every replica must be able to read it under the same path."""

    path: AbsolutePath = Path("adapters")
    """Directory of all versions; on shared storage if replicas run on other machines."""
    group: str | None = Field(default=None, min_length=1)
    """Group that may read the store: that of vLLM, if it runs as another user. None: as the directory's modes
    say."""


class EngineSettings(_Group):
    """The base model that stays loaded, and how adapters are trained on it."""

    base: AbsolutePath = Path("base")
    """Directory of the frozen Hugging Face base model, with tokenizer and chat template."""
    device: Literal["cpu", "cuda"] = "cpu"
    """The device that holds the base."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the frozen base; master weights of adapters are always float32."""
    threads: int = Field(default=1, ge=1, le=256)
    """CPU threads of the learner; with another number a pass gives other hashes."""
    slots: int = Field(default=8, ge=1, le=1024)
    """Agents that one pass trains at most."""
    rank_max: int = Field(default=16, ge=1, le=512)
    """Largest LoRA rank; adapters of smaller rank are padded with zeros, which changes no result."""
    tokens_max: int = Field(default=2048, ge=16)
    """Tokens of a packed micro-batch: bounds memory, whatever the number of agents."""
    mixing: Literal["auto", "never"] = "auto"
    """`never`: each micro-batch has one agent, whose result is bitwise independent of the others."""


class GateSettings(_Group):
    """How sure the gate must be before a version serves."""

    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance of promoting a candidate that is no better, over all tries since the last promotion."""
    authors_min: int = Field(default=2, ge=1)
    """People who must have corrected alike before an agent is trained on it. At 1 one person can teach."""
    suite_max: int = Field(default=128, ge=0)
    """Prompts of the no-harm suite at most."""
    suite_min: int = Field(default=2, ge=0)
    """Prompts of it at least, else the gate abstains, unless a canary follows. One loss is always forgiven,
    so one prompt shows nothing. 0: a version may serve although nothing shows that it does no harm."""
    answer_tokens_max: int = Field(default=256, ge=1)
    """Tokens of an answer that the gate asks for, at most."""
    in_flight_max: int = Field(default=8, ge=1, le=256)
    """Requests that the gate sends to one replica, or to a scorer, at once."""
    scorer_s_max: float = Field(default=30.0, gt=0)
    """Seconds that a scorer of your own may take for one prompt; later the prompt has no score."""
    scoring_s_max: float = Field(default=600.0, gt=0)
    """Seconds that it may take for all prompts of a candidate: other candidates wait meanwhile."""
    kl_nats_max: float | None = Field(default=None, gt=0)
    """How far a turn may move an agent on its anchors (forward KL, nats a token). Not set: not judged.
    The gate abstains if it was not measured: an agent without approved replies has no anchors."""


class FleetSettings(_Group):
    """The vLLM servers."""

    replicas: tuple[ServerUrl, ...] = Field(default=("http://127.0.0.1:8000",), repr=False)
    """Base URLs. Only clorad should reach them: who reaches them, and has their key, can load adapters."""
    request_s_max: float = Field(default=60.0, gt=0)
    """Seconds that an answer may take: a replaced version stays loaded so long at least."""
    adapters_max: int = Field(default=32, ge=2)
    """Adapters that clorad loads on a replica at once, candidates too; --max-cpu-loras must allow as many."""
    api_key: HeaderSecret | None = None
    """Key of the replicas: vLLM's --api-key or VLLM_API_KEY; None: they need none."""
    api_keys: dict[ServerUrl, HeaderSecret] = Field(default_factory=dict)
    """Keys of single replicas by URL, if they differ: in a shared fleet, or while a key is replaced."""

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


class GatewaySettings(_Group):
    """The HTTP server that users talk to."""

    host: str = "127.0.0.1"
    """Address to listen on. Beyond loopback it asks for keys, unless `open_beyond_loopback` is set."""
    access: Literal["open", "keys"] = "open"
    """`keys`: only who has a key of `clorad keys create`. `open`: whoever reaches the port, as anybody."""
    open_beyond_loopback: bool = False
    """Ask other machines for no key either: where something before the gateway keeps strangers out."""
    hosts: frozenset[HostName] = frozenset()
    """Names of the gateway in `Host`, besides localhost; checked on loopback, in open mode, and if given."""
    origins: frozenset[Origin] = frozenset()
    """Web pages that may call from a browser, as in https://chat.example; others are refused."""
    author_header: HeaderName | None = None
    """Header in which a proxy that knows its users names the author of feedback; needs `trusted_proxies`."""
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    """Addresses or networks from which `author_header` is believed; from others it is ignored."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on."""
    capture_share: float = Field(default=1.0, ge=0, le=1)
    """Share of the interactions that are captured, for agents that opted in."""
    leave_s: float = Field(default=5.0, ge=0)
    """Seconds to accept requests after SIGTERM, while /readyz answers 503 and load balancers notice it."""
    fields_allowed: tuple[str, ...] = ()
    """Fields of requests that reach replicas beside those in serving/gateway/edge/request_fields.py."""
    fields_other: Literal["drop", "refuse"] = "drop"
    """What becomes of other fields: left out and named in x-clorad-dropped, or the request gets a 400."""
    media_hosts: tuple[str, ...] = ()
    """Hosts from which replicas may load images, audio and video; data: URLs are always taken."""
    limits: LimitSettings = LimitSettings()

    @model_validator(mode="after")
    def _author_comes_from_somebody(self) -> Self:
        if self.author_header is not None and not self.trusted_proxies:
            raise ValueError("author_header needs trusted_proxies: else anybody could set it")
        return self


class TelemetrySettings(_Group):
    """Logs, health ports and metrics of the roles."""

    log_format: Literal["json", "console"] = "json"
    """One JSON object a line, or coloured lines for people."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is logged."""
    health_port: int = Field(default=0, ge=0, le=65535 - 5)
    """Intake's port for /healthz, /readyz, /metrics; the other roles have the next five in order. 0: none."""
    health_host: str = Field(default="127.0.0.1", min_length=1)
    """Address of these ports: 0.0.0.0 or :: if probes come from other machines; then set `token`."""
    token: HeaderSecret | None = None
    """Bearer token for /metrics, and for the details of /healthz and /readyz. None: no token is needed."""
    otlp_endpoint: ServerUrl | None = Field(default=None, repr=False)
    """URL of an OpenTelemetry collector that gets metrics and traces; None: metrics are scraped only."""


class AgentSettings(_Group):
    """One agent, declared at start."""

    scorer: ScorerName = "auto"
    """How the gate compares an answer with the wanted one; `auto`: as fits the wanted answer's form."""
    recipe: RecipeChanges = Field(default_factory=dict)
    """Differences from the default recipe (engine/recipe.py)."""
    capture: bool = False
    """Store this agent's interactions, so that feedback may name them."""
    weight: float = Field(default=1.0, gt=0)
    """Share of training when several agents are due."""
    tokens_per_hour_max: int | None = Field(default=None, ge=1)
    """Training tokens within 3600 s at which no turn starts; the last turn may exceed it. None: no quota."""
    canary_share: float | None = Field(default=None, ge=0, le=0.5)
    """Instead of canary.share, for this agent."""
    confirm: bool = False
    """After the gate a version waits until a person promotes or refuses it: for agents with much at stake."""
    trust: TrustSettings = TrustSettings()
    """Which of its events must be signed; those that are not become dead letters (`unsigned`)."""
    gate: GateMode = GateMode.CORRECTIONS
    """By what candidates are judged. `outcomes`: how conversations end, where nobody corrects it. `off`: by
    nothing, for experiments: only requests whose key has the right `experiment` are answered by them."""

    @model_validator(mode="after")
    def _gate_can_judge(self) -> Self:
        setting_checks.gate(self.gate, canary_share=self.canary_share, confirm=self.confirm)
        return self


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=VARIABLE_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    feedback: FeedbackSettings = Field(default_factory=FeedbackSettings)
    bridges: BridgeSettings = Field(default_factory=BridgeSettings)
    git: GitSettings = Field(default_factory=GitSettings)
    ledger: LedgerSettings = Field(default_factory=LedgerSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    engine: EngineSettings = Field(default_factory=EngineSettings)
    learning: LearningSettings = Field(default_factory=LearningSettings)
    gate: GateSettings = Field(default_factory=GateSettings)
    canary: CanarySettings = Field(default_factory=CanarySettings)
    rejudge: RejudgeSettings = Field(default_factory=RejudgeSettings)
    fleet: FleetSettings = Field(default_factory=FleetSettings)
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    dashboard: DashboardSettings = Field(default_factory=DashboardSettings)
    notify: NotifySettings = Field(default_factory=NotifySettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
    experiments: ExperimentSettings = Field(default_factory=ExperimentSettings)
    scorers: dict[str, ScorerSettings] = Field(default_factory=dict)
    agents: dict[str, AgentSettings] = Field(default_factory=dict)
    failpoint: str | None = Field(default=None, pattern=r"^[a-z][a-z-]*(:[1-9][0-9]*)?$")

    @model_validator(mode="after")
    def _scorers_are_known(self) -> Self:
        setting_checks.own_scorers(self.scorers)
        for name, agent in self.agents.items():
            setting_checks.scorer(agent.scorer, self.scorers, setting=f"agents.{name}.scorer")
        return self
