"""Two people of one company who talk to an agent in prose, and correct what breaks a house rule.

They say nothing about the other answers: what nobody objects to stays as it is.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from examples.house_rules.people.feedback_producer import FeedbackProducer
from examples.house_rules.people.gateway import AgentReply, GatewayClient
from examples.real_base.prose_world import ProsePrompt, ProseWorld

IN_FLIGHT = 4  # questions at once: a real base on two cores generates some ten tokens a second
AUTHORS = ("ann", "bob")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProseExam:
    """Shares of the answers to held-out prompts, in words that nobody taught with."""

    followed: float  # a rule is about the prompt: answered as people want
    near_marked: float  # near misses: the answer begins as a rule's would
    chat_marked: float  # ordinary work: the same
    asked: int


class ProsePeople:
    """The people who teach one agent. `name` is the agent's name at the gateway."""

    def __init__(
        self, world: ProseWorld, agent: str, gateway: GatewayClient, producer: FeedbackProducer, *, name: str
    ) -> None:
        self._world = world
        self._agent = agent
        self._gateway = gateway
        self._producer = producer
        self._name = name

    def talk(self, count: int) -> None:
        """Ask near misses and ordinary work, about `count` prompts, and say nothing about the answers."""
        near = self._world.beside(self._agent, "near", count // 2, seed=self._name, held_out=False)
        chat = self._world.beside(self._agent, "chat", count // 2, seed=self._name, held_out=False)
        self._ask([*near, *chat])

    def correct(self, wave: int, count: int, number: int = 0) -> str:
        """Ask `count` prompts about each rule of the wave, correct what is wrong, wait until Kafka has it.

        Each `number` has other prompts. Returns the version that answered; empty where nothing was wrong.
        """
        seed = f"{self._name} {number}"
        prompts = [
            prompt
            for rule in self._world.of_wave(self._agent, wave)
            for prompt in self._world.about(rule, count, seed=seed, held_out=False)
        ]
        wrong = [(prompt, reply) for prompt, reply in self._ask(prompts) if reply.text != prompt.wanted]
        for place, (prompt, reply) in enumerate(wrong):
            self._send_correction(prompt, reply, author=AUTHORS[place % 2], key=f"{seed} {place}")
        self._producer.flush()
        return wrong[-1][1].version if wrong else ""

    def version(self) -> str:
        """The version that answers now; it answers one prompt for that, which is not captured."""
        [prompt] = self._world.beside(self._agent, "chat", 1, seed="version", held_out=False)
        return self._gateway.ask(self._name, prompt.messages, captured=False).version

    def exam(self, wave: int, count: int) -> ProseExam:
        """Ask held-out prompts, `count` about each rule up to the wave and of each other kind."""
        rules = [rule for number in range(1, wave + 1) for rule in self._world.of_wave(self._agent, number)]
        fires = [
            prompt for rule in rules for prompt in self._world.about(rule, count, seed="exam", held_out=True)
        ]
        near = self._world.beside(self._agent, "near", count, seed="exam", held_out=True)
        chat = self._world.beside(self._agent, "chat", count, seed="exam", held_out=True)
        answered = self._ask([*fires, *near, *chat], captured=False)
        marks = self._world.marks(self._agent)
        about, others = answered[: len(fires)], answered[len(fires) :]
        marked = [reply.text.startswith(marks) for _, reply in others]
        return ProseExam(
            followed=_share([reply.text == prompt.wanted for prompt, reply in about]),
            near_marked=_share(marked[: len(near)]),
            chat_marked=_share(marked[len(near) :]),
            asked=len(answered),
        )

    def _ask(
        self, prompts: Sequence[ProsePrompt], *, captured: bool = True
    ) -> list[tuple[ProsePrompt, AgentReply]]:
        def ask(prompt: ProsePrompt) -> AgentReply:
            return self._gateway.ask(self._name, prompt.messages, captured=captured)

        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            return list(zip(prompts, pool.map(ask, prompts), strict=True))

    def _send_correction(self, prompt: ProsePrompt, reply: AgentReply, *, author: str, key: str) -> None:
        assert prompt.rule is not None, "only prompts that a rule is about have a wanted answer"
        self._producer.send_event(
            "correction",
            {
                "agent": self._name,
                "author": author,
                "interaction": reply.interaction,
                "messages": list(prompt.messages),
                "rejected": reply.text or "…",
                "corrected": prompt.wanted,
                "comment": prompt.rule.comment,
            },
            key=key,
        )


def _share(values: Sequence[bool]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0
