"""Short ways to say what people and gateways say, and to keep it."""

from collections.abc import Sequence
from typing import Any

from ledger.database import Database
from ledger.events import (
    Arrival,
    Batch,
    Event,
    Interaction,
    Kind,
    LiveCounts,
    Partition,
    Reason,
    Role,
    UnusableRecord,
)
from ledger.intake import transaction
from ledger.topic_names import DEAD_LETTERS_TOPIC, FEEDBACK_TOPIC, INTERACTIONS_TOPIC

FEEDBACK = Partition(cluster_id="c1", topic=FEEDBACK_TOPIC, topic_id="t1", number=0)
INTERACTIONS = Partition(cluster_id="c1", topic=INTERACTIONS_TOPIC, topic_id="t2", number=0)
DEAD_LETTERS = DEAD_LETTERS_TOPIC

Content = Event | Interaction | LiveCounts | UnusableRecord


def build_event(id: str, **changed: Any) -> Event:
    """A correction of billing with the role `train`, unless said otherwise."""
    fields: dict[str, Any] = {
        "source": "dev",
        "id": id,
        "digest": f"digest of {id[:20]}",
        "kind": Kind.CORRECTION,
        "agent": "billing",
        "author": "ann",
        "role": Role.TRAIN,
        "prompt_group": f"group of {id[:20]}",
        "data": {"messages": [{"role": "user", "content": id}], "rejected": "no", "corrected": "yes"},
    }
    return Event(**{**fields, **changed})


def build_retraction(id: str, target: str, *, of: str = "dev", **changed: Any) -> Event:
    data = {"target": {"source": of, "id": target}}
    return build_event(id, kind=Kind.RETRACTION, role=None, prompt_group=None, data=data, **changed)


def build_outcome(id: str, value: float, **changed: Any) -> Event:
    return build_event(id, kind=Kind.OUTCOME, data={"value": value, "scope": "final"}, **changed)


def build_interaction(id: str, **changed: Any) -> Interaction:
    fields: dict[str, Any] = {
        "id": id,
        "agent": "billing",
        "version": "v0",
        "conversation": None,
        "turn": None,
        "messages": ({"role": "user", "content": "hello"},),
        "completion": "hi",
        "token_ids": (1, 2),
        "logprobs": (-0.5, -0.25),
        "sampling": {"temperature": 0.0},
        "finish_reason": "stop",
        "prompt_group": "group",
        "role": Role.TRAIN,
    }
    return Interaction(**{**fields, **changed})


def build_unusable(reason: Reason = Reason.INVALID_JSON) -> UnusableRecord:
    return UnusableRecord(reason=reason, detail="line 1")


def build_batch(
    start: int, contents: Sequence[Content], *, partition: Partition = FEEDBACK, holes: int = 0
) -> Batch:
    """One record an offset from `start`, then `holes` offsets without one."""
    arrivals = tuple(
        Arrival(
            offset=start + place,
            key=b"key",
            value=f"bytes {start + place}".encode(),
            headers=(("ce_id", b"1"), ("ce_id", None)),
            content=content,
        )
        for place, content in enumerate(contents)
    )
    return Batch(partition=partition, start=start, end=start + len(contents) + holes, arrivals=arrivals)


def keep(
    database: Database,
    *contents: Content,
    partition: Partition = FEEDBACK,
    holes: int = 0,
    administrators: frozenset[str] = frozenset(),
) -> transaction.Kept:
    """Keep the contents at the next offsets of the partition."""
    start = transaction.start_at(database, partition, 0)
    return transaction.keep(
        database,
        [build_batch(start, contents, partition=partition, holes=holes)],
        dead_letter_topic=DEAD_LETTERS,
        administrators=administrators,
    )
