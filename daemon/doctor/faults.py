"""Every fault that `clorad doctor` can find: its name, how bad it is, and what to do about it.

The names are stable: programs read them (`clorad doctor --json`). deploy/RUNBOOK.md has the same table.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum


class Severity(StrEnum):
    """How bad a fault is."""

    ERROR = "error"
    """clorad cannot work, or may lose feedback or give wrong answers, until it is repaired."""
    WARNING = "warning"
    """clorad works, but something that people expect of it does not happen, or is not safe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFault:
    """A fault at one place."""

    name: str
    severity: Severity
    where: str
    what: str  # one sentence with the values that were found; it has no secret and no text of a person
    remedy: str


class Fault(Enum):
    """A kind of fault: name, severity, remedy."""

    BROKER_OPTIONS = "kafka-options", Severity.ERROR, "correct kafka.options (RUNBOOK, TLS and passwords)"
    BROKER_AWAY = (
        "kafka-away",
        Severity.ERROR,
        "start Kafka, or correct kafka.bootstrap_servers and kafka.options",
    )
    TOPIC_MISSING = "kafka-topic-missing", Severity.ERROR, "run `clorad topics create`"
    TOPIC_REMADE = (
        "kafka-topic-remade",
        Severity.ERROR,
        'restore the topic; or let intake begin the new one: kafka.on_gap = "continue"',
    )
    TOPIC_RIGHTS = "kafka-topic-rights", Severity.ERROR, "grant the user these rights on the topic"
    GROUP_RIGHTS = "kafka-group-rights", Severity.ERROR, "grant the user READ on the consumer group"
    NO_COORDINATOR = (
        "kafka-no-coordinator",
        Severity.ERROR,
        "set offsets.topic.replication.factor to no more than there are brokers, and restart them",
    )
    TOPIC_UNREADABLE = (
        "kafka-topic-settings",
        Severity.WARNING,
        "grant the user DESCRIBE_CONFIGS on the topic, or check its settings as the administrator",
    )
    TOPIC_POLICY = "kafka-cleanup-policy", Severity.ERROR, "set cleanup.policy=delete on the topic"
    TOPIC_DAYS = "kafka-retention-time", Severity.ERROR, "set retention.ms to seven days or more"
    TOPIC_BYTES = "kafka-retention-bytes", Severity.ERROR, "set retention.bytes=-1 on the topic"
    TOPIC_IN_SYNC = (
        "kafka-min-insync",
        Severity.ERROR,
        "set min.insync.replicas to one less than the topic has copies",
    )
    TOPIC_COPIES = "kafka-copies", Severity.WARNING, "give the topic three copies (kafka-reassign-partitions)"
    TOPIC_PARTITIONS = (
        "kafka-partitions",
        Severity.WARNING,
        "add partitions while it is empty: later, records of one conversation change their partition",
    )
    TOPIC_RECORD_SIZE = (
        "kafka-record-size",
        Severity.ERROR,
        "set max.message.bytes to 1048588 (Kafka's default) or more",
    )
    TOPIC_CLOCK = (
        "kafka-clock",
        Severity.WARNING,
        "set the clocks of producers, brokers and this machine (NTP)",
    )

    LEDGER_MISSING = "ledger-missing", Severity.ERROR, "run `clorad ledger migrate`, or correct ledger.url"
    LEDGER_AWAY = "ledger-away", Severity.ERROR, "start the database, or correct ledger.url"
    LEDGER_SCHEMA = (
        "ledger-schema",
        Severity.ERROR,
        "back it up and run `clorad ledger migrate`; a ledger of a newer clorad needs that clorad",
    )
    LEDGER_REFUSED = (
        "ledger-unusable",
        Severity.ERROR,
        "move it to a local disk, repair its rights, or restore a backup (`clorad ledger restore`)",
    )
    LEDGER_MODE = "ledger-mode", Severity.WARNING, "chmod 600 the ledger: it has people's texts and a key"
    DISK_FULL = "ledger-disk", Severity.ERROR, "free disk, or prune (`clorad versions prune`)"
    LEDGER_FULL = "ledger-backlog", Severity.ERROR, "see why agents do not learn: `clorad status`"

    STORE_MISSING = "store-missing", Severity.ERROR, "mount or make the directory, or correct store.path"
    STORE_UNWRITABLE = (
        "store-unwritable",
        Severity.ERROR,
        "let the learner's user write to store.path, and have its replicas read it",
    )
    STORE_GROUP = (
        "store-group",
        Severity.ERROR,
        "make the group and put this user in it, or unset store.group",
    )

    BASE_MISSING = (
        "base-missing",
        Severity.ERROR,
        "set engine.base to the directory of the Hugging Face model that the replicas serve",
    )
    BASE_TOKENIZER = (
        "base-tokenizer",
        Severity.ERROR,
        "put the model's tokenizer files and chat template into engine.base",
    )
    BASE_CHANGED = (
        "base-changed",
        Severity.ERROR,
        "serve and set the old base again, or declare agents under other names for the new one",
    )
    ENGINE_BROKEN = (
        "engine-selftest",
        Severity.ERROR,
        "see `clorad engine selftest`; do not train on this machine before it passes",
    )

    REPLICA_AWAY = "replica-away", Severity.ERROR, "start vLLM there, or correct fleet.replicas"
    REPLICA_KEY = "replica-key", Severity.ERROR, "set CLORAD_FLEET__API_KEY to the key of vLLM's --api-key"
    REPLICA_FORM = "replica-not-vllm", Severity.ERROR, "point fleet.replicas at vLLM's OpenAI server"
    REPLICA_MIXES = (
        "replica-mixes-tenants",
        Severity.ERROR,
        "upgrade vLLM to 0.32 or newer (vllm-project/vllm#47724)",
    )
    REPLICA_UNTRIED = "replica-untried", Severity.WARNING, "use vLLM 0.32 or newer: clorad is tested with it"
    REPLICA_VERSION = (
        "replica-version",
        Severity.WARNING,
        "let /version through to vLLM, and see that it is 0.32 or newer",
    )
    REPLICA_LOADING = (
        "replica-no-loading",
        Severity.ERROR,
        "start vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True",
    )
    REPLICA_LORA = "replica-no-lora", Severity.ERROR, "start vLLM with --enable-lora"
    REPLICA_RANK = (
        "replica-rank",
        Severity.ERROR,
        "start vLLM with --max-lora-rank of engine.rank_max or more",
    )
    REPLICA_STORE = (
        "replica-store",
        Severity.ERROR,
        "let vLLM's user read the adapter store, under the same path as here (store.path, store.group)",
    )
    REPLICA_REFUSES = (
        "replica-load",
        Severity.ERROR,
        "see vLLM's log: it refused a small adapter of this base",
    )
    REPLICA_SLOTS = (
        "replica-max-loras",
        Severity.WARNING,
        "start vLLM with --max-loras of the number of agents plus two, or more",
    )
    REPLICA_MEMORY = (
        "replica-max-cpu-loras",
        Severity.WARNING,
        "start vLLM with --max-cpu-loras of fleet.adapters_max or more",
    )
    REPLICA_LOGPROBS = (
        "replica-logprobs-mode",
        Severity.WARNING,
        "start vLLM with --logprobs-mode processed_logprobs",
    )
    REPLICA_TOOLS = (
        "replica-tools",
        Severity.WARNING,
        "start vLLM with --enable-auto-tool-choice and the --tool-call-parser that fits the base",
    )
    REPLICA_BASE = "replica-base", Severity.ERROR, "have vLLM serve the model that engine.base is"
    REPLICA_TOKENIZER = (
        "replica-tokenizer",
        Severity.ERROR,
        "have vLLM and engine.base use the same tokenizer files",
    )
    REPLICA_TEMPLATE = (
        "replica-chat-template",
        Severity.ERROR,
        "have vLLM use the chat template in engine.base (no --chat-template of another)",
    )
    REPLICA_CLOCK = "replica-clock", Severity.WARNING, "set the clocks of the replica and this machine (NTP)"

    GATEWAY_OPEN = (
        "keys-open-gateway",
        Severity.ERROR,
        'set gateway.access = "keys", or gateway.host = "127.0.0.1"',
    )
    GATEWAY_OPENED = (
        "keys-opened-on-purpose",
        Severity.WARNING,
        'see that something before the gateway keeps strangers out, or set gateway.access = "keys"',
    )
    NO_KEY = "keys-none", Severity.ERROR, "make a key for each client: `clorad keys create NAME`"
    KEY_EXPIRED = (
        "keys-expired",
        Severity.WARNING,
        "make another (`clorad keys create NAME`), or revoke it (`clorad keys revoke ID`)",
    )
    HEALTH_OPEN = (
        "telemetry-open",
        Severity.WARNING,
        "set CLORAD_TELEMETRY__TOKEN, or telemetry.health_host to loopback",
    )

    NO_AGENT = "agents-none", Severity.WARNING, "declare one: [agents.NAME], or `clorad agents add NAME`"
    AGENT_RANK = (
        "agents-rank",
        Severity.ERROR,
        "lower the rank in the agent's recipe, or raise engine.rank_max",
    )
    NOT_CAPTURED = "agents-not-captured", Severity.ERROR, "set `capture = true` for the agent"
    NO_ANCHORS = (
        "agents-no-anchors",
        Severity.WARNING,
        "send approvals of good answers, or set `capture = true` and let users talk to it",
    )
    NO_SUITE = (
        "agents-no-suite",
        Severity.WARNING,
        "send approvals of good answers, or set `capture = true` and let users talk to it",
    )
    TOO_LITTLE_EVIDENCE = (
        "agents-too-little-evidence",
        Severity.WARNING,
        "send more corrections: one in four is held out for the gate",
    )
    ONE_AUTHOR = (
        "agents-one-author",
        Severity.WARNING,
        "let a second person correct alike; a team of one sets gate.authors_min = 1",
    )
    ONLY_OUTCOMES = "agents-only-outcomes", Severity.WARNING, 'set `gate = "outcomes"` for the agent'
    SCORER_AWAY = "agents-scorer-away", Severity.WARNING, "start the scorer's server, or correct its url"

    BRIDGE_SOURCE = (
        "bridge-source",
        Severity.ERROR,
        "add bridge/NAME to the sources of the signer that feedback.sign_as names",
    )
    BRIDGE_AGENT = (
        "bridge-agent",
        Severity.ERROR,
        "correct `agent`, or declare it: what people say there becomes dead letters",
    )
    BRIDGE_JOURNAL = "bridge-journal", Severity.ERROR, "let the bridge's user write to bridges.path"
    BRIDGE_MIRROR = "bridge-mirror", Severity.ERROR, "run `git clone --mirror`, or correct its path"
    BRIDGE_TOOL = "bridge-tool", Severity.ERROR, "start the tool, or correct its url, user and key"

    NOTICE_AWAY = "notify-away", Severity.ERROR, "start the receiver, or correct its url in notify.receivers"
    NOTICE_REFUSED = (
        "notify-refused",
        Severity.ERROR,
        "see the receiver's log: does it know this url and secret, and take this form (`form`)?",
    )
    NOTICE_PLAIN = (
        "notify-plain",
        Severity.WARNING,
        "use https: on the way others read what needs a person, and in which agent",
    )
    NO_LINKS = "notify-no-links", Severity.WARNING, "set dashboard.url to where people open the dashboard"

    CHECK_FAILED = "doctor-failed", Severity.ERROR, "report this as a fault of clorad, with the trace above"
    CHECK_SLOW = (
        "doctor-slow",
        Severity.WARNING,
        "see whether what it asks hangs: a disk, a database, a server",
    )

    def __init__(self, label: str, severity: Severity, remedy: str) -> None:
        self.label = label
        self.severity = severity
        self.remedy = remedy

    def at(self, where: str, what: str) -> FoundFault:
        """This fault, found at one place."""
        return FoundFault(name=self.label, severity=self.severity, where=where, what=what, remedy=self.remedy)
