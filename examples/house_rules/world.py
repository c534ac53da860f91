"""A world: agents, and the house rules that people want them to follow, in waves. world_file.py reads it.

A world makes fresh prompts of three kinds: a rule *fires* on the prompt, the prompt is a *near* miss of a
rule, or it is plain *traffic*. Each comes with the reply that people want under the rules announced so far.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from examples.base_model.conversations import ActingSkill, Conversation
from examples.base_model.skills import SkillPrompt, Skills
from examples.base_model.slots import SlotValues, fill, has_doubled_digit
from examples.house_rules.conversation_tasks import call_text, decision, ruled, some_turn, turn_of
from rewards.replies import Reply, reply_text

_DRAWS = 40
_LAST_WORDS = 0.3  # of what people correct in conversations with tools


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
    ends: str = ""  # with tools, where `reply` is a call: the agent's last words after it

    def fires_on(self, prompt: SkillPrompt | Conversation) -> bool:
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
    messages: tuple[Mapping[str, Any], ...]
    reply: Reply
    comment: str = ""
    leak: str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def wanted(self) -> str:
        """What is compared of the reply."""
        return reply_text(self.reply)

    @property
    def request(self) -> dict[str, Any]:
        """The prompt as feedback has it: its messages, and the tools where some were offered."""
        return {"messages": list(self.messages)} | ({"tools": list(self.tools)} if self.tools else {})

    @property
    def prompt(self) -> str:
        """The user's message."""
        return next(str(message["content"]) for message in self.messages if message["role"] == "user")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One world file, checked. `announced` always means the rules that people already want followed."""

    title: str
    skills: Skills
    scorers: Mapping[str, str]  # agent -> how the gate compares its replies
    rules: tuple[Rule, ...]
    acting: ActingSkill | None = None  # of the agent that has tools
    short: tuple[str, ...] = ()  # agents of the short demo

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
            prompt = self.ask(source, rule.agent, rule.intent)
            if rule.fires_on(prompt):
                return self._task(prompt, announced, comment=rule.comment)

    def corrected(self, rule: Rule, source: SlotValues, announced: Collection[Rule]) -> Task:
        """A fresh prompt at which people may have to correct what `rule` is about.

        One on which it fires; of a conversation with tools also the last words, after the act that it wants.
        """
        if not self.has_tools(rule.agent) or source.chance.random() >= _LAST_WORDS:
            return self.fires(rule, source, announced)
        wanted = self.wanted(self.ruled_conversation(rule, source), announced)
        return replace(self._turn_task(wanted, decision(wanted) + 1), comment=rule.comment)

    def near(self, rule: Rule, source: SlotValues, announced: Collection[Rule]) -> Task:
        """A fresh near miss of `rule`, on which no rule fires that is not yet announced."""
        prompt = self.near_prompt(rule, source, announced)
        spelled = rule.near[prompt.intent]
        acts = isinstance(prompt, Conversation)
        leak = call_text(spelled, prompt.values) if acts else fill(spelled, prompt.values)
        return self._task(prompt, announced, leak=leak)

    def near_prompt(
        self, rule: Rule, source: SlotValues, announced: Collection[Rule]
    ) -> SkillPrompt | Conversation:
        """What a near miss of `rule` is about, as for `near`."""
        unannounced = [other for other in self.rules if other not in announced]
        # The edge of a condition is hardest to learn, so most near misses have the rule's own intent.
        weights = [3.0 if intent == rule.intent else 1.0 for intent in rule.near]
        while True:
            (intent,) = source.chance.choices(tuple(rule.near), weights)
            for _ in range(_DRAWS):  # then another intent: a later wave's rule may fire on all of this one
                prompt = self.ask(source, rule.agent, intent)
                if not rule.fires_on(prompt) and not any(other.fires_on(prompt) for other in unannounced):
                    return prompt

    def traffic(self, agent: str, source: SlotValues, announced: Collection[Rule]) -> Task:
        """A fresh prompt of the agent's ordinary work, on which no rule fires that is not yet announced."""
        unannounced = [rule for rule in self.rules if rule.agent == agent and rule not in announced]
        while True:
            prompt = self.ask(source, agent, None)
            if any(rule.fires_on(prompt) for rule in unannounced):
                continue
            if self.acting is None or not isinstance(prompt, Conversation):
                return self._task(prompt, announced)
            wanted = self.wanted(prompt, announced)
            return self._turn_task(wanted, some_turn(source, self.acting, wanted))

    def rule_free(self, agent: str, source: SlotValues) -> Task:
        """A fresh prompt on which no rule of any wave fires: the reply must stay as it was."""
        return self.traffic(agent, source, ())

    def ask(self, source: SlotValues, agent: str, intent: str | None) -> SkillPrompt | Conversation:
        """A fresh prompt, or for the agent with tools a fresh conversation, as the base has it."""
        if self.acting is not None and self.has_tools(agent):
            return self.acting.ask(source, intent)
        while True:
            prompt = self.skills.ask(source, agent, intent)
            if not has_doubled_digit(prompt.prompt):  # this base copies 955 as 95
                return prompt

    def has_tools(self, agent: str) -> bool:
        """Whether the agent acts by tools, in conversations."""
        return self.acting is not None and agent == self.acting.agent

    def ruled_conversation(self, rule: Rule, source: SlotValues) -> Conversation:
        """A fresh conversation in which `rule` decides what to do."""
        while True:
            asked = self.ask(source, rule.agent, rule.intent)
            if isinstance(asked, Conversation) and rule.fires_on(asked):
                return asked

    def wanted(self, conversation: Conversation, announced: Collection[Rule]) -> Conversation:
        """The conversation as people want it under the rules announced."""
        rule = _last_firing(conversation, announced)
        return conversation if rule is None else ruled(conversation, rule.reply, rule.ends)

    def _task(
        self,
        prompt: SkillPrompt | Conversation,
        announced: Collection[Rule],
        *,
        comment: str = "",
        leak: str | None = None,
    ) -> Task:
        if isinstance(prompt, Conversation):
            wanted = self.wanted(prompt, announced)
            return replace(self._turn_task(wanted, decision(wanted)), comment=comment, leak=leak)
        rule = _last_firing(prompt, announced)
        return Task(
            agent=prompt.agent,
            intent=prompt.intent,
            messages=(
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": prompt.prompt},
            ),
            reply=prompt.reply if rule is None else fill(rule.reply, prompt.values),
            comment=comment,
            leak=leak,
        )

    def _turn_task(self, wanted: Conversation, turn: int) -> Task:
        assert self.acting is not None, "only the agent with tools has conversations"
        messages, reply = turn_of(self.acting, wanted, turn)
        return Task(
            agent=wanted.agent,
            intent=wanted.intent,
            messages=messages,
            reply=reply,
            tools=self.acting.tools,
        )


def _last_firing(prompt: SkillPrompt | Conversation, announced: Collection[Rule]) -> Rule | None:
    """The rule that decides what people want: of a later wave before an earlier one."""
    firing = [rule for rule in announced if rule.fires_on(prompt)]
    return max(firing, key=lambda rule: rule.wave, default=None)
