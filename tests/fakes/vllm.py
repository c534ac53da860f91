"""A fake vLLM server in this process, with the real server's endpoints and answers, and faults to switch on.

`tests/contract/test_vllm.py` runs against this fake and against a real vLLM.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.fakes.vllm_models import ReplyFunction, continuation, hash_reply, likely, logprobs
from tests.fakes.vllm_other_wire import as_chat, message, message_events, response, response_events
from tests.fakes.vllm_wire import GeneratedAnswer, chat, chat_chunks, rendered, text, text_chunks

CONTEXT_TOKENS_MAX = 512


@dataclass(slots=True, kw_only=True)
class Faults:
    """Faults of the server from now on."""

    refuse_loads: bool = False
    load_nothing: bool = False  # it reports a successful load, and the adapter changes nothing
    answer_delay_s: float = 0.0
    chunk_delay_s: float = 0.0
    failures_left: int = 0  # generation requests that will get `failure_status`
    failure_status: int = 500
    hang_up_after_chunks: int | None = None
    another_api: bool = False  # it answers in another form than vLLM's
    hang_up_before_answer: bool = False
    raw_answer: bytes | None = None  # sent instead of an answer, or as an additional event of a stream
    raw_encoding: str | None = None  # content-encoding of `raw_answer`
    raw_event_at: int = 0  # the place of that event in the stream
    raw_refusal: bytes | None = None  # sent instead of an answer, with status 400
    redirects_to: str | None = None  # another server's URL, in place of an answer


@dataclass(slots=True, kw_only=True)
class Options:
    """How the server was started, as far as its answers show it."""

    loads_at_run_time: bool = True  # VLLM_ALLOW_RUNTIME_LORA_UPDATING
    enable_lora: bool = True
    max_loras: int = 8
    max_lora_rank: int = 16
    max_cpu_loras: int | None = None  # as /server_info says it; None: it has no such path
    sees_store: bool = True  # whether it can read the directories of adapters
    processed_logprobs: bool = True  # --logprobs-mode processed_logprobs
    tool_call_parser: bool = True  # --enable-auto-tool-choice
    clock_ahead_s: float = 0.0  # of its `Date` header


Tokenize = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""The body of a request to /tokenize -> the answer."""


class FakeVLLM:
    """One server on a free loopback port. `kill` and `start` again: same port, adapters forgotten."""

    def __init__(
        self,
        *,
        reply_function: ReplyFunction = hash_reply,
        base_name: str = "base",
        port: int = 0,
        api_key: str | None = None,  # vLLM's --api-key: /v1 is closed without it, /health is not
    ) -> None:
        self.api_key = api_key
        self.authorizations: list[str | None] = []  # of every request below /v1
        self.reply_function = reply_function
        self.base_name = base_name
        self.version: str | None = "0.32.0"  # None: an older vLLM, or a proxy, that does not tell it
        self.template = "<{role}>{content}"  # of one message
        self.tokenize: Tokenize = lambda body: rendered(self.template, body)
        self.root = "/base"  # where it found the base
        self.options = Options()
        self.adapters: dict[str, str] = {}
        self.faults = Faults()
        self.missing_paths: set[str] = set()  # as a version of vLLM that does not have them yet
        self.vectors: Mapping[str, Any] | None = None  # the answer of a model that embeds; None: it generates
        self.context_tokens_max = CONTEXT_TOKENS_MAX
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.in_flight = 0
        self.in_flight_peak = 0
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._port = port
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen, with no adapters."""
        assert self._server is None
        self.adapters = {}
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """Stop at once, as a killed process: connections in the middle of an answer break."""
        if self._server is None or self._thread is None:
            return
        self._server.hang_up()
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join(timeout=5.0)
        self._server = None

    def count_request(self, by: int) -> None:
        with self._lock:
            self.in_flight += by
            self.in_flight_peak = max(self.in_flight, self.in_flight_peak)

    def path_of(self, model: str) -> str | None:
        """The path of the model's weights; None if there is no such model."""
        if model == self.base_name:
            return model
        path = self.adapters.get(model)
        return self.base_name if path is not None and self.faults.load_nothing else path


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], fake: FakeVLLM) -> None:
        self.fake = fake
        self._open: set[socket.socket] = set()
        super().__init__(address, _Answers)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report errors, but not the end of a client's connection."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Refusal(Exception):
    def __init__(self, status: int, message: str, kind: str, param: str | None = None) -> None:
        super().__init__(message)
        error = {"message": message, "type": kind, "param": param, "code": status}
        self.status, self.body = status, {"error": error}


class _Answers(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 10.0
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        fake = self.server.fake
        if not self._is_authorized():
            return
        if self.path == "/health":
            self._send(200, b"")
        elif self.path == "/version" and fake.version is not None:
            self._send_json(200, {"version": fake.version})
        elif self.path == "/v1/models":
            card = {"object": "model", "created": 1, "owned_by": "vllm"}
            base = {"root": fake.root, "parent": None, "max_model_len": fake.context_tokens_max}
            cards = [{**card, "id": fake.base_name, **base}]
            cards += [
                {**card, "id": name, "root": path, "parent": fake.base_name}
                for name, path in list(fake.adapters.items())
            ]
            self._send_json(200, {"object": "list", "data": cards})
        elif self.path == "/metrics":
            labels = f'max_lora="{fake.options.max_loras}",running_lora_adapters="",waiting_lora_adapters=""'
            self._send(200, f"vllm:lora_requests_info{{{labels}}} 1.0\n".encode())
        elif self.path.startswith("/server_info") and fake.options.max_cpu_loras is not None:
            lora = {"max_cpu_loras": fake.options.max_cpu_loras}
            self._send_json(200, {"vllm_config": {"lora_config": lora}})
        else:
            self._send_json(404, {"detail": "Not Found"})

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The `Date` header."""
        at_s = time.time() if timestamp is None else timestamp
        return super().date_time_string(at_s + self.server.fake.options.clock_ahead_s)

    def do_POST(self) -> None:
        fake = self.server.fake
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        if not self._is_authorized():
            return
        fake.count_request(1)
        try:
            body = self._body(raw)
            fake.requests.append((self.path, body))
            match self.path if self.path not in fake.missing_paths else "":
                case "/v1/load_lora_adapter" if fake.options.loads_at_run_time:
                    self._load(body)
                case "/v1/unload_lora_adapter":
                    self._unload(body)
                case "/v1/chat/completions" | "/v1/completions" | "/v1/responses" | "/v1/messages":
                    self._generate(body)
                case "/tokenize":
                    self._send_json(200, fake.tokenize(body))
                case "/v1/embeddings" if fake.vectors is not None:
                    self._send_json(200, fake.vectors)
                case "/v1/messages/count_tokens":
                    tokens = len(self._answer(as_chat(self.path, body)).prompt_ids)
                    self._send_json(200, {"input_tokens": tokens})
                case _:
                    self._send_json(404, {"detail": "Not Found"})
        except _Refusal as refusal:
            error = refusal.body
            if self.path.startswith("/v1/messages") and error["error"]["type"] != "Bad Request":
                inner = {name: error["error"][name] for name in ("type", "message")}
                error = {"type": "error", "error": inner}
            self._send_json(refusal.status, error)
        finally:
            fake.count_request(-1)

    def _is_authorized(self) -> bool:
        """Whether the request has the key. If not, it has been answered as vLLM does."""
        if not self.path.startswith("/v1"):
            return True
        fake, given = self.server.fake, self.headers.get("authorization")
        fake.authorizations.append(given)
        if fake.api_key is not None and given != f"Bearer {fake.api_key}":
            self._send_json(401, {"error": "Unauthorized"})
            return False
        return True

    def _body(self, raw: bytes) -> dict[str, Any]:
        try:
            body = json.loads(raw)
        except ValueError:
            raise _Refusal(400, "1 validation error", "Bad Request") from None
        if not isinstance(body, dict):
            raise _Refusal(400, "1 validation error", "Bad Request")
        return body

    def _load(self, body: Mapping[str, Any]) -> None:
        fake = self.server.fake
        name, path = body["lora_name"], body["lora_path"]
        assert not body.get("load_inplace"), "clorad never loads in place"
        if fake.faults.refuse_loads:
            raise _Refusal(500, "Call to add_lora method failed", "InternalServerError")
        if name in fake.adapters:
            raise _Refusal(400, f"The lora adapter '{name}' has already been loaded.", "InvalidUserInput")
        if not fake.options.enable_lora:
            raise _Refusal(500, "Call to add_lora failed: LoRA is not enabled.", "InternalServerError")
        configuration = Path(path) / "adapter_config.json"
        if not configuration.is_file() or not fake.options.sees_store:
            raise _Refusal(404, f"Loading lora {name} failed: No adapter found for {path}", "NotFoundError")
        rank, rank_max = json.loads(configuration.read_text()).get("r", 1), fake.options.max_lora_rank
        if rank > rank_max:
            why = f"LoRA rank {rank} is greater than max_lora_rank {rank_max}."
            raise _Refusal(500, f"Call to add_lora failed: {why}", "InternalServerError")
        fake.adapters[name] = path
        self._send(200, f"Success: LoRA adapter '{name}' added successfully.".encode())

    def _unload(self, body: Mapping[str, Any]) -> None:
        name = body["lora_name"]
        if self.server.fake.adapters.pop(name, None) is None:
            raise _Refusal(404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
        self._send(200, f"Success: LoRA adapter '{name}' removed successfully.".encode())

    def _generate(self, body: Mapping[str, Any]) -> None:
        faults = self.server.fake.faults
        if faults.hang_up_before_answer:
            self._hang_up()
            return
        if faults.redirects_to is not None:
            self.send_response(307)
            self.send_header("location", faults.redirects_to + self.path)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        if faults.failures_left > 0:
            faults.failures_left -= 1
            raise _Refusal(faults.failure_status, "faults", "InternalServerError")
        if faults.raw_answer is not None and not body.get("stream"):
            self._send(200, faults.raw_answer, "application/json", encoding=faults.raw_encoding)
            return
        if faults.raw_refusal is not None:
            self._send(400, faults.raw_refusal)
            return
        if faults.another_api:
            self._send_json(200, {"choices": [{"text": "hello", "logprobs": None}]})
            return
        is_completion = self.path.endswith("completions")
        answer = self._answer(body if is_completion else as_chat(self.path, body))
        time.sleep(faults.answer_delay_s)
        whole, events = {
            "/v1/chat/completions": (chat(body, answer), chat_chunks(body, answer)),
            "/v1/completions": (text(body, answer), text_chunks(body, answer)),
            "/v1/responses": (response(body, answer), response_events(body, answer)),
            "/v1/messages": (message(answer), message_events(answer)),
        }[self.path]
        if body.get("stream"):
            self._stream(events, is_named=not is_completion)
        else:
            self._send_json(200, whole)

    def _answer(self, body: Mapping[str, Any]) -> GeneratedAnswer:
        fake, model = self.server.fake, str(body.get("model"))
        path = fake.path_of(model)
        if path is None:
            raise _Refusal(404, f"The model `{model}` does not exist.", "NotFoundError", "model")
        is_chat = self.path != "/v1/completions"
        if is_chat and body.get("tools") and not fake.options.tool_call_parser:
            why = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
            raise _Refusal(400, why, "BadRequestError")
        prompt = body.get("prompt")
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], str):
            prompt = prompt[0]  # the first of several texts
        messages = body.get("messages") if is_chat else [{"content": str(prompt)}]
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise _Refusal(
                400, "1 validation error: {'loc': 'body.messages'}", "Bad Request", "body.messages"
            )
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or 64
        if limit < 1 or body.get("max_tokens") == 0:
            raise _Refusal(400, "max_tokens must be at least 1, got 0.", "BadRequestError", "max_tokens")
        prompt_ids = list(prompt) if isinstance(prompt, list) else list(json.dumps(messages).encode())
        if len(prompt_ids) > fake.context_tokens_max:
            raise _Refusal(400, "This model's maximum context length is exceeded", "BadRequestError")
        assert body.get("prompt_logprobs") is None, "vLLM's CPU build crashes with them beside other requests"
        if isinstance(prompt, list):
            token_ids = continuation(path, prompt_ids, limit)
            pieces = [chr(token) for token in token_ids]
            named = [likely(path, [*prompt_ids, *token_ids[:place]]) for place in range(limit)]
        else:
            pieces = [*fake.reply_function(path, messages)][:limit]
            ends = len(pieces) < limit
            token_ids, pieces = [ord(message) for message in pieces] + [2] * ends, pieces + [""] * ends
            asks_for_likely = bool(not is_chat and body.get("logprobs"))
            before = ([*prompt_ids, *token_ids[:place]] for place in range(len(token_ids)))
            named = [likely(path, ids) if asks_for_likely else {} for ids in before]
        return GeneratedAnswer(
            id=f"cmpl-{time.monotonic_ns()}",
            model=model,
            prompt_ids=prompt_ids,
            pieces=pieces,
            token_ids=token_ids,
            logprobs=logprobs(path, prompt_ids, token_ids),
            likely=[self._processed(row, body) for row in named],
            finish_reason="stop" if token_ids[-1] == 2 else "length",
        )

    def _processed(self, row: dict[int, float], body: Mapping[str, Any]) -> dict[int, float]:
        """The log-probabilities at the temperature of the request, where the server reports them so."""
        temperature = body.get("temperature") or 1.0
        scale = 1.0 / temperature if self.server.fake.options.processed_logprobs else 1.0
        return {token: value * scale for token, value in row.items()}

    def _stream(self, chunks: Sequence[Mapping[str, Any]], *, is_named: bool) -> None:
        faults = self.server.fake.faults
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        events = [json.dumps(chunk) for chunk in chunks] + ([] if is_named else ["[DONE]"])
        names = [f"event: {chunk['type']}\n" if is_named else "" for chunk in chunks]
        if faults.raw_answer is not None:
            events.insert(faults.raw_event_at, faults.raw_answer.decode("latin-1"))
        for place, event in enumerate(events):
            if faults.hang_up_after_chunks is not None and place >= faults.hang_up_after_chunks:
                self._hang_up()
                return
            if place:
                time.sleep(faults.chunk_delay_s)
            name = names[place] if place < len(names) else ""
            data = f"{name}data: {event}\n\n".encode("latin-1")
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send_json(self, status: int, body: Mapping[str, Any]) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(
        self, status: int, body: bytes, content_type: str = "text/plain", *, encoding: str | None = None
    ) -> None:
        self.send_response(status)
        if encoding is not None:
            self.send_header("content-encoding", encoding)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """No log: tests read `requests`."""
