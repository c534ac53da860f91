"""A world: agents, and the house rules their people want followed, in waves (world_file.py reads it).

It makes fresh prompts of three kinds: a rule *fires* on it, it is a *near* miss of a rule, or it is
plain *traffic*; each comes with the reply people want, given the rules announced so far.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from examples.base_model.skills import SkillPrompt, Skills
from examples.base_model.slots import SlotValues, fill, has_doubled_digit

_DRAWS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """From its wave on, prompts of `intent` (where the condition holds) want `reply`."""

    name: str
    agent: str
    wave: int
    intent: str
    reply: str
    comment: str  # what a developer says with a correction
    near: Mapping[str, str]  # intent of a near miss -> the reply this rule would wrongly give there
    when: Mapping[str, str] = field(default_factory=dict)  # slot -> pattern it must match
    unless: Mapping[str, str] = field(default_factory=dict)  # slot -> pattern it must not match

    def fires_on(self, asked: SkillPrompt) -> bool:
        """Whether the rule speaks about this prompt."""
        return (
            asked.agent == self.agent
            and asked.intent == self.intent
            and all(fnmatchcase(asked.values[slot], pattern) for slot, pattern in self.when.items())
            and not any(fnmatchcase(asked.values[slot], pattern) for slot, pattern in self.unless.items())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A prompt, the reply wanted for it, and for a near miss the reply that would show a leak."""

    agent: str
    intent: str
    messages: tuple[Mapping[str, str], ...]
    wanted: str
    comment: str = ""
    leak: str | None = None

    @property
    def prompt(self) -> str:
        """What the user said."""
        return self.messages[-1]["content"]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One world file, checked. `announced` is always the rules people already want followed."""

    title: str
    skills: Skills
    scorers: Mapping[str, str]  # agent -> how the gate compares its replies
    rules: tuple[Rule, ...]

    @property
    def agents(self) -> tuple[str, ...]:
        """The agents that learn here, in the file's order."""
        return tuple(self.scorers)

    def waves(self, agent: str) -> int:
        """How many waves of rules `agent` has."""
        return max(rule.wave for rule in self.rules if rule.agent == agent)

    def announced(self, agent: str, wave: int) -> tuple[Rule, ...]:
        """The agent's rules up to and with `wave`."""
        return tuple(rule for rule in self.rules if rule.agent == agent and rule.wave <= wave)

    def of_wave(self, agent: str, wave: int) -> tuple[Rule, ...]:
        """The rules that `wave` brings."""
        return tuple(rule for rule in self.rules if rule.agent == agent and rule.wave == wave)

    def fires(self, rule: Rule, source: SlotValues, announced: Collection[Rule]) -> Task:
        """A fresh prompt on which `rule` fires."""
        while True:  # a condition holds for a good share of its intent: world_file has tried
            asked = self._ask(source, rule.agent, rule.intent)
            if rule.fires_on(asked):
                return self._task(asked, announced, comment=rule.comment)

    def near(self, rule: Rule, source: SlotValues, announced: Collection[Rule]) -> Task:
        """A fresh prompt on which `rule` must not fire but might, nor any rule not yet announced."""
        silent = [other for other in self.rules if other not in announced]
        # Where a condition ends is the hardest: the rule's own intent is asked about most.
        weights = [3.0 if intent == rule.intent else 1.0 for intent in rule.near]
        while True:
            (intent,) = source.chance.choices(tuple(rule.near), weights)
            for _ in range(_DRAWS):  # of one intent, whose prompts may all be spoken for until a later wave
                asked = self._ask(source, rule.agent, intent)
                if not rule.fires_on(asked) and not any(other.fires_on(asked) for other in silent):
                    return self._task(asked, announced, leak=fill(rule.near[intent], asked.values))

    def traffic(self, agent: str, source: SlotValues, announced: Collection[Rule]) -> Task:
        """A fresh prompt of the agent's ordinary work, on which no rule fires that is not yet announced."""
        silent = [rule for rule in self.rules if rule.agent == agent and rule not in announced]
        while True:
            asked = self._ask(source, agent, None)
            if not any(rule.fires_on(asked) for rule in silent):
                return self._task(asked, announced)

    def rule_free(self, agent: str, source: SlotValues) -> Task:
        """A fresh prompt on which no rule fires, now or ever: what must stay as it was."""
        return self.traffic(agent, source, ())

    def _ask(self, source: SlotValues, agent: str, intent: str | None) -> SkillPrompt:
        while True:
            asked = self.skills.ask(source, agent, intent)
            if not has_doubled_digit(asked.prompt):  # this base copies 955 as 95; that is not the lesson
                return asked

    def _task(
        self, asked: SkillPrompt, announced: Collection[Rule], *, comment: str = "", leak: str | None = None
    ) -> Task:
        wanted = asked.reply
        for rule in sorted(announced, key=lambda rule: rule.wave):  # a later wave has the last word
            if rule.fires_on(asked):
                wanted = fill(rule.reply, asked.values)
        return Task(
            agent=asked.agent,
            intent=asked.intent,
            messages=(
                {"role": "system", "content": asked.system},
                {"role": "user", "content": asked.prompt},
            ),
            wanted=wanted,
            comment=comment,
            leak=leak,
        )
