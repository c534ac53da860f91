"""The tables of feedback: events, interactions, dead letters, and the offsets that were read."""

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
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from ledger.metadata import Serial, metadata

_amends, _retracts = text("amends IS NOT NULL"), text("retracts IS NOT NULL")
_claimed = text("claimed_id IS NOT NULL")
_in_conversation = text("conversation IS NOT NULL")

events = Table(
    "events",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("source", String(400), nullable=False),
    Column("id", String(200), nullable=False),
    Column("digest", String(64), nullable=False),  # HMAC of the raw bytes: another one is a conflict of ids
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
    Column("trust", String(10), nullable=False, server_default="unsigned"),  # `ledger.events.Trust`
    Column("signer", String(200)),  # id of the key that signed it
    Column("key_id", String(200)),  # id of the API key by which a gateway knew the author
    Column("rights", JSON, nullable=False, server_default="[]"),  # of the author; none without a signature
    Column("acts", Boolean, nullable=False, server_default=false()),  # may change other people's events
    Column("claimed_id", String(200)),  # the id it was sent with, where another author used that before
    UniqueConstraint("source", "id"),
    UniqueConstraint("topic_id", "partition", "offset"),
    Index(None, "agent", "status", "role", "kind"),
    Index(None, "status", "seq"),
    Index(None, "agent", "prompt_group"),
    Index(None, "agent", "key"),
    Index(None, "interaction"),
    # Few events have these columns, so the index is small; without it each amendment would read the table.
    Index(None, "agent", "amends", sqlite_where=_amends, postgresql_where=_amends),
    Index(None, "source", "claimed_id", sqlite_where=_claimed, postgresql_where=_claimed),
    Index(None, "retracts", sqlite_where=_retracts, postgresql_where=_retracts),
    Index(None, "agent", "conversation", sqlite_where=_in_conversation, postgresql_where=_in_conversation),
)

# What people decided about events that were stored already. An event that waited in vain is deleted later, so
# nothing here refers to the table of events.
event_decisions = Table(
    "event_decisions",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("verdict", String(20), nullable=False),  # `ledger.learning.event_decisions.EventVerdict`
    Column("event_seq", Serial, nullable=False),  # that it was about
    Column("by", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_s", Float, nullable=False),
    Column("undone_by", Serial),  # the later decision that undid it
)

event_changes = Table(  # the events that a decision changed; who undoes it puts back `before`
    "event_changes",
    metadata,
    Column("decision_id", Serial, ForeignKey("event_decisions.id"), primary_key=True),
    Column("event_seq", Serial, primary_key=True),
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
    Index(None, "event_seq"),
)

waiting_records = Table(  # the records of events that wait: they become dead letters if it never arrives
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
    Column("reply", JSON(none_as_null=True)),  # the assistant message, where it is more than `completion`
    Column("request", JSON, nullable=False, server_default="{}"),  # tools, arguments of the template, …
    Column("restrictions", JSON, nullable=False, server_default="[]"),
    Column("packed_prompt", LargeBinary),  # the ids of the prompt that the model read
    Column("ids_left_out", String(20)),  # why there are none
    Column("prompt_group", String(64), nullable=False),
    Column("role", String(10), nullable=False),
    Column("received_s", Float, nullable=False),
    # the erasure that took its texts; the row stays: Kafka may deliver it again
    Column("forgotten", Integer),
    Column("after_pass", BigInteger),  # the newest pass when it was stored; null: an older clorad stored it
    Index(None, "agent", "conversation"),
    Index(None, "agent", "role", "received_s"),
    Index(None, "received_s"),
)

openings = Table(  # the openings of conversations: a longer prompt gets the group and role of its opening
    "openings",
    metadata,
    Column("agent", String(200), primary_key=True),
    Column("opening", String(64), primary_key=True),
    Column("continues", String(64)),  # the shorter opening; null if an older clorad gave the role
    Column("prompt_group", String(64), nullable=False),
    Column("role", String(10), nullable=False),
    Index(None, "agent", "continues"),
)

positions = Table(  # the next offset of each partition; it decides, not the group's offset in Kafka
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

ranges = Table(  # what became of every offset: one row for each partition and transaction, without gaps
    "ranges",
    metadata,
    Column("topic_id", String(40), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("end", BigInteger, nullable=False),
    Column("records", Integer, nullable=False),
    Column("stored", Integer, nullable=False),
    Column("interactions", Integer, nullable=False),  # of those stored; retention may delete them later
    Column("dead", Integer, nullable=False),
    Column("duplicates", Integer, nullable=False),
    Column("kept_s", Float, nullable=False),
    Column("gap", String(200)),  # why intake skipped the offsets: retention, a record that cannot be decoded
    CheckConstraint('"end" > start', name="runs_forward"),
    CheckConstraint("records = stored + dead + duplicates", name="every_record_once"),
    CheckConstraint("interactions <= stored", name="interactions_are_stored"),
    CheckConstraint('records <= "end" - start', name="within"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
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
    Column("redriven_by", String(200)),  # who sent it again last, and why
    Column("redriven_why", Text),
    Column("forgotten", Integer),  # the erasure that took its bytes
    UniqueConstraint("topic_id", "partition", "offset"),
    Index(None, "reason"),
    Index(None, "redriven_s"),  # those that were not sent again are counted
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("topic", String(200), nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", JSON, nullable=False),
    Column("created_s", Float, nullable=False),
    Column("sent_s", Float),
    Index(None, "sent_s", "id"),
)

erasures = Table(  # who had something forgotten, when, why and how many rows; no names of authors
    "erasures",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("kind", String(20), nullable=False),  # author, event, conversation
    Column("whom", String(64), nullable=False),  # keyed fingerprint of the name
    Column("by", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("begun_s", Float, nullable=False),
    Column("finished_s", Float),  # null: it was interrupted or undone, and must be requested again
    Column("counts", JSON, nullable=False),  # rows by kind
)

live_producers = Table(  # how far each gateway was read, so that none of its records counts twice
    "live_producers",
    metadata,
    Column("producer", String(64), primary_key=True),
    Column("agent", String(200), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("seen_s", Float, nullable=False),
)

live_conversations = Table(  # how many conversations versions answered, a row a minute
    "live_conversations",
    metadata,
    Column("agent", String(200), primary_key=True),
    Column("canary", String(40), primary_key=True),  # version; empty where none had a share
    Column("share", Float, primary_key=True),  # of the canary
    Column("version", String(40), primary_key=True),  # that answered
    Column("since_s", BigInteger, primary_key=True),
    Column("conversations", BigInteger, nullable=False),
    Index(None, "since_s"),
)

live_signals = Table(  # conversations that showed a signal of trouble, each once
    "live_signals",
    metadata,
    Column("agent", String(200), primary_key=True),
    Column("canary", String(40), primary_key=True),
    Column("share", Float, primary_key=True),
    Column("signal", String(20), primary_key=True),  # `ledger.events.Signal`
    Column("conversation", String(32), primary_key=True),  # a fingerprint of its name
    Column("version", String(40), nullable=False),  # that answered first
    Column("seen_s", Float, nullable=False),
    Index(None, "seen_s"),
)
