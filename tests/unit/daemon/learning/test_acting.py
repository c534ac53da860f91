"""From an answer with a tool call to what is trained: captured, corrected by a message, token by token."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon.learning.preparing import prepare_turn
from engine.tokens import Tokens
from feedback.event_record import build_event_record
from feedback.producer import KafkaRecord
from feedback.reading import Reader
from feedback.redaction import Redactor
from ledger.database import Database
from ledger.events import Event, Interaction, Role
from ledger.identity import Identity
from serving.gateway.captured_parts import CapturedAnswer, request_of, restrictions_of, sampling_of
from serving.gateway.recorder import Capture, Recorder
from tests.unit.engine import tiny_base
from tests.unit.ledger.event_builder import INTERACTIONS, keep
from tests.unit.ledger.ledger_builder import build_ledger
from tests.unit.ledger.turn_builder import open_pass
from tests.unit.serving.gateway.gateway_builder import RecordedSends

IDENTITY = Identity(ledger_id="ledger", secret=b"k" * 32)
REDACTOR = Redactor(IDENTITY.fingerprint)
TEMPLATE = (
    "Today: {{ strftime_now('%d %b %Y') }}\n{% for t in tools or [] %}{{ t | tojson }}\n{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }} {{ c.function.arguments | tojson }}"
    "</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "bolts?"}],
    "tools": [{"type": "function", "function": {"name": "stock", "parameters": {"type": "object"}}}],
    "temperature": 0.5,
}
SERVED = (
    'Today: 01 Jan 2026\n{"type": "function", "function": {"name": "stock", "description": null,'
    ' "parameters": {"type": "object"}}}\n<|im_start|>user\nbolts?<|im_end|>\n<|im_start|>assistant\n'
)
SAID = '<tool_call>stock {"item": "nuts"}</tool_call><|im_end|>'


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = build_ledger(tmp_path / "clorad.db", "billing")
    yield opened
    opened.close()


def build_tokens() -> Tokens:
    tokenizer = tiny_base.build_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return Tokens(tokenizer, vocabulary=288)


def call(item: str) -> dict[str, Any]:
    function = {"name": "stock", "arguments": json.dumps({"item": item})}
    return {"id": "c1", "type": "function", "function": function}


def answers_of(tokens: Tokens, *, stream: bool) -> list[dict[str, Any]]:
    """What the gateway looks at in vLLM's answer, whole or in chunks."""
    prompt_ids, token_ids = json.dumps(tokens.text_ids(SERVED)).encode(), tokens.text_ids(SAID)
    logprobs = {"content": [{"logprob": -0.5}] * len(token_ids)}
    sampled = {"token_ids": token_ids, "logprobs": logprobs, "finish_reason": "tool_calls"}
    if not stream:
        message = {"role": "assistant", "content": None, "tool_calls": [call("nuts")]}
        return [{"prompt_token_ids": prompt_ids, "choices": [{"index": 0, "message": message, **sampled}]}]
    part = call("nuts")
    named = {**part, "index": 0, "function": {"name": part["function"]["name"]}}
    pieces = [{"index": 0, "function": {"arguments": letter}} for letter in part["function"]["arguments"]]
    deltas = [{"role": "assistant", "content": ""}, *({"tool_calls": [piece]} for piece in (named, *pieces))]
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks[0]["prompt_token_ids"] = prompt_ids
    return [*chunks, {"choices": [{"index": 0, "delta": {}, **sampled}]}]


def captured(answers: list[dict[str, Any]], body: dict[str, Any]) -> KafkaRecord:
    """The record that the gateway sends."""
    collected = CapturedAnswer()
    for answer in answers:
        collected.add(answer)
    reply = collected.replies[0]
    assert reply.flaw is None
    sends, stopping = RecordedSends(), threading.Event()
    recorder = Recorder(sends, REDACTOR, share=1.0, bytes_max=10**9)
    recorder.put(
        Capture(
            id="i1",
            agent="billing",
            version="v0",
            conversation=None,
            turn=None,
            messages=body["messages"],
            messages_bytes_max=len(json.dumps(body)),
            sampling=sampling_of(body),
            request=request_of(body),
            restrictions=restrictions_of(body),
            reply=reply,
        )
    )
    stopping.set()
    recorder.run(stopping)
    [record] = sends.records
    return record


def read(record: KafkaRecord) -> Any:
    reader = Reader(IDENTITY, REDACTOR)
    return reader.read(
        offset=0, key=record.key, value=record.value, headers=record.headers, received_s=1.8e9
    ).content


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_corrected_call_is_trained_for_the_prompt_ids_that_were_served(
    database: Database, tmp_path: Path, stream: bool
) -> None:
    tokens = build_tokens()
    interaction = read(captured(answers_of(tokens, stream=stream), BODY))
    assert isinstance(interaction, Interaction)
    keep(database, replace(interaction, role=Role.TRAIN, prompt_group="g"), partition=INTERACTIONS)
    wanted = {"role": "assistant", "content": None, "tool_calls": [call("bolts")]}
    data = {"agent": "billing", "author": "ann", "interaction": "i1", "corrected": wanted}
    event = read(build_event_record("correction", data, topic="t", source="dev", redactor=REDACTOR))
    assert isinstance(event, Event)
    keep(database, event)
    prepared = prepare_turn(database, tmp_path, open_pass(database, "billing").turns[0])
    [episode] = prepared.lesson.episodes
    sample, tokenizer = tokens.sample(episode, tokens_max=2048), tiny_base.build_tokenizer()
    assert list(sample.prompt_ids) == tokens.text_ids(SERVED), "token by token, with the date that was served"
    assert not sample.is_rendered
    assert tokenizer.decode(list(sample.reply.token_ids)) == SAID.replace("nuts", "bolts")
    assert sample.rejected is not None
    assert list(sample.rejected.token_ids) == tokens.text_ids(SAID)


def test_what_redaction_changed_is_rendered_from_the_redacted_messages(
    database: Database, tmp_path: Path
) -> None:
    tokens = build_tokens()
    body = {**BODY, "messages": [{"role": "user", "content": "bolts for ann@example.com?"}]}
    interaction = read(captured(answers_of(tokens, stream=False), body))
    assert interaction.packed_prompt is None
    keep(database, replace(interaction, role=Role.TRAIN, prompt_group="g"), partition=INTERACTIONS)
    wanted = {"role": "assistant", "content": None, "tool_calls": [call("bolts")]}
    data = {"agent": "billing", "author": "ann", "interaction": "i1", "corrected": wanted}
    keep(database, read(build_event_record("correction", data, topic="t", source="dev", redactor=REDACTOR)))
    prepared = prepare_turn(database, tmp_path, open_pass(database, "billing").turns[0])
    [episode] = prepared.lesson.episodes
    sample = tokens.sample(episode, tokens_max=2048)
    assert sample.is_rendered
    prompt = tiny_base.build_tokenizer().decode(list(sample.prompt_ids))
    assert "bolts for [email]?" in prompt
    assert '"name": "stock", "description": null' in prompt
