"""Feedback in natural language as the ledger would hold it, and the lesson that clorad makes of it.

Nobody approves anything. Users ask about the rules and about other things; people correct a part of the
wrong answers. What nobody objected to is what anchors and the no-harm suite can be chosen from.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.prose_model import ProseModel, ProseReply
from daemon.learning.scheduler import evidence_needed
from daemon.setting_groups.learning import LearningSettings
from daemon.settings import GateSettings
from engine.lesson import Lesson
from engine.recipe import Recipe
from examples.house_rules.rehearsed_gate import GateQuestions, question_about
from examples.house_rules.rehearsed_roles import role_of
from examples.real_base.prose_world import ProsePrompt, ProseRule, ProseWorld
from ledger.events import Event, Interaction, KeptEvent, Kind, Role, Status
from rewards.baseline import NO_BASELINES
from rewards.batch import choose
from rewards.exchange import History
from rewards.labelling import episodes_of_turn
from rewards.silence import unopposed
from rewards.suite import suite
from rewards.supporters import Supporters, find_supporters

REPLY_TOKENS_MAX = 96
CORRECTED_SHARE = 0.3
"""Share of the wrong answers that somebody corrects."""

EVIDENCE_NEEDED = evidence_needed(0, alpha=GateSettings().alpha)
"""Gate corrections for which clorad waits before a first turn."""

_UNCORRECTED_MAX = 12  # wrong answers a rule that are captured: to generate all takes longer than to train
_AUTHORS = 2
_PROMPTS_MAX = 40  # drawn for each correction to train on: three in ten are corrected, five of eight of those


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackPlan:
    """How much people say in a wave."""

    corrections: int  # of role train, a rule; those of the other roles come beside them as by hash
    beside: int  # prompts about other things, near misses and chat half each, of any role
    shuffled: bool = False  # the control: every correction has the text of another prompt

    @property
    def authors_min(self) -> int:
        """The default; shuffled corrections are never alike, and would not be trained on at all."""
        return 1 if self.shuffled else GateSettings().authors_min


@dataclass(slots=True, kw_only=True)
class ProseFeedback:
    """All traffic of one agent and all feedback on it."""

    world: ProseWorld
    agent: str
    model: ProseModel
    plan: FeedbackPlan
    seed: int
    kept: list[KeptEvent] = field(default_factory=list)  # corrections
    captured: list[Interaction] = field(default_factory=list)  # replies that nobody objected to
    earlier: int = 0  # corrections before the last wave
    sent: int = 0  # corrections, also those that came too late for the turns

    def ask(self, wave: int) -> None:
        """Users ask the agent as it is now, and people correct a part of what is wrong."""
        self.earlier = len(self.kept)
        corrected: list[tuple[ProsePrompt, str]] = []
        others: list[ProsePrompt] = []
        rules = self.world.of_wave(self.agent, wave)
        for rule in rules:
            about, uncorrected = self._about(rule, gate=math.ceil(EVIDENCE_NEEDED / len(rules)))
            wanted = [str(prompt.wanted) for prompt in about]
            corrected += zip(about, [*wanted[1:], wanted[0]] if self.plan.shuffled else wanted, strict=True)
            others += uncorrected
        seed = f"{self.seed} {wave}"
        for kind in ("near", "chat"):
            others += self.world.beside(self.agent, kind, self.plan.beside // 2, seed=seed, held_out=False)
        prompts = [*(prompt for prompt, _ in corrected), *others]
        # All at once: a step of generation costs the same for one reply and for many.
        replies = self.model.replies([prompt.messages for prompt in prompts], tokens_max=REPLY_TOKENS_MAX)
        for (prompt, right), reply in zip(corrected, replies[: len(corrected)], strict=True):
            if reply.text != right:
                self._add(prompt, rejected=reply.text, corrected=right)
        self._capture(others, replies[len(corrected) :])

    def lesson(self, wave: int, *, parent: Path | None, recipe: Recipe) -> Lesson:
        """The turn about the last wave's corrections."""
        history = self._history()
        new, taught = self._events(Role.TRAIN)
        seed = self.seed * 100 + wave
        choice = choose(
            new=new,
            taught=taught,
            approvals=(),
            silent=self._silent(Role.TRAIN),
            gate=[*self._events(Role.GATE)[0], *self._events(Role.GATE)[1]],
            dev=[*self._events(Role.DEV)[0], *self._events(Role.DEV)[1]],
            interactions=history.interactions,
            supporters=self._supporters(),
            seed=seed,
            replay_max=LearningSettings().replay_max,
            anchors_max=LearningSettings().anchors_max,
        )
        episodes = tuple(
            episode
            for part, members in choice.parts.items()
            for episode in episodes_of_turn(members, part=part, history=history, baselines=NO_BASELINES)
        )
        return Lesson(agent=self.agent, parent=parent, recipe=recipe, seed=seed, episodes=episodes)

    def questions(self) -> GateQuestions:
        """The gate's questions about the last wave, and its no-harm suite."""
        new, judged_before = self._events(Role.GATE)
        asked = suite(
            approvals=(),
            silent=self._silent(Role.GATE),
            taught_gate=judged_before,
            new=[*self._events(Role.TRAIN)[0], *new],
            corrections=self.kept,
            interactions=self._history().interactions,
            supporters=self._supporters(),
            seed=self.seed,
            questions_max=GateSettings().suite_max,
        )
        return GateQuestions(
            gate=[question_about(kept) for kept in new],
            suite=asked,
            taught=[str(kept.event.data["corrected"]) for kept in self._events(Role.TRAIN)[0]],
            scorer=self.world.agents[self.agent].scorer,
            authors=self._authors,
        )

    @property
    def _authors(self) -> dict[str, str]:
        """Who corrected, by uid, where nobody counts alone."""
        alone = self.plan.authors_min <= 1
        return {} if alone else {kept.event.uid: kept.event.author for kept in self.kept}

    def _about(self, rule: ProseRule, *, gate: int) -> tuple[list[ProsePrompt], list[ProsePrompt]]:
        """Prompts about a rule whose answers are corrected, and those whose answers are not.

        People go on until so many corrections judge the rule.
        """
        chance = random.Random(f"{self.seed} {rule.name} corrected")
        prompts = self.world.about(
            rule, self.plan.corrections * _PROMPTS_MAX, seed=str(self.seed), held_out=False
        )
        corrected: list[ProsePrompt] = []
        others: list[ProsePrompt] = []
        missing = Counter({Role.TRAIN: self.plan.corrections, Role.GATE: gate})
        for prompt in prompts:
            if not +missing:
                break
            role = role_of(self.agent, prompt.messages)
            if chance.random() >= CORRECTED_SHARE:
                others.append(prompt)
                continue
            self.sent += 1
            if role is Role.TRAIN and not missing[role]:
                continue  # the next turn learns from it
            missing[role] -= 1
            corrected.append(prompt)
        return corrected, others[:_UNCORRECTED_MAX]

    def _capture(self, prompts: Sequence[ProsePrompt], replies: Sequence[ProseReply]) -> None:
        """Store the whole replies as the gateway does; those that were cut are no anchors."""
        for prompt, reply in zip(prompts, replies, strict=True):
            if reply.ended and reply.text:
                self.captured.append(
                    Interaction(
                        id=f"capture-{len(self.captured)}",
                        agent=self.agent,
                        version="",
                        conversation=None,
                        turn=None,
                        messages=prompt.messages,
                        completion=reply.text,
                        token_ids=None,
                        logprobs=None,
                        sampling={},
                        finish_reason="stop",
                        prompt_group=prompt.text,
                        role=role_of(self.agent, prompt.messages),
                    )
                )

    def _add(self, prompt: ProsePrompt, *, rejected: str, corrected: str) -> None:
        seq, role = len(self.kept) + 1, role_of(self.agent, prompt.messages)
        event = Event(
            source="bench",
            id=str(seq),
            digest="",
            kind=Kind.CORRECTION,
            agent=self.agent,
            author=f"developer-{sum(kept.event.role is role for kept in self.kept) % _AUTHORS}",
            role=role,
            prompt_group=prompt.text,
            data={"messages": list(prompt.messages), "rejected": rejected, "corrected": corrected},
        )
        self.kept.append(KeptEvent(seq=seq, event=event, status=Status.OPEN, received_s=float(seq)))

    def _events(self, role: Role) -> tuple[list[KeptEvent], list[KeptEvent]]:
        """The confirmed corrections of a role: those of the last wave, and those before."""
        confirmed = [kept for kept in self._supporters().confirmed(self.kept) if kept.event.role is role]
        return (
            [kept for kept in confirmed if kept.seq > self.earlier],
            [kept for kept in confirmed if kept.seq <= self.earlier],
        )

    def _silent(self, role: Role) -> list[KeptEvent]:
        replies = [capture for capture in self.captured if capture.role is role]
        return unopposed(replies, self.kept, history=self._history(), supporters=self._supporters())

    def _supporters(self) -> Supporters:
        return find_supporters(self.kept, history=self._history(), authors_min=self.plan.authors_min)

    def _history(self) -> History:
        return History(interactions={capture.id: capture for capture in self.captured}, conversations={})


def counted(lesson: Lesson) -> dict[str, int]:
    """How many episodes the lesson has of each part."""
    parts = [episode.part.value for episode in lesson.episodes]
    return {part: parts.count(part) for part in sorted(set(parts))}
