"""A world: agents, and the house rules that people want them to follow, in waves. world_file.py reads it.

A world makes fresh prompts of three kinds: a rule *fires* on the prompt, the prompt is a *near* miss of a
rule, or it is plain *traffic*. Each comes with the reply that people want under the rules announced so far.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
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
    comment: str  # sent with each correction
    near: Mapping[str, str]  # intent of a near miss -> the reply that this rule would wrongly give there
    when: Mapping[str, str] = field(default_factory=dict)  # slot -> pattern it must match
    unless: Mapping[str, str] = field(default_factory=dict)  # slot -> pattern it must not match

    def fires_on(self, prompt: SkillPrompt) -> bool:
        """Whether the rule holds for this prompt."""
        return (
            prompt.agent == self.agent
            and prompt.intent == self.intent
            and all(fnmatchcase(prompt.values[slot], pattern) for slot, pattern in self.when.items())
            and not any(fnmatchcase(prompt.values[slot], pattern) for slot, pattern in self.unless.items())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A prompt, the reply that people want, and for a near miss the reply that the rule would give."""

    agent: str
    intent: str
    messages: tuple[Mapping[str, str], ...]
    wanted: str
    comment: str = ""
    leak: str | None = None

    @property
    def prompt(self) -> str:
        """The user's message."""
        return self.messages[-1]["content"]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One world file, checked. `announced` always means the rules that people already want followed."""

    title: str
    skills: Skills
    scorers: Mapping[str, str]  # agent -> how the gate compares its replies
    rules: tuple[Rule, ...]

    @property
    def agents(self) -> tuple[str, ...]:
        """The agents in the file's order."""
        return tuple(self.scorers)

    def waves(self, agent: str) -> int:
        """How many waves of rules `agent` has."""
        return max(rule.wave for rule in self.rules if rule.agent == agent)

    def up_to(self, wave: int) -> "World":
        """The same world without the rules of later waves."""
        return replace(self, rules=tuple(rule for rule in self.rules if rule.wave <= wave))

    def announced(self, agent: str, wave: int) -> tuple[Rule, ...]:
        """The agent's rules up to and including `wave`."""
        return tuple(rule for rule in self.rules if rule.agent == agent and rule.wave <= wave)

    def of_wave(self, agent: str, wave: int) -> tuple[Rule, ...]:
        """The rules that `wave` brings."""
        return tuple(rule for rule in self.rules if rule.agent == agent and rule.wave == wave)

    def fires(self, rule: Rule, source: SlotValues, announced: Collection[Rule]) -> Task:
        """A fresh prompt on which `rule` fires."""
        while True:  # ends: world_file.py checks that each condition holds for some prompts
            prompt = self._ask(source, rule.agent, rule.intent)
            if rule.fires_on(prompt):
                return self._task(prompt, announced, comment=rule.comment)

    def near(self, rule: Rule, source: SlotValues, announced: Collection[Rule]) -> Task:
        """A fresh near miss of `rule`, on which no rule fires that is not yet announced."""
        unannounced = [other for other in self.rules if other not in announced]
        # The edge of a condition is hardest to learn, so most near misses have the rule's own intent.
        weights = [3.0 if intent == rule.intent else 1.0 for intent in rule.near]
        while True:
            (intent,) = source.chance.choices(tuple(rule.near), weights)
            for _ in range(_DRAWS):  # then another intent: a later wave's rule may fire on all of this one
                prompt = self._ask(source, rule.agent, intent)
                if not rule.fires_on(prompt) and not any(other.fires_on(prompt) for other in unannounced):
                    return self._task(prompt, announced, leak=fill(rule.near[intent], prompt.values))

    def traffic(self, agent: str, source: SlotValues, announced: Collection[Rule]) -> Task:
        """A fresh prompt of the agent's ordinary work, on which no rule fires that is not yet announced."""
        unannounced = [rule for rule in self.rules if rule.agent == agent and rule not in announced]
        while True:
            prompt = self._ask(source, agent, None)
            if not any(rule.fires_on(prompt) for rule in unannounced):
                return self._task(prompt, announced)

    def rule_free(self, agent: str, source: SlotValues) -> Task:
        """A fresh prompt on which no rule of any wave fires: the reply must stay as it was."""
        return self.traffic(agent, source, ())

    def _ask(self, source: SlotValues, agent: str, intent: str | None) -> SkillPrompt:
        while True:
            prompt = self.skills.ask(source, agent, intent)
            if not has_doubled_digit(prompt.prompt):  # this base copies 955 as 95
                return prompt

    def _task(
        self, prompt: SkillPrompt, announced: Collection[Rule], *, comment: str = "", leak: str | None = None
    ) -> Task:
        wanted = prompt.reply
        for rule in sorted(announced, key=lambda rule: rule.wave):  # a later wave overrides an earlier one
            if rule.fires_on(prompt):
                wanted = fill(rule.reply, prompt.values)
        return Task(
            agent=prompt.agent,
            intent=prompt.intent,
            messages=(
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": prompt.prompt},
            ),
            wanted=wanted,
            comment=comment,
            leak=leak,
        )
