"""Any record is an event, an interaction, or unusable for a reason; never an exception."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.call_arguments import DEPTH_MAX
from feedback.envelope import VALUE_BYTES_MAX
from feedback.grouping import openings_of
from feedback.reading import OVERSIZED_BYTES_KEPT, Reader, received_s
from feedback.redaction import RedactionCounts, Redactor
from feedback.token_ids import pack, to_text, unpack
from ledger.events import Arrival, Event, Interaction, Kind, Reason, UnusableRecord
from tests.unit.feedback.event_builder import (
    CORRECTION,
    EVENT_DATA,
    IDENTITY,
    INTERACTION,
    INTERVENTION,
    OUTCOME,
    RECEIVED_S,
    RETRACTION,
    build_headers,
    build_reader,
    read_record,
)

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
_headers = st.lists(
    st.tuples(st.sampled_from(["ce_id", "ce_type", "content-type", "x"]), st.none() | st.binary())
)


BARE = {"agent": "sql", "author": "op-1", "conversation": "talk"}
SPOKEN = [{"role": "assistant", "content": "no"}]


def test_a_correction_in_binary_mode_is_an_event() -> None:
    event = read_record(
        CORRECTION | {"conversation": "c-1", "turn": 2, "comment": "soft delete"},
        ce_time=b"2026-11-22T10:00:00Z",
        traceparent=b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
    ).content
    assert isinstance(event, Event)
    assert (event.uid, event.kind, event.agent, event.author) == ("ide#e-1", Kind.CORRECTION, "sql", "dev-1")
    assert (event.conversation, event.turn, event.revision) == ("c-1", 2, 1)
    assert event.data["corrected"] == CORRECTION["corrected"]
    assert event.data["comment"] == "soft delete"
    assert "agent" not in event.data
    assert event.occurred_s == 1795341600.0
    assert event.trace is not None
    assert (event.role, event.openings) == (None, openings_of(CORRECTION["messages"]))


@pytest.mark.parametrize(
    ("time", "occurred_s"),
    [(b"2026-11-22T11:59:59Z", RECEIVED_S - 1), (b"2031-01-01T00:00:00Z", RECEIVED_S), (None, None)],
)
def test_nothing_occurred_after_it_was_received(time, occurred_s) -> None:
    assert read_record(OUTCOME, "outcome", ce_time=time).content.occurred_s == occurred_s


@pytest.mark.parametrize(
    ("timestamp_ms", "now_s", "expected_s"),
    [(7000, 9.5, 7.0), (99_000, 9.5, 9.5), (-1, 9.5, 9.5), (0, 9.5, 9.5)],
)
def test_a_record_was_received_by_now_at_the_latest(timestamp_ms, now_s, expected_s) -> None:
    assert received_s(timestamp_ms, now_s) == expected_s


def test_a_correction_in_structured_mode_is_the_same_event() -> None:
    envelope = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "ide",
        "type": "clorad.correction.v1",
        "data": CORRECTION,
    }
    value = json.dumps(envelope).encode()
    structured = build_reader().read(
        offset=0,
        key=None,
        value=value,
        headers=(("content-type", b"application/cloudevents+json; charset=utf-8"),),
        received_s=RECEIVED_S,
    )
    bare = build_reader().read(offset=0, key=None, value=value, headers=(), received_s=RECEIVED_S)
    binary = read_record(CORRECTION)
    for event in (structured.content, bare.content):
        assert isinstance(event, Event)
        assert isinstance(binary.content, Event)
        assert (event.uid, event.data, event.openings) == (
            binary.content.uid,
            binary.content.data,
            binary.content.openings,
        )


@pytest.mark.parametrize("kind", sorted(EVENT_DATA))
def test_each_type_is_read(kind: str) -> None:
    content = read_record(EVENT_DATA[kind], kind).content
    assert isinstance(content, Interaction if kind == "interaction" else Event)


def test_an_intervention_is_named_by_its_action() -> None:
    assert read_record(INTERVENTION, "intervention").content.kind is Kind.ABORT


def test_fields_we_do_not_know_yet_are_let_through() -> None:
    assert isinstance(read_record(CORRECTION | {"mood": "cross", "extra": {"deep": [1]}}).content, Event)


def test_what_a_message_carries_besides_text_is_kept() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "t", "function": {"name": "f"}}]}
    event = read_record(CORRECTION | {"messages": [*CORRECTION["messages"], message]}).content
    assert event.data["messages"][-1] == message


def test_feedback_that_names_an_interaction_needs_no_texts_and_begins_nothing() -> None:
    event = read_record({"agent": "sql", "author": "d", "interaction": "i-1", "corrected": "x"}).content
    assert isinstance(event, Event)
    assert event.openings is None


def test_a_retraction_names_its_target() -> None:
    event = read_record(RETRACTION, "retraction").content
    assert event.kind is Kind.RETRACTION
    assert event.data["target"] == {"source": "ide", "id": "e-1"}


def test_the_same_bytes_have_the_same_digest_and_others_another() -> None:
    assert read_record(CORRECTION).content.digest == read_record(CORRECTION).content.digest
    assert (
        read_record(CORRECTION).content.digest
        != read_record(CORRECTION | {"corrected": "other"}).content.digest
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"\xff\xfe", Reason.INVALID_UTF8),
        (b'{"agent":', Reason.INVALID_JSON),
        (b'{"agent": NaN}', Reason.INVALID_JSON),
        (b'{"agent": 1e999}', Reason.INVALID_JSON),
        (b'{"agent": "a", "agent": "b"}', Reason.INVALID_JSON),
        (b'{"agent": ' + b"9" * 5000 + b"}", Reason.INVALID_JSON),
        (b'{"agent": "a\\u0000b"}', Reason.INVALID_JSON),
        (b'{"agent": "\\ud800"}', Reason.INVALID_JSON),
        (b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1), Reason.TOO_DEEP),
        (b"[" * 100_000 + b"]" * 100_000, Reason.TOO_DEEP),
        (b'"' + b"x" * VALUE_BYTES_MAX + b'"', Reason.OVERSIZED),
        (b"{}", Reason.INVALID_SCHEMA),
        (b"[]", Reason.INVALID_SCHEMA),
        (b"3", Reason.INVALID_SCHEMA),
    ],
)
def test_bytes_that_are_no_event_get_the_reason(value, reason) -> None:
    assert read_record(value).content.reason is reason


def test_a_tombstone_is_empty() -> None:
    arrival = build_reader().read(
        offset=0, key=b"k", value=None, headers=build_headers("correction"), received_s=RECEIVED_S
    )
    assert arrival.content.reason is Reason.EMPTY
    assert arrival.value is None


def test_the_deepest_legal_event_is_read() -> None:
    deep: object = "x"
    for _ in range(DEPTH_MAX - 1):
        deep = [deep]
    assert isinstance(read_record(CORRECTION | {"more": deep}).content, Event)
    assert read_record(CORRECTION | {"more": [deep]}).content.reason is Reason.TOO_DEEP


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"ce_type": b"clorad.praise.v1"}, Reason.UNKNOWN_TYPE),
        ({"content-type": b"application/cloudevents-batch+json"}, Reason.UNKNOWN_TYPE),
        ({"ce_id": None}, Reason.INVALID_SCHEMA),
        ({"ce_id": b"x" * 201}, Reason.INVALID_SCHEMA),
        ({"ce_id": b"a\nb"}, Reason.INVALID_SCHEMA),
        ({"ce_id": b"\xff"}, Reason.INVALID_UTF8),
        ({"ce_source": None}, Reason.INVALID_SCHEMA),
        ({"ce_specversion": b"0.3"}, Reason.INVALID_SCHEMA),
        ({"ce_time": b"yesterday"}, Reason.INVALID_SCHEMA),
        ({"ce_time": b"2026-11-22T10:00:00"}, Reason.INVALID_SCHEMA),
    ],
)
def test_attributes_that_are_wrong_get_the_reason(changed, reason) -> None:
    assert read_record(CORRECTION, **changed).content.reason is reason


@pytest.mark.parametrize(
    ("kind", "data", "named"),
    [
        ("correction", CORRECTION | {"corrected": ""}, "corrected"),
        ("correction", CORRECTION | {"messages": None}, "interaction"),
        ("correction", CORRECTION | {"messages": []}, "messages"),
        ("correction", CORRECTION | {"messages": [{"role": "boss", "content": "x"}]}, "messages.0.role"),
        ("correction", CORRECTION | {"revision": 0}, "revision"),
        ("correction", CORRECTION | {"turn": True}, "turn"),
        ("correction", CORRECTION | {"agent": "a\tb"}, "agent"),
        ("intervention", INTERVENTION | {"action": "shout"}, "action"),
        ("intervention", INTERVENTION | {"action": "override"}, "corrected"),
        ("intervention", INTERVENTION | {"action": "takeover"}, "turns"),
        ("outcome", OUTCOME | {"value": 1.5}, "value"),
        ("outcome", OUTCOME | {"interaction": None}, "amends"),
        ("retraction", RETRACTION | {"target": {"id": "x"}}, "target.source"),
        ("interaction", INTERACTION | {"logprobs": [-0.1]}, "logprobs"),
    ],
)
def test_data_that_is_wrong_is_named_by_field(kind: str, data: Any, named) -> None:
    unusable = read_record(data, kind).content
    assert unusable.reason is Reason.INVALID_SCHEMA
    assert named in unusable.detail


ALONE = {"interaction": None, "conversation": "talk"}


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("outcome", OUTCOME | ALONE),
        ("outcome", OUTCOME | {"interaction": None, "task": "talk"}),
        *(("intervention", {**BARE, "action": action}) for action in ("approve", "reject", "abort")),
        ("intervention", BARE | {"action": "override", "turn": 0, "corrected": "no"}),
        ("intervention", BARE | {"action": "takeover", "turn": 0, "turns": SPOKEN}),
        ("correction", {**BARE, "corrected": "no", "turn": 1}),
    ],
)
def test_feedback_may_name_a_conversation_alone_or_one_of_its_turns(kind: str, data: Any) -> None:
    event = read_record(data, kind).content
    assert isinstance(event, Event)
    assert (event.conversation, event.interaction, event.role) == ("talk", None, None)
    assert "scope" not in event.data


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("correction", {**BARE, "corrected": "no"}),
        ("intervention", BARE | {"action": "override", "corrected": "no"}),
        ("intervention", BARE | {"action": "takeover", "turns": SPOKEN}),
    ],
)
def test_what_says_what_is_right_names_the_turn_of_a_conversation(kind: str, data: Any) -> None:
    unusable = read_record(data, kind).content
    assert isinstance(unusable, UnusableRecord)
    assert "conversation and turn" in unusable.detail


def test_the_task_of_an_outcome_is_no_conversation_where_it_names_something_else() -> None:
    about_reply = OUTCOME | {"task": "sums"}
    for data in (about_reply, OUTCOME | {"interaction": None, "amends": "k", "task": "sums"}):
        event = read_record(data, "outcome").content
        assert isinstance(event, Event)
        assert event.conversation is None


def test_a_complaint_never_echoes_what_people_wrote() -> None:
    secret = "the-launch-code"
    for data in (
        CORRECTION | {"messages": [{"role": secret, "content": secret}]},
        CORRECTION | {"messages": [{"role": "user", "content": [{secret: secret}, secret]}]},
        CORRECTION | {"revision": secret},
        f'{{"agent": {secret}}}'.encode(),
        json.dumps(CORRECTION | {secret: 1}).encode()[:-1] + b', "agent": 1}',
    ):
        unusable = read_record(data).content
        assert isinstance(unusable, UnusableRecord)
        assert secret not in unusable.detail


def test_of_an_oversized_record_the_beginning_the_length_and_a_fingerprint_are_kept() -> None:
    value = b'"' + b"x" * VALUE_BYTES_MAX + b'"'
    arrival = read_record(value)
    assert arrival.value == value[:OVERSIZED_BYTES_KEPT]
    assert str(len(value)) in arrival.content.detail
    assert IDENTITY.fingerprint(value) in arrival.content.detail


def test_an_unusable_record_is_kept_whole_but_for_what_redaction_takes() -> None:
    broken = b'{"agent": "sql", "comment": "ask jane.doe@example.com"'
    arrival = build_reader().read(
        offset=3,
        key=b"jane.doe@example.com",
        value=broken,
        headers=(("x-note", b"call +49 170 1234567"), ("x-raw", b"\xff\x00")),
        received_s=RECEIVED_S,
    )
    assert arrival.content.reason is Reason.INVALID_JSON
    assert arrival.value == b'{"agent": "sql", "comment": "ask [email]"'
    assert arrival.key is not None
    assert arrival.key.startswith(b"redacted:"), "a key is a name"
    assert dict(arrival.headers) == {"x-note": b"call [phone]", "x-raw": b"\xff\x00"}


def test_json_cannot_hide_a_secret_from_redaction_by_spelling_it_in_escapes() -> None:
    hidden = b'{"agent": "nobody", "note": "jane\\u0040example.com"}'
    assert b"[email]" in read_record(hidden).value


def test_an_interaction_that_redaction_changed_loses_its_tokens() -> None:
    clean = read_record(INTERACTION, "interaction").content
    changed = read_record(INTERACTION | {"completion": "write to a.b@example.com"}, "interaction").content
    assert clean.token_ids == (5, 6)
    assert clean.logprobs == (-0.1, -0.2)
    assert changed.completion == "write to [email]"
    assert changed.token_ids is None
    assert changed.logprobs is None


CALL = {"id": "c1", "type": "function", "function": {"name": "stock", "arguments": '{"item": "bolts"}'}}
WHOLE = INTERACTION | {
    "completion": "",
    "reply": {"role": "assistant", "content": None, "tool_calls": [CALL]},
    "tools": [{"type": "function", "function": {"name": "stock"}}],
    "tool_choice": "required",
    "chat_template_kwargs": {"enable_thinking": False},
    "rendering": {"reasoning_effort": "low"},
    "restrictions": ["tool_choice"],
    "prompt_token_ids": to_text(pack([1, 70_000])),
}


def test_an_interaction_is_read_whole() -> None:
    read = read_record(WHOLE, "interaction").content
    assert read.reply == WHOLE["reply"]
    assert read.request == {
        "tools": WHOLE["tools"],
        "tool_choice": "required",
        "chat_template_kwargs": {"enable_thinking": False},
        "reasoning_effort": "low",
    }
    assert read.restrictions == ("tool_choice",)
    assert unpack(read.packed_prompt) == (1, 70_000)
    assert read.ids_left_out is None


def test_what_is_redacted_in_a_tool_takes_the_ids_of_the_prompt_with_it() -> None:
    tool = {"type": "function", "function": {"name": "mail", "description": "to a.b@example.com"}}
    read = read_record(WHOLE | {"tools": [tool]}, "interaction").content
    assert read.request["tools"][0]["function"]["description"] == "to [email]"
    assert (read.packed_prompt, read.token_ids, read.ids_left_out) == (None, None, "redacted")


class CountingRedactor(Redactor):
    """Counts the values in which it looks for something to redact."""

    values = 0

    def value(self, value: Any, counts: RedactionCounts) -> Any:
        self.values += 1
        return super().value(value, counts)


def read_counting(data: dict[str, Any]) -> tuple[Arrival, int]:
    redactor = CountingRedactor(IDENTITY.fingerprint)
    reader = Reader(IDENTITY, redactor)
    headers = build_headers("interaction")
    read = reader.read(
        offset=0, key=b"c-1", value=json.dumps(data).encode(), headers=headers, received_s=RECEIVED_S
    )
    return read, redactor.values


def test_ids_and_logprobs_alone_are_no_reason_to_redact_a_capture() -> None:
    ids = {
        "sampling": {"max_tokens": 48},
        "token_ids": [4111111111111111, 6],
        "logprobs": [-1.2345678901234567, -1e-9],
    }
    read, values = read_counting(WHOLE | ids | {"prompt_token_ids": to_text(pack(range(70_000)))})
    assert isinstance(read.content, Interaction)
    assert values == 0


@pytest.mark.parametrize(
    "secret",
    [
        {"completion": 'token_ids: [4], "logprobs": [5], mail a.b@example.com'},
        {"chat_template_kwargs": {"token_ids": "mail a.b@example.com"}},
        {"chat_template_kwargs": {"token_ids": ["mail a.b@example.com"]}},
        {"chat_template_kwargs": {"prompt_token_ids": "mail a.b@example.com"}},
        {"chat_template_kwargs": {"logprobs": [1, "mail a.b@example.com"]}},
    ],
)
def test_a_secret_beside_ids_is_redacted_whatever_its_field_is_called(secret: dict[str, Any]) -> None:
    read, values = read_counting(WHOLE | secret)
    assert isinstance(read.content, Interaction)
    assert values > 0
    assert b"a.b@" not in (read.value or b"")
    assert read.content.ids_left_out == "redacted"


def test_a_dead_letter_with_redacted_texts_has_no_ids_that_spell_them() -> None:
    secret = WHOLE | {"agent": 7, "messages": [{"role": "user", "content": "mail a.b@example.com"}]}
    for data, kept in ((secret, False), (WHOLE | {"agent": 7}, True)):
        letter = read_record(data, "interaction")
        assert isinstance(letter.content, UnusableRecord)
        stored = json.loads(letter.value)
        assert {name in stored for name in ("token_ids", "logprobs", "prompt_token_ids")} == {kept}


def test_an_interaction_of_an_older_gateway_has_nothing_more_and_says_nothing_about_it() -> None:
    read = read_record(INTERACTION, "interaction").content
    assert (read.reply, read.request, read.restrictions) == (None, {}, ())
    assert (read.packed_prompt, read.ids_left_out) == (None, None)


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"prompt_token_ids": "é"}, "data: not base64"),
        ({"prompt_token_ids": "AAAA"}, "data: not in zlib's form"),
        ({"tools": [{}] * 129}, "tools: too_long (128)"),
        ({"ids_left_out": "lost"}, "ids_left_out: enum ('redacted', 'too_large' or 'not_reported')"),
    ],
)
def test_a_part_of_an_interaction_in_another_form_is_a_dead_letter(changed: Any, detail: str) -> None:
    read = read_record(WHOLE | changed, "interaction").content
    assert isinstance(read, UnusableRecord)
    assert (read.reason, read.detail) == (Reason.INVALID_SCHEMA, detail)


def test_an_author_who_is_an_address_stays_one_author_without_it() -> None:
    first, again = (read_record(CORRECTION | {"author": "jane@example.com"}).content for _ in range(2))
    other = read_record(CORRECTION | {"author": "john@example.com"}).content
    assert "jane" not in first.author
    assert first.author == again.author != other.author


@pytest.mark.parametrize("structured", [False, True])
def test_a_dead_letter_sent_again_is_known_by_the_names_it_would_have_had(structured) -> None:
    data = CORRECTION | {"author": "jane@example.com", "conversation": "john@example.com"}
    names = {"ce_id": b"1 of jane@example.com", "ce_source": b"mailto:jane@example.com"}
    if structured:
        around = {name.removeprefix("ce_"): octets.decode() for name, octets in names.items()}
        event = around | {"specversion": "1.0", "type": "clorad.correction.v1", "data": data}
        letter = build_reader().read(
            offset=0, key=None, value=json.dumps(event).encode(), headers=(), received_s=RECEIVED_S
        )
    else:
        letter = read_record(data, **names)
    again = build_reader().read(
        offset=1, key=letter.key, value=letter.value, headers=letter.headers, received_s=RECEIVED_S
    )
    first, second = letter.content, again.content
    assert b"example.com" not in letter.value + b"".join(octets for _, octets in letter.headers)
    assert (second.author, second.conversation) == (first.author, first.conversation)
    assert (second.source, second.id) == (first.source, first.id)


def test_tasks_whose_names_are_redacted_still_differ_and_those_of_one_name_are_one() -> None:
    tasks = [
        read_record(OUTCOME | {"task": task}, "outcome").content.data["task"]
        for task in ("refund jane@example.com", "refund joe@example.com", "refund jane@example.com")
    ]
    assert tasks[0] == tasks[2] != tasks[1]
    assert "example.com" not in "".join(tasks)


def test_an_outcome_without_a_task_is_read_as_before_there_were_tasks() -> None:
    assert "task" not in read_record(OUTCOME, "outcome").content.data


def test_a_retraction_finds_a_target_whose_name_was_redacted() -> None:
    target = read_record(CORRECTION, ce_id=b"jane@example.com").content
    retraction = read_record(
        RETRACTION | {"target": {"source": "ide", "id": "jane@example.com"}}, "retraction"
    ).content
    assert retraction.data["target"] == {"source": target.source, "id": target.id}


@given(value=st.none() | st.binary(max_size=400), given_headers=_headers)
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_an_event_or_have_a_reason(value, given_headers) -> None:
    content = (
        build_reader()
        .read(offset=0, key=None, value=value, headers=tuple(given_headers), received_s=RECEIVED_S)
        .content
    )
    assert isinstance(content, UnusableRecord)
    assert content.reason in Reason


@given(
    kind=st.sampled_from(sorted(EVENT_DATA)),
    name=st.sampled_from(
        ["agent", "author", "messages", "corrected", "value", "target", "sampling", "turns"]
    ),
    odd=_json,
)
@settings(max_examples=400, deadline=None)
def test_any_json_in_any_field_is_an_event_or_has_a_reason(kind: str, name, odd) -> None:
    value = json.dumps(EVENT_DATA[kind] | {name: odd}).encode()
    arrival = build_reader().read(
        offset=0, key=None, value=value, headers=build_headers(kind), received_s=RECEIVED_S
    )
    assert isinstance(arrival.content, Event | Interaction | UnusableRecord)
    json.dumps(
        arrival.content.data if isinstance(arrival.content, Event) else {}, ensure_ascii=False
    ).encode()


def test_an_address_is_found_however_the_producer_spells_its_letters() -> None:
    for spelt in (True, False):
        value = json.dumps(
            CORRECTION | {"corrected": "ask jan@łąż.pl", "author": "jan@łąż.pl"}, ensure_ascii=spelt
        )
        arrival = read_record(value.encode())
        assert arrival.content.data["corrected"] == "ask [email]"
        assert arrival.content.author.startswith("redacted:")


def test_names_are_looked_at_where_only_a_header_is_suspect() -> None:
    arrival = read_record(CORRECTION, ce_source=b"mailto:jane@example.com")
    assert arrival.content.source.startswith("redacted:")
    assert b"jane@example.com" not in dict(arrival.headers)["ce_source"]
    keyed = build_reader().read(
        offset=0,
        key=b"jane@example.com",
        value=json.dumps(CORRECTION).encode(),
        headers=build_headers("correction"),
        received_s=RECEIVED_S,
    )
    assert keyed.key.startswith(b"redacted:")
