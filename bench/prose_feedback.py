"""Feedback in natural language as the ledger would hold it, and the lesson that clorad makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.prose_model import ProseModel
from engine.lesson import Lesson
from engine.recipe import Recipe
from examples.house_rules.rehearsed_roles import role_of
from examples.real_base.prose_world import ProsePrompt, ProseWorld
from ledger.events import Event, KeptEvent, Kind, Role, Status
from rewards.batch import choose
from rewards.exchange import History
from rewards.labelling import episodes_of_turn
from rewards.voices import Voices

REPLY_TOKENS_MAX = 64
_SPARE = 4  # prompts drawn for each one that is wanted in a role


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackPlan:
    """How much people say in a wave."""

    corrections: int  # of role train, a rule; those of the other roles come beside them as by hash
    approvals: int  # near misses and chat, half each, of any role; 0: people never approve
    shuffled: bool = False  # the control: every correction has the text of another prompt


@dataclass(slots=True, kw_only=True)
class ProseFeedback:
    """All feedback on one agent."""

    world: ProseWorld
    agent: str
    model: ProseModel
    plan: FeedbackPlan
    seed: int
    kept: list[KeptEvent] = field(default_factory=list)

    def lesson(self, wave: int, *, parent: Path | None, recipe: Recipe) -> Lesson:
        """People gave the wave's feedback; this is the turn about it."""
        taught = self._events(Kind.CORRECTION, Role.TRAIN)
        self._correct(wave)
        self._approve(wave)
        new = [kept for kept in self._events(Kind.CORRECTION, Role.TRAIN) if kept not in taught]
        seed = self.seed * 100 + wave
        choice = choose(
            new=new,
            taught=taught,
            approvals=self._events(Kind.APPROVE, Role.TRAIN),
            gate=self._events(Kind.CORRECTION, Role.GATE),
            dev=self._events(Kind.CORRECTION, Role.DEV),
            interactions={},
            voices=Voices(people={}, authors_min=1),
            seed=seed,
            replay_max=64,
            anchors_max=160,
        )
        history = History(interactions={}, conversations={})
        episodes = tuple(
            episode
            for part, members in choice.parts.items()
            for episode in episodes_of_turn(members, part=part, history=history, baselines={})
        )
        return Lesson(agent=self.agent, parent=parent, recipe=recipe, seed=seed, episodes=episodes)

    def _correct(self, wave: int) -> None:
        for rule in self.world.of_wave(self.agent, wave):
            asked = self.world.about(
                rule, self.plan.corrections * _SPARE, seed=str(self.seed), held_out=False
            )
            chosen, trained = list[ProsePrompt](), 0
            for prompt in asked:
                if trained == self.plan.corrections:
                    break
                trained += role_of(self.agent, prompt.messages) is Role.TRAIN
                chosen.append(prompt)
            wanted = [str(prompt.wanted) for prompt in chosen]
            if self.plan.shuffled:
                wanted = [*wanted[1:], wanted[0]]
            self._keep(Kind.CORRECTION, chosen, wanted)

    def _approve(self, wave: int) -> None:
        """Approve what the base says beside the rules: later versions must still say it."""
        each = self.plan.approvals // 2
        for kind in ("near", "chat"):
            prompts = self.world.beside(self.agent, kind, each, seed=f"{self.seed} {wave}", held_out=False)
            self._keep(Kind.APPROVE, prompts, [""] * len(prompts))

    def _keep(self, kind: Kind, prompts: Sequence[ProsePrompt], wanted: Sequence[str]) -> None:
        replies = self.model.base_replies(
            [prompt.messages for prompt in prompts], tokens_max=REPLY_TOKENS_MAX
        )
        for prompt, reply, right in zip(prompts, replies, wanted, strict=True):
            if kind is Kind.APPROVE and reply:
                self._add(kind, prompt, {"said": reply})
            if kind is Kind.CORRECTION:
                self._add(kind, prompt, {"rejected": reply or "…", "corrected": right})

    def _add(self, kind: Kind, prompt: ProsePrompt, texts: dict[str, str]) -> None:
        seq = len(self.kept) + 1
        event = Event(
            source="bench",
            id=str(seq),
            digest="",
            kind=kind,
            agent=self.agent,
            author="developer",
            role=role_of(self.agent, prompt.messages),
            prompt_group=prompt.text,
            data={"messages": list(prompt.messages), **texts},
        )
        self.kept.append(KeptEvent(seq=seq, event=event, status=Status.OPEN, received_s=float(seq)))

    def _events(self, kind: Kind, role: Role) -> list[KeptEvent]:
        return [kept for kept in self.kept if kept.event.kind is kind and kept.event.role is role]


def counted(lesson: Lesson) -> dict[str, int]:
    """How many episodes the lesson has of each part."""
    parts = [episode.part.value for episode in lesson.episodes]
    return {part: parts.count(part) for part in sorted(set(parts))}
