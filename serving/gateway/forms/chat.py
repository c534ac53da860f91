"""OpenAI's chat and text completions, whose answers have choices."""

from collections.abc import Mapping
from typing import Any

from rewards.episode import PLAIN_TEXT
from serving.gateway.edge.request_fields import CHAT, TEXT
from serving.gateway.forms.answer_form import AnswerForm, AnswerPart
from serving.gateway.forms.chat_answer import (
    CHAT_CHOICES,
    TEXT_CHOICES,
    TextChoice,
    read_choices,
    read_fields,
    read_prompt_ids,
)
from serving.gateway.openai_form import UnreadableReply, error_status, read_json, with_capture_extras


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
        part = self._read(raw)
        if not part.choices:
            raise UnreadableReply("no choices")
        return part

    def read_event(self, raw: bytes) -> AnswerPart | None:
        return None if raw.strip() == b"[DONE]" else self._read(raw)

    def chat_answer(self, fields: dict[str, Any]) -> Mapping[str, Any]:
        """The answer with these fields, or one chunk of it, in the form of the chat API.

        Raises `UnreadableReply`.
        """
        choices = read_choices(fields, CHAT_CHOICES)
        return {"choices": choices, "prompt_token_ids": read_prompt_ids(fields.get("prompt_token_ids"))}

    def _read(self, raw: bytes) -> AnswerPart:
        fields = read_fields(raw)
        if "object" in fields and bytes(fields["object"]) == b'"error"':  # as older versions of vLLM have it
            return AnswerPart(data=fields, error_status=error_status({"error": read_json(raw)}))
        chat = self.chat_answer(fields)
        return AnswerPart(data=fields, chat=chat, error_status=error_status(fields))


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

    def chat_answer(self, fields: dict[str, Any]) -> Mapping[str, Any]:
        choices = read_choices(fields, TEXT_CHOICES)
        prompts = (read_prompt_ids(choice.get("prompt_token_ids")) for choice in choices)
        return {
            "choices": [_chat_choice(choice) for choice in choices],
            "prompt_token_ids": next(filter(None, prompts), None),
        }


def _text_of(prompt: Any) -> str | None:
    """The text of the one prompt; None where there are several, or one that is given as tokens."""
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    return prompt if isinstance(prompt, str) else None


def _chat_choice(choice: TextChoice) -> dict[str, Any]:
    """A choice of a text completion, or its next part, as one of a chat."""
    logprobs = (choice.get("logprobs") or {}).get("token_logprobs") or []
    return {
        "index": choice.get("index"),
        "message": {"content": choice.get("text")},
        "logprobs": {"content": [{"logprob": value} for value in logprobs if value is not None]},
        "finish_reason": choice.get("finish_reason"),
        "token_ids": choice.get("token_ids"),
    }
