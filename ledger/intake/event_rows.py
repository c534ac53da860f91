"""Stores arrivals as rows: events, interactions, and dead letters with their messages for Kafka."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, select, update

from ledger.database import in_chunks
from ledger.events import Arrival, Event, Headers, Interaction, Kind, Partition, Status, UnusableRecord
from ledger.facts import fact
from ledger.intake import amendments, outbox
from ledger.schema import dead_letters, events, interactions, passes

DEAD_HEADERS = "clorad.dead."
"""Prefix of the headers that clorad adds to the copy of a dead letter."""

SEQ_FLOOR = "seq_floor"
"""The fact that holds the largest number of an event whose row was deleted."""


def store(connection: Connection, fresh: Sequence[tuple[Partition, Arrival, Event]], now: float) -> None:
    """Insert new events, each with its first status."""
    if not fresh:
        return
    floor = _seq_floor(connection)
    rows = [
        {
            **({} if floor is None else {"seq": floor + place}),
            "source": event.source,
            "id": event.id,
            "digest": event.digest,
            "kind": event.kind.value,
            "agent": event.agent,
            "author": event.author,
            "conversation": event.conversation,
            "interaction": event.interaction,
            "turn": event.turn,
            "key": event.key,
            "amends": event.amends,
            "revision": event.revision,
            "role": None if event.role is None else event.role.value,
            "prompt_group": event.prompt_group,
            "status": _first_status(event).value,
            "data": event.data,
            "retracts": event.data["target"]["id"] if event.kind is Kind.RETRACTION else None,
            "occurred_s": event.occurred_s,
            "received_s": now,
            "trace": event.trace,
            "trust": event.trust.value,
            "signer": event.signer,
            "key_id": event.key_id,
            "rights": sorted(event.rights),
            "acts": event.acts,
            "claimed_id": event.claimed_id,
            "topic_id": partition.topic_id,
            "partition": partition.number,
            "offset": arrival.offset,
        }
        for place, (partition, arrival, event) in enumerate(fresh, start=1)
    ]
    connection.execute(insert(events), rows)


def confirm(connection: Connection, signed: Sequence[Event]) -> None:
    """Give stored events, which came unsigned first, what their signed copies prove."""
    for event in signed:
        connection.execute(
            update(events)
            .where(events.c.source == event.source, events.c.id == event.id)
            .values(
                trust=event.trust.value,
                signer=event.signer,
                key_id=event.key_id,
                rights=sorted(event.rights),
                acts=event.acts,
            )
        )


def count_not_yours(connection: Connection, fresh: Sequence[Event]) -> int:
    """How many of the stored events act on other people's events, without the right to."""
    acting = {(event.source, event.id) for event in fresh if event.amends or event.kind is Kind.RETRACTION}
    count = 0
    for chunk in in_chunks(sorted({id for _, id in acting})):
        query = select(events.c.source, events.c.id).where(
            events.c.id.in_(chunk), events.c.status == Status.NOT_YOURS.value
        )
        count += sum((row.source, row.id) in acting for row in connection.execute(query))
    return count


def _seq_floor(connection: Connection) -> int | None:
    """The number to count on from if SQLite would give out a number twice; else None.

    SQLite counts on from the largest number in the table, but a deleted event may have had a larger one.
    Turns and decisions remember by these numbers which events they have seen.
    """
    if connection.dialect.name != "sqlite":
        return None
    floor = fact(connection, SEQ_FLOOR)
    if floor is None or int(floor) <= int(connection.scalar(select(func.max(events.c.seq))) or 0):
        return None
    return int(floor)


def _first_status(event: Event) -> Status:
    if event.kind is Kind.RETRACTION:
        return Status.APPLIED
    return Status.OPEN if event.role is not None else Status.WAITING


def store_interactions(connection: Connection, fresh: Sequence[Interaction], now: float) -> None:
    """Insert new interactions, each with the newest pass, and open the events that waited for them.

    A pass that is opened later has them in its conversations, one that was opened before has not: both
    transactions have the write lock, so there is an order.
    """
    if not fresh:
        return
    newest_pass = int(connection.scalar(select(func.max(passes.c.id))) or 0)
    assert all(interaction.role is not None for interaction in fresh), "an interaction has its prompt"
    rows = [
        {
            "id": interaction.id,
            "agent": interaction.agent,
            "version": interaction.version,
            "conversation": interaction.conversation,
            "turn": interaction.turn,
            "messages": [dict(message) for message in interaction.messages],
            "completion": _storable(interaction.completion),
            "token_ids": None if interaction.token_ids is None else list(interaction.token_ids),
            "logprobs": None if interaction.logprobs is None else list(interaction.logprobs),
            "sampling": dict(interaction.sampling),
            "finish_reason": interaction.finish_reason,
            "reply": interaction.reply and dict(interaction.reply),
            "request": dict(interaction.request),
            "restrictions": list(interaction.restrictions),
            "packed_prompt": interaction.packed_prompt,
            "ids_left_out": interaction.ids_left_out,
            "prompt_group": interaction.prompt_group,
            "role": interaction.role and interaction.role.value,
            "received_s": now,
            "after_pass": newest_pass,
        }
        for interaction in fresh
    ]
    connection.execute(insert(interactions), rows)
    amendments.join(connection, [interaction.id for interaction in fresh])
    amendments.join_conversations(
        connection, [(each.agent, each.conversation) for each in fresh if each.conversation]
    )


def _storable(text: str) -> str:
    """Text columns hold neither NUL (Postgres) nor lone surrogates; JSON columns escape them."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def store_dead_letters(
    connection: Connection,
    partition: Partition,
    dead: Sequence[tuple[Arrival, UnusableRecord]],
    now: float,
    topic: str,
) -> None:
    """Insert dead letters, and put a copy of each for `topic` into the outbox."""
    if not dead:
        return
    rows = [
        {
            "topic": partition.topic,
            "topic_id": partition.topic_id,
            "partition": partition.number,
            "offset": arrival.offset,
            "reason": unusable.reason.value,
            "detail": unusable.detail,
            "key": arrival.key,
            "value": arrival.value,
            "headers": outbox.as_json(arrival.headers),
            "received_s": now,
        }
        for arrival, unusable in dead
    ]
    connection.execute(insert(dead_letters), rows)
    letters = [
        (topic, arrival.key, arrival.value, (*arrival.headers, *_cause(partition, arrival, unusable)))
        for arrival, unusable in dead
    ]
    outbox.put_all(connection, letters)


def _cause(partition: Partition, arrival: Arrival, unusable: UnusableRecord) -> Headers:
    """The headers that clorad adds to a dead letter's own."""
    facts = {
        "reason": unusable.reason.value,
        "detail": unusable.detail,
        "topic": partition.topic,
        "partition": str(partition.number),
        "offset": str(arrival.offset),
    }
    return tuple((f"{DEAD_HEADERS}{name}", value.encode()) for name, value in facts.items())
