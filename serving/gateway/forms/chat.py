"""OpenAI's chat and text completions, whose answers have choices."""

from collections.abc import Mapping
from typing import Any

from serving.gateway.edge.request_fields import CHAT, TEXT
from serving.gateway.forms.answer_form import AnswerForm, AnswerPart
from serving.gateway.openai_form import (
    error_status,
    read_answer,
    read_chunk,
    with_capture_extras,
)


class TextForm(AnswerForm):
    """`/v1/completions`."""

    path = TEXT
    end = b"data: [DONE]\n\n"
    not_captured: str | None = "completions"

    def read_answer(self, raw: bytes) -> AnswerPart:
        answer = read_answer(raw)
        return AnswerPart(data=answer, chat=answer)

    def read_event(self, raw: bytes) -> AnswerPart | None:
        if raw == b"[DONE]":
            return None
        chunk = read_chunk(raw)
        return AnswerPart(data=chunk, chat=chunk, error_status=error_status(chunk))


class ChatForm(TextForm):
    """`/v1/chat/completions`."""

    path = CHAT
    is_chat = True
    not_captured: str | None = None

    def flaw(self, body: Mapping[str, Any]) -> str | None:
        return "several_choices" if body.get("n", 1) != 1 else super().flaw(body)

    def as_chat(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return body if isinstance(body.get("messages"), list) else None

    def with_capture_extras(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return with_capture_extras(body)
