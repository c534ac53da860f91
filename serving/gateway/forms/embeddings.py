"""OpenAI's embeddings: numbers, which are passed on and never captured."""

from collections.abc import Mapping
from typing import Any

from serving.gateway.edge.errors import RequestRefused
from serving.gateway.edge.request_fields import EMBEDDINGS
from serving.gateway.forms.answer_form import AnswerForm, AnswerPart
from serving.gateway.forms.chat_answer import read_fields
from serving.gateway.openai_form import UnreadableReply


class EmbeddingsForm(AnswerForm):
    """`/v1/embeddings`."""

    path = EMBEDDINGS
    is_conversation = False
    not_captured = "embeddings"

    def check(self, body: Mapping[str, Any]) -> None:
        super().check(body)
        if body.get("encoding_format", "float") not in ("float", "base64"):  # vLLM's others are not JSON
            text = "encoding_format: float or base64"
            raise RequestRefused(400, text, "field", param="encoding_format")

    def read_answer(self, raw: bytes) -> AnswerPart:
        answer = read_fields(raw)  # millions of numbers, which stay text
        if not bytes(answer.get("data", b"")).startswith(b"["):
            raise UnreadableReply("no data")
        return AnswerPart(data=answer)
