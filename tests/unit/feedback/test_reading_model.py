"""Whatever arrives has one place in the ledger: records that are nearly right, kept on either database."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.database import Database
from ledger.events import Arrival, Batch
from ledger.intake import transaction
from ledger.learning.agents import Agent, declare
from ledger.reports.audit import against, audit
from tests.unit.feedback.event_builder import EVENT_DATA, RECEIVED_S, build_headers, build_reader
from tests.unit.ledger.event_builder import DEAD_LETTERS, FEEDBACK

_odd = st.sampled_from(
    [b"", b"\0", b"\\u0000", b"\\ud800", b'"', b"}", b"\xff", "\u2028é🦜".encode(), b"1e99", b"-0", b"null"]
)
_edits = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 3), _odd), max_size=3)
_names = st.sampled_from(
    ["ce_id", "ce_source", "ce_type", "ce_time", "traceparent", "content-type", "x\0y", "ü"]
)
_octets = st.one_of(
    _odd, st.binary(max_size=12), st.sampled_from([b"e-1", b"e-2", b"application/cloudevents+json"])
)


def _edited(value: bytes, edits: Sequence[tuple[float, int, bytes]]) -> bytes:
    for share, gone, put in edits:
        at = int(share * len(value))
        value = value[:at] + put + value[at + gone :]
    return value


@st.composite
def _records(draw: st.DrawFn) -> Arrival:
    kind = draw(st.sampled_from(sorted(EVENT_DATA)))
    value = _edited(json.dumps(EVENT_DATA[kind]).encode(), draw(_edits))
    changed = draw(st.dictionaries(_names, st.none() | _octets, max_size=2))
    key = draw(st.none() | st.binary(max_size=8))
    return build_reader().read(
        offset=0, key=key, value=value, headers=build_headers(kind, **changed), received_s=RECEIVED_S
    )


def test_any_record_that_is_nearly_right_is_kept_once(anew: Callable[[], Database]) -> None:
    database = anew()
    declare(database, Agent(name="sql", base_hash="b"))
    transaction.start_at(database, FEEDBACK, 0)
    end = 0

    @given(records=st.lists(_records(), min_size=1, max_size=5))
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def keep(records: list[Arrival]) -> None:
        nonlocal end
        arrivals = tuple(replace(arrival, offset=end + share) for share, arrival in enumerate(records))
        batch = Batch(partition=FEEDBACK, start=end, end=end + len(records), arrivals=arrivals)
        kept = transaction.keep(database, [batch], dead_letter_topic=DEAD_LETTERS)
        end += len(records)
        assert kept.stored + kept.duplicates + sum(kept.dead.values()) == len(records)

    keep()
    with database.read() as connection:
        result = against(audit(connection), {(FEEDBACK.topic_id, FEEDBACK.number): end})
    assert result.disagreements == ()
    [extent] = result.partitions
    assert (extent.records, extent.unread) == (end, 0)
    assert min(extent.stored, extent.dead, extent.duplicates) > 0, "all fates were met"
    database.close()
