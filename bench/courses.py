"""Courses for `bench.freshness`: one agent of a world under a name of its own, taught wave after wave."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from examples.base_model.slots import SlotValues, read_words
from examples.house_rules.demo import SHOP
from examples.house_rules.evaluation import build_evaluation, evaluate, through_gateway
from examples.house_rules.people.developer import FeedbackRound, give_feedback
from examples.house_rules.people.feedback_producer import FeedbackProducer
from examples.house_rules.people.gateway import AgentReply, GatewayClient
from examples.house_rules.people.person import Person
from examples.house_rules.stack import Stack
from examples.house_rules.world_file import read_world
from examples.real_base.demo import CORRECTIONS, QUESTIONS, TALK, TOKENS_MAX
from examples.real_base.prose_person import ProsePeople
from examples.real_base.prose_world import read_prose_world

RULE_AGENT, PROSE_AGENT = "coder", "support"
FEEDBACK = FeedbackRound(early=20, corrections=72, work=240, approvals=32)
EXAMINED = 20  # questions of each kind about the example world


class Course(Protocol):
    """One agent and the people who teach it."""

    def teach(self, wave: int) -> str:
        """Kafka has acknowledged a wave's feedback. Returns the version that it should replace."""
        ...

    def version(self) -> str:
        """The version that answers one question now."""
        ...

    def followed(self, wave: int) -> float:
        """Share of held-out prompts on which the rules fire that are answered as people want."""
        ...


class RuleCourse:
    """The coder of the example world: short replies on the example base."""

    scorer = "exact"
    waves = 2  # from the base, and from its own first version

    def __init__(self, stack: Stack, name: str, journal: Path) -> None:
        self._world = read_world(SHOP)
        names = {RULE_AGENT: name}
        self._gateway = _NamedGateway(stack.gateway, names)
        self._producer = _NamedProducer(stack, journal, names)
        self._person = _QuietPerson(
            f"developer-of-{name}", (RULE_AGENT,), self._world, self._gateway, self._producer, seed=1
        )
        source = SlotValues(random.Random(name), read_words(), held_out=False)
        self._question = self._world.rule_free(RULE_AGENT, source)

    def teach(self, wave: int) -> str:
        """Two developers ask for work, correct what breaks the rule, and approve a few answers."""
        self._person.announcements.announce(RULE_AGENT, wave)
        return give_feedback(self._person, RULE_AGENT, wave, FEEDBACK)

    def version(self) -> str:
        """The version that answers a question that no rule is about."""
        return self._gateway.ask(RULE_AGENT, self._question.messages, captured=False).version

    def followed(self, wave: int) -> float:
        """As `Course`."""
        questions = build_evaluation(self._world, RULE_AGENT, n=EXAMINED, wave=wave)
        return evaluate([questions], through_gateway(self._gateway))[RULE_AGENT].followed

    def close(self) -> None:
        """Close the producer."""
        self._producer.close()


class ProseCourse:
    """The support agent of the prose world: a pretrained base. Nobody approves anything."""

    scorer = "json"
    waves = 1

    def __init__(self, stack: Stack, name: str, journal: Path) -> None:
        self._producer = FeedbackProducer(
            stack.bootstrap, journal, "//freshness.example", stack.kafka_options
        )
        gateway = GatewayClient(stack.gateway, tokens_max=TOKENS_MAX)
        self._people = ProsePeople(read_prose_world(), PROSE_AGENT, gateway, self._producer, name=name)

    def teach(self, wave: int) -> str:
        """Two people talk to the agent and correct what breaks the rules."""
        self._people.talk(TALK)
        return self._people.correct(wave, CORRECTIONS)

    def version(self) -> str:
        """As `Course`."""
        return self._people.version()

    def followed(self, wave: int) -> float:
        """As `Course`."""
        return self._people.exam(wave, QUESTIONS).followed

    def close(self) -> None:
        """Close the producer."""
        self._producer.close()


class _QuietPerson(Person):
    """A person whose reports nobody reads: the benchmark's figures are all that it prints."""

    def report(self, **_facts: Any) -> None:
        pass


class _NamedGateway(GatewayClient):
    """A gateway at which the world's agents have other names."""

    def __init__(self, url: str, names: Mapping[str, str]) -> None:
        super().__init__(url)
        self._names = names

    def ask(self, agent: str, messages: Sequence[Mapping[str, str]], **options: Any) -> AgentReply:
        return super().ask(self._names[agent], messages, **options)


class _NamedProducer(FeedbackProducer):
    """A producer whose feedback is about the agents by their other names."""

    def __init__(self, stack: Stack, journal: Path, names: Mapping[str, str]) -> None:
        super().__init__(stack.bootstrap, journal, "//freshness.example", stack.kafka_options)
        self._names = names

    def send_event(self, kind: str, data: Mapping[str, Any], *, key: str) -> str:
        return super().send_event(kind, {**data, "agent": self._names[data["agent"]]}, key=key)
