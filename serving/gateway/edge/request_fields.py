"""Which fields of a request reach a replica: those that say what to generate and how, and no others.

vLLM also takes fields that steer the machine itself: the server that a KV cache is fetched from, a request's
place before others, the id of another request, a template that is run as code, URLs that the machine loads.
A new version of vLLM may take more of them, so what passes is listed, not what does not. The names are those
of vLLM 0.32 (vllm/entrypoints/openai/*/protocol.py) and of OpenAI's and Anthropic's APIs.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from opentelemetry import metrics

from serving.gateway.edge.errors import RequestRefused

_dropped = metrics.get_meter("serving").create_counter(
    "clorad.gateway.fields.dropped",
    unit="{field}",
    description="fields of requests that the gateway did not pass on, by their names",
)

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
RESPONSES, MESSAGES, EMBEDDINGS = "/v1/responses", "/v1/messages", "/v1/embeddings"
TOKENS = f"{MESSAGES}/count_tokens"

_GENERATION = frozenset(
    {
        *("model", "user", "metadata", "stream", "stream_options", "seed", "stop", "n"),
        *("temperature", "top_p", "top_k", "min_p", "logit_bias", "logprobs", "top_logprobs"),
        *("frequency_penalty", "presence_penalty", "repetition_penalty", "length_penalty"),
        *("repetition_detection", "watermarking", "max_tokens", "min_tokens", "ignore_eos", "bad_words"),
        *("stop_token_ids", "allowed_token_ids", "include_stop_str_in_output", "skip_special_tokens"),
        *("spaces_between_special_tokens", "truncate_prompt_tokens", "truncation_side", "cache_salt"),
        *("add_special_tokens", "response_format", "structured_outputs", "guided_json", "guided_regex"),
        *("guided_choice", "guided_grammar", "thinking_token_budget", "echo", "prompt_logprobs"),
        *("logprob_token_ids", "return_token_ids", "return_tokens_as_token_ids", "store", "service_tier"),
        *("safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
    }
)
_TOOLS = frozenset({"tools", "tool_choice", "parallel_tool_calls", "max_tool_calls"})
_TEMPLATE = frozenset(
    {"chat_template_kwargs", "add_generation_prompt", "continue_final_message", "documents"}
)

ALLOWED: Mapping[str, frozenset[str]] = {
    CHAT: _GENERATION
    | _TOOLS
    | _TEMPLATE
    | {"messages", "max_completion_tokens", "reasoning_effort", "reasoning", "include_reasoning"}
    | {"functions", "function_call", "verbosity", "modalities", "prediction", "web_search_options"},
    TEXT: _GENERATION | {"prompt", "suffix", "best_of"},
    RESPONSES: _GENERATION
    | _TOOLS
    | {"input", "instructions", "max_output_tokens", "reasoning", "include_reasoning", "include", "text"}
    | {"truncation", "chat_template_kwargs", "prompt"},
    MESSAGES: frozenset({"model", "messages", "system", "max_tokens", "stop_sequences", "stream", "metadata"})
    | {"temperature", "top_p", "top_k", "tools", "tool_choice", "thinking", "output_config", "cache_salt"}
    | {"chat_template_kwargs", "watermarking", "service_tier"},
    TOKENS: frozenset({"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"})
    | {"chat_template_kwargs"},
    EMBEDDINGS: frozenset({"model", "input", "messages", "dimensions", "encoding_format", "user", "padding"})
    | {"truncate_prompt_tokens", "truncation_side", "add_special_tokens", "add_generation_prompt"}
    | {"continue_final_message", "chat_template_kwargs", "use_activation", "embed_dtype", "endianness"},
}
"""The fields that pass, by the path of the request."""

NEVER_DROPPED = {
    "chat_template": "the prompt would be another",
    "prompt_embeds": "the prompt would be another",
    "previous_response_id": "the gateway keeps no responses",
    "conversation": "the gateway keeps no responses",
    "background": "the gateway keeps no responses",
    "use_beam_search": "one request would take the place of many",
}
"""Fields that are refused where others are dropped: the answer would not be what was asked for."""

KNOWN = (
    *("kv_transfer_params", "ec_transfer_params", "priority", "request_id", "session_id", "vllm_xargs"),
    *("media_io_kwargs", "mm_processor_kwargs", "mm_payload", "stream_interval"),
)
"""Fields that steer the replica's machine. The metric names these, and counts all others as `other`."""

_TEMPLATE_ARGUMENTS_REFUSED = ("chat_template", "tokenize")  # they replace what the server decided
_TOOL_TYPES = ("function", "custom", None)  # others are run by the replica, some of them over the network
_TENSORS = ("image_embeds", "audio_embeds", "video_embeds", "prompt_embeds", "image_pil")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NAMES_CHARS_MAX = 500
_URL = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:[/?#][!-\[\]-~]*)?", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRules:
    """What the operator decides about fields."""

    added: Collection[str]  # fields that pass beside `ALLOWED`
    others: Literal["drop", "refuse"]
    media_hosts: Collection[str]  # from which a replica may load images, audio and video
    choices_max: int  # that one request may have generated

    def apply(self, path: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[str]]:
        """The fields to pass on, and the names of those dropped. Fields that are null count as unset.

        Raises `RequestRefused` (400).
        """
        allowed = ALLOWED[path]
        passed, dropped = {}, []
        for name, value in body.items():
            if value is None or (value is False and name in NEVER_DROPPED):
                continue
            if name in allowed or name in self.added:
                passed[name] = value
            else:
                self._drop(name)
                dropped.append(name)
        self._check_template_arguments(passed)
        self._check_tools(passed)
        self._check_choices(passed)
        for name in ("messages", "input", "system"):
            if isinstance(passed.get(name), list):
                self._check_media(passed[name], name)
        return passed, dropped

    def _drop(self, name: str) -> None:
        if name in NEVER_DROPPED:
            raise _refused(name, f"not taken here: {NEVER_DROPPED[name]}")
        if self.others == "refuse":
            raise _refused(name, "no field that is taken here")
        _dropped.add(1, {"field": name if name in KNOWN else "other"})

    def _check_template_arguments(self, body: Mapping[str, Any]) -> None:
        arguments = body.get("chat_template_kwargs")
        if not isinstance(arguments, dict) or "chat_template" in self.added:
            return
        for name in _TEMPLATE_ARGUMENTS_REFUSED:
            if name in arguments:
                raise _refused(f"chat_template_kwargs.{name}", "not taken here")

    def _check_tools(self, body: Mapping[str, Any]) -> None:
        tools = body.get("tools")
        for place, tool in enumerate(tools if isinstance(tools, list) else ()):
            if isinstance(tool, dict) and tool.get("type") not in _TOOL_TYPES:
                raise _refused(f"tools[{place}].type", "only functions are taken: the client runs them")

    def _check_choices(self, body: Mapping[str, Any]) -> None:
        """A request for many choices of many prompts is that many requests, and no queue would know."""
        choices = max((body[name] for name in ("n", "best_of") if type(body.get(name)) is int), default=1)
        if choices > self.choices_max:
            raise _refused("n", f"at most {self.choices_max} choices (setting gateway.limits.choices_max)")
        prompts = _prompts(body.get("prompt"))
        if prompts * max(choices, 1) > self.choices_max:
            raise _refused(
                "prompt",
                f"{prompts} prompts with {choices} choices each; at most {self.choices_max} in all (setting"
                " gateway.limits.choices_max)",
            )

    def _check_media(self, value: Any, name: str) -> None:
        """Recursion is bounded by the depth of a request's body."""
        if isinstance(value, list):
            for item in value:
                self._check_media(item, name)
        elif isinstance(value, dict):
            if value.get("type") in _TENSORS:
                raise _refused(name, f"{value['type']}: not taken here")
            for key, inner in value.items():
                if key in _TENSORS:
                    raise _refused(name, f"{key}: not taken here")
                if (key == "url" or key.endswith("_url")) and isinstance(inner, str):
                    self._check_url(inner, name)
                elif key not in ("text", "tool_calls", "function_call", "arguments", "input"):
                    self._check_media(inner, name)

    def _check_url(self, url: str, name: str) -> None:
        if url[:5].lower() == "data:":
            return
        match = _URL.fullmatch(url)
        if match is None or match[1].lower() not in self.media_hosts:
            raise _refused(name, "media are taken as data: URLs only (setting gateway.media_hosts)")


def _prompts(value: Any) -> int:
    """How many prompts a completion is asked for: a list of numbers is one prompt, as token ids."""
    return len(value) if isinstance(value, list) and value and not isinstance(value[0], int) else 1


def _refused(param: str, why: str) -> RequestRefused:
    return RequestRefused(400, f"{param}: {why}", "field", param=param)


def printable_names(names: Sequence[str]) -> str:
    """The names for a header: those that are plain, cut off after 500 characters."""
    return ", ".join(name for name in names if _NAME.fullmatch(name))[:_NAMES_CHARS_MAX]
