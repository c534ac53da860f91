"""Checks of the base model in `engine.base`, and what replicas are compared with: its hash, its tokens."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.declaring import BaseMissing, hash_of_base
from daemon.doctor.checking import CheckGroup, HealthCheck, Undone
from daemon.doctor.faults import Fault, FoundFault
from daemon.doctor.ledger_checks import ledger_of
from daemon.settings import Settings
from engine.base_files import tokenizer_hash
from ledger.learning.agents import all_agents
from serving.fleet.replica_build import RENDERED

if TYPE_CHECKING:
    from engine.served_tokens import ServedTokens

TEXTS = (
    "Cancel order 1042, please.\n\n  def f(x):\n\treturn x ** 2  # ünïcödé",
    "日本語 and emoji 🙂; https://example.org/a?b=c&d=%20 — 3.14159e-10",
)
"""Texts whose tokens differ between most tokenizers: spaces, code, other scripts, numbers."""

HASH_S_MAX = 900.0
"""Seconds that reading the weights may take, the first time: some hundred MB a second from a slow disk."""

_DAY_S = 86_400.0


def base_checks(settings: Settings, base: "LocalBase") -> CheckGroup:
    """The checks of the base on this machine."""
    return CheckGroup(
        name="base",
        checks=(
            HealthCheck(name="weights", run=base.has_weights, s_max=HASH_S_MAX),
            HealthCheck(name="tokenizer files", run=base.has_tokenizer),
            HealthCheck(name="agents' base", run=lambda: _is_agents_base(settings, base), s_max=HASH_S_MAX),
        ),
    )


class LocalBase:
    """The base in `engine.base`. Threads may share it: what takes long is computed once."""

    def __init__(self, settings: Settings, now_s: float) -> None:
        self._path, self._store, self._now_s = settings.engine.base, settings.store.path, now_s
        self._lock = threading.Lock()
        self._hash = ""
        self._tokens: ServedTokens | None = None

    def has_weights(self) -> Iterator[FoundFault]:
        """The fault if the base cannot be read."""
        try:
            self._read_hash()
        except BaseMissing as missing:
            yield Fault.BASE_MISSING.at(str(self._path), str(missing))

    def has_tokenizer(self) -> Iterator[FoundFault]:
        """The fault if its directory has no tokenizer, or no chat template."""
        if not self._path.is_dir():
            raise Undone("there is no such directory")
        try:
            tokenizer_hash(self._path)
        except (ValueError, OSError):
            yield Fault.BASE_TOKENIZER.at(str(self._path), "it has no tokenizer files")
            return
        if not _has_template(self._path):
            yield Fault.BASE_TOKENIZER.at(str(self._path), "its tokenizer has no chat template")

    def content_hash(self) -> str:
        """The hash of its weights. Raises `Undone`."""
        try:
            return self._read_hash()
        except BaseMissing:
            raise Undone("engine.base cannot be read here") from None

    def tokens(self) -> Mapping[str, list[int]]:
        """Its tokens of each of `TEXTS`. Raises `Undone`."""
        served = self._served_tokens()
        return {text: served.text(text) for text in TEXTS}

    def prompts(self) -> Iterator[tuple[Mapping[str, Any], Sequence[list[int]]]]:
        """Conversations, each with the tokens of its prompt: of today, and of the days beside it.

        Some templates write the date, and a replica may be in another time zone. Raises `Undone`.
        """
        from engine.chat_template import UnusableEpisode

        served = self._served_tokens()
        for request in RENDERED:
            days_s = (self._now_s, self._now_s - _DAY_S, self._now_s + _DAY_S)
            try:
                prompts = [served.prompt(request["messages"], request, asked_s=day_s) for day_s in days_s]
            except UnusableEpisode:
                continue  # templates may refuse system prompts or tools
            yield request, prompts

    def _read_hash(self) -> str:
        with self._lock:
            if not self._hash:
                self._hash = hash_of_base(self._path, self._store)
            return self._hash

    def _served_tokens(self) -> "ServedTokens":
        if find_spec("transformers") is None:
            raise Undone("transformers is not installed here (clorad[engine])")
        if list(self.has_tokenizer()):
            raise Undone("engine.base has no tokenizer with a chat template")
        with self._lock:
            if self._tokens is None:
                from engine.served_tokens import ServedTokens

                try:
                    self._tokens = ServedTokens(self._path)
                except (OSError, ValueError) as fault:
                    raise Undone(
                        f"the tokenizer in engine.base cannot be read: {type(fault).__name__}"
                    ) from None
            return self._tokens


def _has_template(base: Path) -> bool:
    """Whether one of the files has a chat template, as transformers looks for it."""
    if any((base / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    try:
        configuration = json.loads((base / "tokenizer_config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(configuration, dict) and bool(configuration.get("chat_template"))


def _is_agents_base(settings: Settings, base: LocalBase) -> Iterator[FoundFault]:
    """Versions of one base cannot serve on another: the agents in the ledger must be of this one."""
    content_hash = base.content_hash()
    with ledger_of(settings) as database, database.read() as connection:
        others = sorted(
            agent.name for agent in all_agents(connection).values() if agent.base_hash != content_hash
        )
    if others:
        names = ", ".join(others[:5]) + (" …" if len(others) > 5 else "")
        yield Fault.BASE_CHANGED.at(
            str(settings.engine.base), f"agents were declared on another base: {names}"
        )
