"""The tables. Everything clorad must remember is here or in the adapter store, and nowhere else.

Times are seconds since 1970 by the database's clock (`_s`). JSON columns hold what is only ever read
back whole; what is asked about has a column.
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
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives out row numbers for INTEGER keys only; Postgres has 64 bits to lose.
_Serial = BigInteger().with_variant(Integer, "sqlite")

facts = Table(  # single values: the ledger's identity, the routing generation
    "facts",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)

# ── who learns ────────────────────────────────────────────────────────────────────────────────────
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
    Column("declared_s", Float, nullable=False),
    CheckConstraint("weight > 0", name="weight"),
)

# ── what people told us ───────────────────────────────────────────────────────────────────────────
_amends, _retracts = text("amends IS NOT NULL"), text("retracts IS NOT NULL")
_in_conversation = text("conversation IS NOT NULL")

events = Table(
    "events",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("source", String(400), nullable=False),
    Column("id", String(200), nullable=False),
    Column("digest", String(64), nullable=False),  # HMAC of the raw bytes: same id, other body = conflict
    Column("kind", String(20), nullable=False),
    Column("agent", String(200), ForeignKey("agents.name"), nullable=False),
    Column("author", String(200), nullable=False),
    Column("conversation", String(200)),
    Column("interaction", String(200)),
    Column("turn", Integer),
    Column("key", String(200)),
    Column("amends", String(200)),
    Column("revision", Integer, nullable=False),
    Column("role", String(10)),  # null while the interaction it names has not arrived
    Column("prompt_group", String(64)),
    Column("status", String(20), nullable=False),
    Column("status_reason", String(200)),
    Column("data", JSON, nullable=False),
    Column("retracts", String(200)),  # a retraction's target, by id
    Column("occurred_s", Float),
    Column("received_s", Float, nullable=False),
    Column("trace", String(100)),
    Column("topic_id", String(40), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("forgotten", Integer),  # the erasure that took its texts
    UniqueConstraint("source", "id"),
    UniqueConstraint("topic_id", "partition", "offset"),
    Index(None, "agent", "status", "role", "kind"),
    Index(None, "agent", "key"),
    Index(None, "interaction"),
    # Few events have these, so few are in the index; without it every amendment would read the table.
    Index(None, "agent", "amends", sqlite_where=_amends, postgresql_where=_amends),
    Index(None, "retracts", sqlite_where=_retracts, postgresql_where=_retracts),
    Index(None, "agent", "conversation", sqlite_where=_in_conversation, postgresql_where=_in_conversation),
)

waiting_records = Table(  # of events whose interaction has not arrived: what they came in, should it never
    "waiting_records",
    metadata,
    Column("topic_id", String(40), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", JSON, nullable=False),
)

interactions = Table(
    "interactions",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("agent", String(200), nullable=False),
    Column("version", String(40), nullable=False),
    Column("conversation", String(200)),
    Column("turn", Integer),
    Column("messages", JSON, nullable=False),
    Column("completion", Text, nullable=False),
    Column("token_ids", JSON),
    Column("logprobs", JSON),
    Column("sampling", JSON, nullable=False),
    Column("finish_reason", String(40)),
    Column("prompt_group", String(64), nullable=False),
    Column("role", String(10), nullable=False),
    Column("received_s", Float, nullable=False),
    Column("forgotten", Integer),  # the erasure that took its texts; the row stays, or it would come back
    Index(None, "agent", "conversation"),
    Index(None, "received_s"),
)

positions = Table(  # where each partition is read next; the one truth about offsets
    "positions",
    metadata,
    Column("topic_id", String(40), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("topic", String(200), nullable=False),
    Column("cluster_id", String(60), nullable=False),
    Column("began", BigInteger, nullable=False),  # offset the first range starts at
    Column("next_offset", BigInteger, nullable=False),
    Column("updated_s", Float, nullable=False),
)

ranges = Table(  # what became of every offset, one row a transaction; they abut
    "ranges",
    metadata,
    Column("topic_id", String(40), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("end", BigInteger, nullable=False),
    Column("records", Integer, nullable=False),
    Column("stored", Integer, nullable=False),
    Column("interactions", Integer, nullable=False),  # of those stored; they may go, events stay
    Column("dead", Integer, nullable=False),
    Column("duplicates", Integer, nullable=False),
    Column("kept_s", Float, nullable=False),
    Column("gap", String(200)),  # why nothing was read: retention passed us, a poisonous record was skipped
    CheckConstraint('"end" > start', name="runs_forward"),
    CheckConstraint("records = stored + dead + duplicates", name="every_record_once"),
    CheckConstraint("interactions <= stored", name="interactions_are_stored"),
    CheckConstraint('records <= "end" - start', name="within"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("topic", String(200), nullable=False),
    Column("topic_id", String(40), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("reason", String(40), nullable=False),
    Column("detail", Text, nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", JSON, nullable=False),
    Column("received_s", Float, nullable=False),
    Column("redriven_s", Float),
    Column("forgotten", Integer),  # the erasure that took its bytes
    UniqueConstraint("topic_id", "partition", "offset"),
    Index(None, "reason"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("topic", String(200), nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", JSON, nullable=False),
    Column("created_s", Float, nullable=False),
    Column("sent_s", Float),
    Index(None, "sent_s", "id"),
)

erasures = Table(  # who asked that something be forgotten, when, why and how much it was; never whom in clear
    "erasures",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("kind", String(20), nullable=False),  # author, event, conversation
    Column("whom", String(64), nullable=False),  # keyed fingerprint of the name
    Column("by", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("begun_s", Float, nullable=False),
    Column("finished_s", Float),  # null: it broke off or was undone, and is to be asked for again
    Column("counts", JSON, nullable=False),  # rows by kind
)

# ── what was learned from it ──────────────────────────────────────────────────────────────────────
leases = Table(
    "leases",
    metadata,
    Column("name", String(240), primary_key=True),
    Column("holder", String(200), nullable=False),
    Column("token", BigInteger, nullable=False),  # grows with every acquisition: the fence
    Column("until_s", Float, nullable=False),
)

passes = Table(  # turns trained together, and everything that must be repeated to get the same hashes
    "passes",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("holder", String(200), nullable=False),
    Column("form", JSON, nullable=False),
    Column("virtual_time", Float, nullable=False, server_default="0"),  # of sharing: ledger/learning/usage.py
    Column("opened_s", Float, nullable=False),
    Column("closed_s", Float),
)

turns = Table(
    "turns",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("pass_id", _Serial, ForeignKey("passes.id"), nullable=False),
    Column("place", Integer, nullable=False),  # order within the pass
    Column("agent", String(200), ForeignKey("agents.name"), nullable=False),
    Column("number", Integer, nullable=False),  # of the version it makes
    Column("parent", Integer, nullable=False),  # version number; 0 is the base
    Column("recipe", JSON, nullable=False),
    Column("labelling", JSON, nullable=False),  # what labels depend on besides the events, as it was
    Column("seed", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),  # tries since the last promotion, from 1
    Column("through_seq", BigInteger, nullable=False),  # newest event it has looked at
    Column("token", BigInteger, nullable=False),
    Column("state", String(10), nullable=False),  # `ledger.turn_states.TurnState`
    Column("reason", String(200)),
    Column("tokens", BigInteger, nullable=False, server_default="0"),  # what it cost; 0 while open or void
    Column("closed_s", Float),
    UniqueConstraint("pass_id", "place"),
    Index(None, "agent", "state"),
    Index(None, "closed_s"),
)

turn_events = Table(
    "turn_events",
    metadata,
    Column("turn_id", _Serial, ForeignKey("turns.id"), primary_key=True),
    Column("event_seq", _Serial, ForeignKey("events.seq"), primary_key=True),
    Column("part", String(10), primary_key=True),  # `ledger.turn_states.TurnPart`
    Column("place", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("outcome", String(40)),  # `ledger.turn_states.EventOutcome`; null while the turn is open
    Column("outcome_reason", String(200)),
    Index(None, "event_seq"),
)

versions = Table(
    "versions",
    metadata,
    Column("agent", String(200), ForeignKey("agents.name"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("base_hash", String(64), nullable=False),
    Column("parent", Integer, nullable=False),
    Column("turn_id", _Serial, ForeignKey("turns.id"), nullable=False),
    Column("through_seq", BigInteger, nullable=False),
    Column("path", Text, nullable=False),  # relative to the adapter store
    Column("made_s", Float, nullable=False),
    Column("pruned_s", Float),  # since when its directory is gone, or about to go
    UniqueConstraint("turn_id"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("agent", String(200), ForeignKey("agents.name"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("kind", String(20), nullable=False),  # initial, canary, promote, refuse, abstain, rollback
    Column("by", String(200), nullable=False),  # "gate", or a person's name
    Column("evidence", JSON, nullable=False),
    Column("through_seq", BigInteger, nullable=False),  # newest event of the agent the decision knew
    Column("decided_s", Float, nullable=False),
    Index(None, "agent", "number"),
)

# ── who should serve what ─────────────────────────────────────────────────────────────────────────
desired = Table(
    "desired",
    metadata,
    Column("agent", String(200), ForeignKey("agents.name"), primary_key=True),
    Column("purpose", String(12), primary_key=True),  # serve, predecessor, canary, gate
    Column("number", Integer, nullable=False),
    Column("share", Float, nullable=False),  # of traffic; canary only
    Column("since_s", Float, nullable=False),
)

replicas = Table(  # what the fleet role last saw; observations, never commands
    "replicas",
    metadata,
    Column("url", String(400), primary_key=True),
    Column("in_rotation", Boolean, nullable=False),
    Column("base_name", String(400)),
    Column("models", JSON, nullable=False),
    Column("note", String(200)),
    Column("seen_s", Float, nullable=False),
)
