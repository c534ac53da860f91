"""The tables. Everything that clorad must remember is here or in the adapter store.

Times (`_s`) are seconds since 1970 by the database's clock. A value that queries look at has a column of its
own; JSON columns are for values that are only read whole.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from ledger.feedback_tables import (
    dead_letters,
    erasures,
    event_changes,
    event_decisions,
    events,
    interactions,
    live_conversations,
    live_producers,
    live_signals,
    openings,
    outbox,
    positions,
    ranges,
    waiting_records,
)
from ledger.metadata import Serial, metadata

__all__ = [
    "access_keys",
    "agents",
    "canary_steps",
    "dead_letters",
    "decisions",
    "desired",
    "erasures",
    "event_changes",
    "event_decisions",
    "events",
    "facts",
    "holds",
    "interactions",
    "leases",
    "live_conversations",
    "live_producers",
    "live_signals",
    "metadata",
    "notices",
    "openings",
    "outbox",
    "passes",
    "positions",
    "ranges",
    "replicas",
    "turn_events",
    "turns",
    "versions",
    "waiting_records",
]

facts = Table(  # single values: the ledger's identity, the routing generation
    "facts",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)

# ── agents ────────────────────────────────────────────────────────────────────────────────────────
agents = Table(
    "agents",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("base_hash", String(64), nullable=False),
    Column("scorer", String(40), nullable=False),
    Column("recipe", JSON, nullable=False),
    Column("capture", Boolean, nullable=False),
    Column("weight", Float, nullable=False),
    Column("tokens_per_hour_max", BigInteger),
    Column("canary_share", Float),  # of the conversations, in the first step; null: the installation's
    Column("confirm", Boolean, nullable=False, server_default=false()),  # a person must let versions serve
    Column("declared_s", Float, nullable=False),
    Column("trust", JSON, nullable=False, server_default="{}"),  # `ledger.events.TrustLevels`
    Column("gate", String(20), nullable=False, server_default="corrections"),  # `ledger.versions.gate_modes`
    Column("events_min", Integer),  # untaught events that make it due; null: the installation's number
    CheckConstraint("weight > 0", name="weight"),
)

# ── access ────────────────────────────────────────────────────────────────────────────────────────
access_keys = Table(
    "access_keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("digest", String(64), nullable=False),  # SHA-256 of the key; the key itself is nowhere
    Column("name", String(100), nullable=False),  # author of the feedback sent with it
    Column("agents", JSON(none_as_null=True)),  # null: every agent
    Column("rights", JSON, nullable=False),  # `ledger.access.keys.Right`
    Column("concurrency_max", Integer),
    Column("requests_per_minute_max", Integer),
    Column("created_s", Float, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("expires_s", Float),
    Column("revoked_s", Float),
    Column("replaces", String(40)),  # the key that was rotated
)

# ── learning ──────────────────────────────────────────────────────────────────────────────────────
leases = Table(
    "leases",
    metadata,
    Column("name", String(240), primary_key=True),
    Column("holder", String(200), nullable=False),
    Column("token", BigInteger, nullable=False),  # grows with every acquisition: the fence
    Column("until_s", Float, nullable=False),
)

passes = Table(  # turns that are trained together; `form` is what another run needs for the same hashes
    "passes",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("holder", String(200), nullable=False),
    Column("form", JSON, nullable=False),
    Column("virtual_time", Float, nullable=False, server_default="0"),  # see ledger/learning/usage.py
    Column("opened_s", Float, nullable=False),
    Column("closed_s", Float),
)

turns = Table(
    "turns",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("pass_id", Serial, ForeignKey("passes.id"), nullable=False),
    Column("place", Integer, nullable=False),  # order within the pass
    Column("agent", String(200), ForeignKey("agents.name"), nullable=False),
    Column("number", Integer, nullable=False),  # of the version it makes
    Column("parent", Integer, nullable=False),  # version number; 0 is the base
    Column("recipe", JSON, nullable=False),
    Column("labelling", JSON, nullable=False),  # what labels depend on besides the events
    Column("seed", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),  # tries since the last promotion, from 1
    Column("through_seq", BigInteger, nullable=False),  # the newest event that planning saw
    Column("token", BigInteger, nullable=False),
    Column("state", String(10), nullable=False),  # `ledger.turn_states.TurnState`
    Column("reason", String(200)),
    Column("tokens", BigInteger, nullable=False, server_default="0"),  # its cost; 0 while open, and if void
    Column("closed_s", Float),
    Column("retry", JSON(none_as_null=True)),  # `ledger.learning.retries.Retry`; null: it is no retry
    Column("judged_seq", BigInteger),  # see ledger/learning/judged.py; null: `through_seq`
    UniqueConstraint("pass_id", "place"),
    Index(None, "agent", "state"),
    Index(None, "closed_s"),
)

turn_events = Table(
    "turn_events",
    metadata,
    Column("turn_id", Serial, ForeignKey("turns.id"), primary_key=True),
    Column("event_seq", Serial, ForeignKey("events.seq"), primary_key=True),
    Column("part", String(10), primary_key=True),  # `ledger.turn_states.TurnPart`
    Column("place", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("outcome", String(40)),  # `ledger.turn_states.EventOutcome`; null while the turn is open
    Column("outcome_reason", String(200)),
    Index(None, "event_seq"),
)

turn_replies = Table(  # captured replies that nobody objected to, shown as anchors
    "turn_replies",
    metadata,
    Column("turn_id", Serial, ForeignKey("turns.id"), primary_key=True),
    Column("interaction", String(200), primary_key=True),
    Column("place", Integer, nullable=False),
    Index(None, "interaction"),
)

versions = Table(
    "versions",
    metadata,
    Column("agent", String(200), ForeignKey("agents.name"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("base_hash", String(64), nullable=False),
    Column("parent", Integer, nullable=False),
    Column("turn_id", Serial, ForeignKey("turns.id"), nullable=False),
    Column("through_seq", BigInteger, nullable=False),
    Column("path", Text, nullable=False),  # relative to the adapter store
    Column("made_s", Float, nullable=False),
    Column("pruned_s", Float),  # when it was marked as pruned; its directory is removed after that
    UniqueConstraint("turn_id"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("agent", String(200), ForeignKey("agents.name"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("kind", String(20), nullable=False),  # `ledger.versions.decisions.Verdict`
    Column("by", String(200), nullable=False),  # "gate", "canary", or a person's name
    Column("evidence", JSON, nullable=False),
    Column("through_seq", BigInteger, nullable=False),  # the agent's newest event at that time
    Column("decided_s", Float, nullable=False),
    Index(None, "agent", "number"),
)

# ── serving ───────────────────────────────────────────────────────────────────────────────────────
desired = Table(
    "desired",
    metadata,
    Column("agent", String(200), ForeignKey("agents.name"), primary_key=True),
    Column("purpose", String(12), primary_key=True),  # serve, predecessor, canary, gate
    Column("number", Integer, nullable=False),
    Column("share", Float, nullable=False),  # of traffic; canary only
    Column("since_s", Float, nullable=False),
)

canary_steps = Table(  # shares of traffic that versions had one after the other; the last one is the whole
    "canary_steps",
    metadata,
    Column("agent", String(200), ForeignKey("agents.name"), primary_key=True),
    Column("number", Integer, primary_key=True),  # of the version
    Column("place", Integer, primary_key=True),  # from 0
    Column("share", Float, nullable=False),
    Column("through_seq", BigInteger, nullable=False),  # newest event of any agent when it began
    Column("began_s", Float, nullable=False),
    Column("ended_s", Float),  # null: the version is being watched
    Index(None, "ended_s"),
)

holds = Table(  # agents whose versions are not promoted until somebody resumes them; who, when and why
    "holds",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("agent", String(200), ForeignKey("agents.name"), nullable=False),
    Column("by", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("held_s", Float, nullable=False),
    Column("resumed_s", Float),  # null: the agent is on hold
    Column("resumed_by", String(200)),
    Index(None, "agent"),
)

replicas = Table(  # each replica as the fleet role last saw it
    "replicas",
    metadata,
    Column("url", String(400), primary_key=True),
    Column("in_rotation", Boolean, nullable=False),
    Column("base_name", String(400)),
    Column("models", JSON, nullable=False),
    Column("note", String(200)),
    Column("seen_s", Float, nullable=False),
)

# ── people ────────────────────────────────────────────────────────────────────────────────────────
notices = Table(  # what webhooks tell people, once for each receiver and fact
    "notices",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("receiver", String(40), nullable=False),  # its name in the settings
    Column("fact", String(300), nullable=False),
    Column("body", JSON, nullable=False),  # as it is sent
    Column("noted_s", Float, nullable=False),
    Column("message", String(60)),  # the message that carries it; null: it was never sent
    Column("ended_s", Float),  # null: it waits
    Column("ending", String(20)),  # `ledger.notices.queue.Ending`
    UniqueConstraint("receiver", "fact"),
    Index(None, "receiver", "ended_s"),
)
