"""Checks of one vLLM replica: its version and options, its base and tokenizer, loading from the store."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from daemon.doctor.base_checks import LocalBase
from daemon.doctor.blank_adapter import blank_adapter
from daemon.doctor.checking import CheckGroup, HealthCheck, Undone
from daemon.doctor.faults import Fault, FoundFault
from daemon.doctor.replica_facts import Card, NoAnswer, ReplicaFacts
from daemon.settings import Settings
from engine.base_files import base_hash
from serving.fleet.replica import WRONG_KEY, Replica, ReplicaRefused, ReplicaUnavailable

CLOCK_S_MAX = 5.0
"""Seconds that a replica's clock may differ: its `Date` header is exact to one."""

MIXING_MAX, TRIED_MIN = (0, 24), (0, 32)
"""The newest version seen to answer with another tenant's adapter after a load (vllm-project/vllm#47724), and
the oldest that clorad is tested with. Of those between, nothing is known."""

_VERSION = re.compile(r"v?(\d+)\.(\d+)")
_WARMER = 0.25  # a temperature under which processed log-probabilities differ from those at 1
_SAME_NATS = 1e-3
_REFUSALS = (
    ("is not enabled", Fault.REPLICA_LORA),
    ("max_lora_rank", Fault.REPLICA_RANK),
    ("No adapter found", Fault.REPLICA_STORE),
)


def replica_checks(settings: Settings, url: str, *, base: LocalBase, agents: int) -> CheckGroup:
    """The checks of the replica at `url`, with that many agents."""
    key = settings.fleet.replica_keys().get(url.rstrip("/"))
    replica = _ReplicaChecks(
        settings=settings,
        url=url,
        facts=ReplicaFacts(url, key),
        client=Replica(url, api_key=key),
        base=base,
        agents=agents,
    )
    return CheckGroup(
        name=url,
        checks=(
            HealthCheck(name="answers", run=replica.answers),
            HealthCheck(name="version", run=replica.has_good_version),
            HealthCheck(name="clock", run=replica.has_our_time),
            HealthCheck(name="base", run=replica.serves_base, s_max=600.0),
            HealthCheck(name="tokenizer", run=replica.has_tokenizer),
            HealthCheck(name="chat template", run=replica.has_template),
            HealthCheck(name="loading", run=replica.loads),
            HealthCheck(name="log-probabilities", run=replica.processes_logprobs),
            HealthCheck(name="tools", run=replica.takes_tools),
            HealthCheck(name="room for adapters", run=replica.has_room),
        ),
        close=replica.close,
    )


@dataclass(slots=True, kw_only=True)
class _ReplicaChecks:
    settings: Settings
    url: str
    facts: ReplicaFacts
    client: Replica
    base: LocalBase
    agents: int
    card: Card | None = None

    def close(self) -> None:
        self.facts.close()
        self.client.close()

    def answers(self) -> Iterator[FoundFault]:
        try:
            status = self.facts.models_status()
            if status in WRONG_KEY:
                yield Fault.REPLICA_KEY.at(self.url, f"it answers {status}: it wants another key")
                return
            self.card = self.facts.card()
        except NoAnswer as fault:
            kind = Fault.REPLICA_FORM if str(fault).startswith("its list") else Fault.REPLICA_AWAY
            yield kind.at(self.url, f"the replica does not answer as vLLM does: {fault}")

    def has_good_version(self) -> Iterator[FoundFault]:
        self._served()
        version = self.facts.version()
        numbers = _VERSION.match(version)
        if numbers is None:
            yield Fault.REPLICA_VERSION.at(self.url, "it does not tell vLLM's version")
            return
        release = (int(numbers[1]), int(numbers[2]))
        if release <= MIXING_MAX:
            yield Fault.REPLICA_MIXES.at(
                self.url,
                f"vLLM {version} may answer one agent's users with another agent's adapter after a load",
            )
        elif release < TRIED_MIN:
            yield Fault.REPLICA_UNTRIED.at(self.url, f"nobody has tried clorad with vLLM {version}")

    def has_our_time(self) -> Iterator[FoundFault]:
        self._served()
        asked_s, clock_s, answered_s = time.time(), self.facts.clock_s(), time.time()
        if clock_s is None:
            raise Undone("it sends no date")
        nearest_s = min(max(clock_s, asked_s), answered_s)  # a slow answer is no wrong clock
        if abs(clock_s - nearest_s) > CLOCK_S_MAX:
            yield Fault.REPLICA_CLOCK.at(
                self.url, f"its clock is {clock_s - nearest_s:+.0f} s from this machine's"
            )

    def serves_base(self) -> Iterator[FoundFault]:
        """Its base has the weights of engine.base, where this machine can read the directory of both."""
        root = Path(self._served().root)
        if not root.is_absolute() or not root.is_dir():
            raise Undone(
                "the directory of its base is not on this machine; its tokenizer and probes are compared"
            )
        if base_hash(root) != self.base.content_hash():
            yield Fault.REPLICA_BASE.at(self.url, f"it serves other weights ({root}) than engine.base has")

    def has_tokenizer(self) -> Iterator[FoundFault]:
        name = self._served().name
        for text, expected in self.base.tokens().items():
            tokens = self.facts.tokens(name, text)
            if tokens is None:
                raise Undone("it has no /tokenize")
            if list(tokens) != expected:
                yield Fault.REPLICA_TOKENIZER.at(
                    self.url, "it divides a text into other tokens than the tokenizer in engine.base"
                )
                return

    def has_template(self) -> Iterator[FoundFault]:
        if list(self.has_tokenizer()):
            raise Undone("its tokenizer is another")
        for request, expected in self.base.prompts():
            tokens = self.facts.prompt_tokens(self._served().name, request)
            if tokens is None or list(tokens) not in expected:
                yield Fault.REPLICA_TEMPLATE.at(
                    self.url,
                    "it makes another prompt of a conversation than the chat template in engine.base",
                )
                return

    def loads(self) -> Iterator[FoundFault]:
        """It loads an adapter of the largest rank from the store, lists it, and unloads it again."""
        self._served()
        name = f"clorad-doctor-{token_hex(4)}"
        rank = self.settings.engine.rank_max
        try:
            with blank_adapter(self.settings.store.path, self.settings.engine.base, rank=rank) as folder:
                yield from self._loading(name, folder, rank)
        except (OSError, ValueError):
            raise Undone("no adapter can be written to the store here") from None

    def processes_logprobs(self) -> Iterator[FoundFault]:
        name = self._served().name
        plain = self.facts.first_logprobs(name, temperature=1.0)
        warmer = self.facts.first_logprobs(name, temperature=_WARMER)
        shared = plain.keys() & warmer.keys()
        if all(abs(plain[token] - warmer[token]) < _SAME_NATS for token in shared):
            yield Fault.REPLICA_LOGPROBS.at(
                self.url, "it reports log-probabilities without the temperature: not those it samples from"
            )

    def takes_tools(self) -> Iterator[FoundFault]:
        if not self.facts.takes_tools(self._served().name):
            yield Fault.REPLICA_TOOLS.at(self.url, "it refuses requests that offer tools")

    def has_room(self) -> Iterator[FoundFault]:
        self._served()
        slots, memory = self.facts.max_loras(), self.facts.max_cpu_loras()
        if slots is not None and slots < self.agents + 2:
            yield Fault.REPLICA_SLOTS.at(
                self.url,
                f"--max-loras is {slots}: too few for {self.agents} agents, a candidate and a predecessor",
            )
        if memory is not None and memory < self.settings.fleet.adapters_max:
            yield Fault.REPLICA_MEMORY.at(
                self.url,
                f"--max-cpu-loras is {memory}, fleet.adapters_max is {self.settings.fleet.adapters_max}",
            )
        if slots is None:
            raise Undone("its metrics do not say how many adapters a batch may have")

    def _loading(self, name: str, folder: Path, rank: int) -> Iterator[FoundFault]:
        try:
            self.client.load(name, str(folder))
            if name not in self.client.models():
                yield Fault.REPLICA_REFUSES.at(
                    self.url, "it says that it loaded an adapter, and does not list it"
                )
            self.client.unload(name)
        except ReplicaUnavailable as fault:
            yield Fault.REPLICA_AWAY.at(self.url, str(fault))
        except ReplicaRefused as refusal:
            yield self._refusal(refusal, rank)

    def _refusal(self, refusal: ReplicaRefused, rank: int) -> FoundFault:
        if refusal.status == 404 and refusal.why == "no reason given":  # the path itself is not there
            return Fault.REPLICA_LOADING.at(self.url, "it does not load adapters while it runs")
        for words, fault in _REFUSALS:
            if words in refusal.why:
                return fault.at(self.url, f"it refuses an adapter of rank {rank} in the store: {refusal.why}")
        return Fault.REPLICA_REFUSES.at(self.url, f"it answered {refusal.status}: {refusal.why}")

    def _served(self) -> Card:
        if self.card is None:
            raise Undone("the replica does not answer")
        return self.card
