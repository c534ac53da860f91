"""The client of one vLLM server: list, load and unload adapters, ask for answers and log-probabilities.

Loading and unloading are idempotent, and a loaded adapter is never replaced under its name. Every request
that is repeated is safe to repeat, and no text that a person wrote enters an exception.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import httpx
from opentelemetry import metrics

from serving.answer_request import answer_request, said_in_choice
from serving.certificates import authorities

TRIES_MAX = 3
RETRY_WAIT_S = 0.1
CONNECT_S_MAX = 2.0
LISTING_S_MAX = 5.0
ADAPTER_S_MAX = 30.0  # a load waits for a free slot

# Below uvicorn's 5 s: a connection the server is about to close must not be picked for a request.
KEEP_ALIVE_S_MAX = 4.0

WRONG_KEY = (401, 403)
"""How a replica, or a proxy before it, answers a request without the key that it was started with."""

ANSWER_BYTES_MAX = 16 << 20
"""Of one answer: the log-probabilities of a probe take some hundred KiB."""

_too_large = metrics.get_meter("serving").create_counter(
    "clorad.fleet.answers.too_large",
    unit="{request}",
    description="answers of replicas to the fleet role that were longer than it reads",
)

Messages = Sequence[Mapping[str, Any]]
Request = Mapping[str, Any]
_UNRESTRICTED = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0}

LIKELY_MAX = 20  # tokens that vLLM names at each position, unless `--max-logprobs` allows fewer
IMPOSSIBLE_NATS = -9999.0  # how vLLM writes the logarithm of nothing in JSON


class ReplicaUnavailable(Exception):
    """The replica did not answer, or broke off. It leaves the rotation until it answers again."""


class ReplicaRefused(Exception):
    """The replica refused the adapter or the request as wrong. Repeating it does not help."""

    def __init__(self, url: str, status: int, why: str) -> None:
        super().__init__(f"{url} answered {status}: {why}")
        self.status = status
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The models that a replica lists."""

    base_name: str | None
    adapters: Mapping[str, str]  # name -> the path it was loaded from


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An answer of a model."""

    text: str  # its calls as a JSON array, where it calls tools (`rewards.replies.compared_text`)
    finish_reason: str  # "length": it reached the limit of tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """The greedy continuation of a prompt, token by token."""

    token_ids: tuple[int, ...]
    likely: tuple[Mapping[int, float], ...]  # by position: log-probabilities (nats) of the likeliest tokens


class Replica:
    """The client of one server. Threads may share it. `api_key` is vLLM's `--api-key`."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        answer_s_max: float = 60.0,
        in_flight_max: int = 32,
    ) -> None:
        self.url = url.rstrip("/")
        self._answer_s_max = answer_s_max
        self._client = httpx.Client(
            base_url=self.url,
            headers={
                "accept-encoding": "identity",  # a small answer could unpack to gigabytes
                **({} if api_key is None else {"authorization": f"Bearer {api_key}"}),
            },
            verify=authorities(),
            trust_env=False,  # a proxy for the outside world must not see the fleet
            limits=httpx.Limits(
                max_connections=in_flight_max,
                max_keepalive_connections=in_flight_max,
                keepalive_expiry=KEEP_ALIVE_S_MAX,
            ),
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def ready(self) -> bool:
        """Whether the server says that it is healthy."""
        try:
            self._ask("GET", "/health", None, wait_s_max=LISTING_S_MAX)
        except (ReplicaUnavailable, ReplicaRefused):
            return False
        return True

    def listing(self) -> Listing:
        """The base and the adapters it lists. Raises `ReplicaUnavailable`, `ReplicaRefused`."""
        response = self._ask("GET", "/v1/models", None, wait_s_max=LISTING_S_MAX)
        with self._as_vllm_answers("/v1/models"):
            cards = response.json()["data"]
            bases = [card["id"] for card in cards if card.get("parent") is None]
            adapters = {
                card["id"]: card.get("root") or "" for card in cards if card.get("parent") is not None
            }
        return Listing(base_name=bases[0] if bases else None, adapters=adapters)

    def models(self) -> frozenset[str]:
        """Names of the adapters it lists."""
        return frozenset(self.listing().adapters)

    def base_name(self) -> str | None:
        """The name under which it serves the base."""
        return self.listing().base_name

    def optional(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """The JSON object that the replica answers; empty if it refuses the request or has no such path.

        Raises `ReplicaUnavailable`.
        """
        try:
            document = self._ask(method, path, body, wait_s_max=LISTING_S_MAX, broken=()).json()
        except (ReplicaRefused, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    def load(self, name: str, path: str) -> None:
        """The replica lists `name`, read from `path`. Raises `ReplicaUnavailable`, `ReplicaRefused`."""
        body = {"lora_name": name, "lora_path": path}
        try:
            self._ask(
                "POST", "/v1/load_lora_adapter", body, wait_s_max=ADAPTER_S_MAX, broken=(), explained=True
            )
        except ReplicaRefused as refusal:
            # A load whose answer was lost is refused when it is repeated.
            if self.listing().adapters.get(name) == path:
                return
            if refusal.status >= 500 and not self.ready():  # then the adapter may be sound
                raise ReplicaUnavailable(f"{self.url}: unhealthy while loading") from None
            raise

    def unload(self, name: str) -> None:
        """The replica no longer lists `name`; requests in flight finish."""
        try:
            self._ask("POST", "/v1/unload_lora_adapter", {"lora_name": name}, wait_s_max=ADAPTER_S_MAX)
        except ReplicaRefused as refusal:
            if refusal.status != httpx.codes.NOT_FOUND:
                raise

    def answer(
        self, model: str, messages: Messages, tokens_max: int, *, request: Request = MappingProxyType({})
    ) -> Completion:
        """The greedy answer to `messages` and, say, tools. Raises `ReplicaUnavailable`, `ReplicaRefused`."""
        return self._chat(model, messages, tokens_max, {**request, "temperature": 0.0})[0]

    def sample(
        self, model: str, messages: Messages, tokens_max: int, *, request: Request, count: int
    ) -> list[Completion]:
        """So many answers, drawn from all that `model` may say. Raises as `answer` does."""
        return self._chat(model, messages, tokens_max, {**request, **_UNRESTRICTED, "n": count})

    def _chat(self, model: str, messages: Messages, tokens_max: int, request: Request) -> list[Completion]:
        path, asked = answer_request(messages, request)
        body = {**asked, "model": model, "max_tokens": tokens_max}
        response = self._ask("POST", path, body, wait_s_max=self._answer_s_max)
        with self._as_vllm_answers(path):
            return [
                Completion(text=said_in_choice(choice), finish_reason=choice.get("finish_reason") or "")
                for choice in response.json()["choices"]
            ]

    def continuation(self, model: str, prompt_ids: Sequence[int], tokens_max: int) -> Continuation:
        """The greedy continuation of these tokens by `model`. Raises `ReplicaUnavailable`, `ReplicaRefused`.

        It does not use `prompt_logprobs`, which would give the numbers of a whole text at once: with LoRA
        enabled, vLLM's CPU build dies of it as soon as another request is in the batch. Nor does it use
        `logprob_token_ids`: in the same batch they replace what other requests asked for.
        """
        body = {
            "model": model,
            "prompt": list(prompt_ids),
            "max_tokens": tokens_max,
            "temperature": 0.0,
            "repetition_penalty": 1.0,  # the defaults of a base would change the numbers
            "logprobs": LIKELY_MAX,
            "return_tokens_as_token_ids": True,  # several tokens may have the same text
        }
        response = self._ask("POST", "/v1/completions", body, wait_s_max=self._answer_s_max)
        with self._as_vllm_answers("/v1/completions"):
            logprobs = response.json()["choices"][0]["logprobs"]
            return Continuation(
                token_ids=tuple(_token_id(token) for token in logprobs["tokens"]),
                likely=tuple(
                    {
                        _token_id(token): float(value)
                        for token, value in row.items()
                        if value > IMPOSSIBLE_NATS
                    }
                    for row in logprobs["top_logprobs"]
                ),
            )

    @contextmanager
    def _as_vllm_answers(self, path: str) -> Iterator[None]:
        """A response of another form becomes `ReplicaUnavailable`: it must not end the fleet role."""
        try:
            yield
        except (ValueError, LookupError, TypeError, AttributeError):
            raise ReplicaUnavailable(f"{self.url}{path}: not as vLLM answers") from None

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        *,
        wait_s_max: float,
        broken: Sequence[int] = (500, 502, 503, 504),
        explained: bool = False,
    ) -> httpx.Response:
        """A response of status 200. Statuses in `broken` and lost connections are tried again.

        `explained`: the refusal repeats vLLM's words. Only for adapters: elsewhere vLLM quotes its input.
        """
        limits = httpx.Timeout(wait_s_max, connect=CONNECT_S_MAX)
        fault = "nothing was asked"
        for attempt in range(TRIES_MAX):
            if attempt:
                time.sleep(RETRY_WAIT_S * 2 ** (attempt - 1))
            try:
                with self._client.stream(method, path, json=body, timeout=limits) as answer:
                    content = self._content(answer, path)
                response = httpx.Response(answer.status_code, content=content)
            except httpx.ReadTimeout:
                raise ReplicaUnavailable(f"{self.url}{path}: silent for {wait_s_max:.0f} s") from None
            except httpx.TransportError as broke:
                fault = type(broke).__name__
                continue
            if response.status_code == httpx.codes.OK:
                return response
            if response.status_code in WRONG_KEY:
                raise ReplicaRefused(self.url, response.status_code, "it wants another key: fleet.api_key")
            if response.status_code not in broken:
                raise ReplicaRefused(self.url, response.status_code, _why(response, explained=explained))
            fault = f"status {response.status_code}"
        raise ReplicaUnavailable(f"{self.url}{path}: {fault}, {TRIES_MAX} times")

    def _content(self, answer: httpx.Response, path: str) -> bytes:
        """The bytes of an answer, as they were sent. Raises `ReplicaRefused` where there are too many."""
        content = bytearray()
        for part in answer.iter_raw():
            content += part
            if len(content) > ANSWER_BYTES_MAX:
                _too_large.add(1)
                why = f"{path}: it answers with more than {ANSWER_BYTES_MAX >> 20} MiB"
                raise ReplicaRefused(self.url, answer.status_code, why)
        return bytes(content)


def _token_id(token: str) -> int:
    return int(token.removeprefix("token_id:"))


def _why(response: httpx.Response, *, explained: bool) -> str:
    try:
        error = response.json()["error"]
        reason = error["message"] if explained else error["type"]
    except (ValueError, KeyError, TypeError):
        return "no reason given"
    return str(reason)[:300]
