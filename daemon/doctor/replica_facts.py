"""Asks a vLLM server what its options are, as far as it tells or its answers show.

Beside its version and its models vLLM tells little of its command line; `/metrics` has `max_loras`, and
its answers to small requests show the rest.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from daemon.doctor.checking import Undone
from serving.certificates import authorities

ANSWER_S_MAX = 20.0
"""Seconds for one answer: the first after a start may take so long on a CPU."""

_ANSWER_BYTES_MAX = 4 << 20
_MAX_LORA = re.compile(r'^vllm:lora_requests_info\{[^}]*max_lora="(\d+)"', re.MULTILINE)
_TOOL = {"type": "function", "function": {"name": "act", "parameters": {"type": "object", "properties": {}}}}


class NoAnswer(Undone):
    """The server did not answer, or not with what vLLM answers. The text is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The base model that a replica serves."""

    name: str
    root: str  # the directory or the name under which vLLM found it
    tokens_max: int | None  # of its context


class ReplicaFacts:
    """One server. `api_key` is vLLM's `--api-key`. Every method raises `NoAnswer`."""

    def __init__(self, url: str, api_key: str | None) -> None:
        headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        self.url = url
        self._client = httpx.Client(
            base_url=url,
            headers={"accept-encoding": "identity", **headers},
            timeout=httpx.Timeout(ANSWER_S_MAX, connect=2.0),
            verify=authorities(),
            trust_env=False,  # a proxy for the outside world must not see the fleet
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def clock_s(self) -> float | None:
        """The server's time (Unix) by its `Date` header, to the second; None if it sends none."""
        date = self._ask("GET", "/health").headers.get("date")
        try:
            return None if date is None else parsedate_to_datetime(date).timestamp()
        except ValueError:
            return None

    def models_status(self) -> int:
        """The status with which it answers a request for its models."""
        return self._ask("GET", "/v1/models").status_code

    def card(self) -> Card:
        """The base that it serves."""
        try:
            cards = self._ask("GET", "/v1/models").json()["data"]
            card = next(card for card in cards if card.get("parent") is None)
            return Card(
                name=str(card["id"]), root=str(card.get("root") or ""), tokens_max=card.get("max_model_len")
            )
        except (ValueError, LookupError, TypeError, AttributeError, StopIteration):
            raise NoAnswer("its list of models is not as vLLM writes it") from None

    def version(self) -> str:
        """vLLM's version; empty if it does not tell it."""
        return str(self._object(self._ask("GET", "/version")).get("version") or "")[:40]

    def max_loras(self) -> int | None:
        """How many adapters a batch may have (`--max-loras`), by /metrics; None if they do not say it."""
        response = self._ask("GET", "/metrics")
        numbers = _MAX_LORA.findall(response.text) if response.status_code == httpx.codes.OK else ()
        return max(map(int, numbers), default=None)

    def max_cpu_loras(self) -> int | None:
        """`--max-cpu-loras`, by /server_info, which only servers in development mode have; else None."""
        info = self._object(self._ask("GET", "/server_info?config_format=json"))
        try:
            number = info["vllm_config"]["lora_config"]["max_cpu_loras"]
        except (LookupError, TypeError):
            return None
        return number if isinstance(number, int) else None

    def tokens(self, model: str, text: str) -> Sequence[int] | None:
        """The tokens of a text; None if it has no such path."""
        return self._tokens({"model": model, "prompt": text, "add_special_tokens": False})

    def prompt_tokens(self, model: str, request: Mapping[str, Any]) -> Sequence[int] | None:
        """The tokens of a conversation, as it would be answered; None if it refuses to render it."""
        return self._tokens({"model": model, "add_generation_prompt": True, **request})

    def takes_tools(self, model: str) -> bool:
        """Whether a request may offer tools and let the model choose."""
        messages = [{"role": "user", "content": "hello"}]
        body = {
            "model": model,
            "messages": messages,
            "max_tokens": 1,
            "tools": [_TOOL],
            "tool_choice": "auto",
        }
        return self._ask("POST", "/v1/chat/completions", body).status_code == httpx.codes.OK

    def first_logprobs(self, model: str, *, temperature: float) -> Mapping[str, float]:
        """The log-probabilities (nats) of the likeliest first tokens at this temperature."""
        body = {"model": model, "prompt": "a", "max_tokens": 1, "temperature": temperature, "logprobs": 2}
        response = self._ask("POST", "/v1/completions", body)
        try:
            tops = response.json()["choices"][0]["logprobs"]["top_logprobs"][0]
            return {str(token): float(value) for token, value in tops.items()}
        except (ValueError, LookupError, TypeError, AttributeError):
            raise NoAnswer(
                f"it answers a completion with {response.status_code} and no log-probabilities"
            ) from None

    def _tokens(self, body: Mapping[str, Any]) -> Sequence[int] | None:
        tokens = self._object(self._ask("POST", "/tokenize", body)).get("tokens")
        return tokens if isinstance(tokens, list) else None

    def _object(self, response: httpx.Response) -> Mapping[str, Any]:
        """The JSON object of an answer; empty where it was refused, or is none."""
        try:
            document = response.json() if response.status_code == httpx.codes.OK else None
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        try:
            with self._client.stream(method, path, json=body) as answer:
                content = bytearray()
                for part in answer.iter_raw():
                    content += part
                    if len(content) > _ANSWER_BYTES_MAX:
                        raise NoAnswer(f"it answers with more than {_ANSWER_BYTES_MAX >> 20} MiB")
                return httpx.Response(answer.status_code, headers=answer.headers, content=bytes(content))
        except httpx.TransportError as broke:
            raise NoAnswer(type(broke).__name__) from None
