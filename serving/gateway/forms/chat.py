"""OpenAI's chat and text completions, whose answers have choices."""

from collections.abc import Mapping
from typing import Any

from rewards.episode import PLAIN_TEXT
from serving.gateway.edge.request_fields import CHAT, TEXT
from serving.gateway.forms.answer_form import AnswerForm, AnswerPart, object_in, text_in
from serving.gateway.openai_form import (
    UnreadableReply,
    error_status,
    read_answer,
    read_chunk,
    with_capture_extras,
)


class ChatForm(AnswerForm):
    """`/v1/chat/completions`."""

    path = CHAT
    is_chat = True
    end = b"data: [DONE]\n\n"

    def translated(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return body if isinstance(body.get("messages"), list) else None

    def with_capture_extras(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return with_capture_extras(body)

    def read_answer(self, raw: bytes) -> AnswerPart:
        answer = read_answer(raw)
        return AnswerPart(data=answer, chat=self.chat_answer(answer))

    def read_event(self, raw: bytes) -> AnswerPart | None:
        if raw == b"[DONE]":
            return None
        chunk = read_chunk(raw)
        return AnswerPart(data=chunk, chat=self.chat_answer(chunk), error_status=error_status(chunk))

    def chat_answer(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer, or one chunk of it, in the form of the chat API. Raises `UnreadableReply`."""
        return answer


class TextForm(ChatForm):
    """`/v1/completions`: the prompt is a text, which the model reads without a chat template."""

    path = TEXT
    is_chat = False

    def flaw(self, body: Mapping[str, Any]) -> str | None:
        prompt = body.get("prompt")
        if body.get("echo") or body.get("suffix"):
            return "echo"
        if isinstance(prompt, list) and len(prompt) > 1 and all(isinstance(text, str) for text in prompt):
            return "several_prompts"
        return "token_prompt" if _text_of(prompt) is None else None

    def translated(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        text = _text_of(body.get("prompt"))
        if text is None:
            return None
        return {**body, "messages": [{"role": "user", "content": text}], PLAIN_TEXT: True}

    def with_capture_extras(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"logprobs": 0, **body, "return_token_ids": True}

    def chat_answer(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        choices = [_chat_choice(choice) for choice in answer.get("choices") or ()]
        prompt_ids = next((ids for choice in choices if (ids := choice["prompt_token_ids"])), None)
        return {"choices": choices, "prompt_token_ids": prompt_ids}


def _text_of(prompt: Any) -> str | None:
    """The text of the one prompt; None where there are several, or one that is given as tokens."""
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    return prompt if isinstance(prompt, str) else None


def _chat_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """A choice of a text completion, or its next part, as one of a chat. Raises `UnreadableReply`."""
    logprobs = object_in(choice, "logprobs").get("token_logprobs") or []
    prompt_ids = choice.get("prompt_token_ids") or []
    if not isinstance(logprobs, list) or not isinstance(prompt_ids, list):
        raise UnreadableReply("choices in another form")
    if not all(type(value) in (int, float, type(None)) for value in logprobs):
        raise UnreadableReply("logprobs in another form")
    if not all(type(token) is int for token in prompt_ids):
        raise UnreadableReply("prompt_token_ids in another form")
    return {
        "index": choice.get("index") or 0,
        "message": {"content": text_in(choice, "text")},
        "logprobs": {"content": [{"logprob": value} for value in logprobs if value is not None]},
        "finish_reason": choice.get("finish_reason"),
        "token_ids": choice.get("token_ids"),
        "prompt_token_ids": prompt_ids,
    }
