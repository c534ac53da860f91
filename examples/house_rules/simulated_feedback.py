"""Feedback on a local agent, wave after wave, and the turn that clorad would make of it.

Simulated people approve right replies and correct wrong ones, as in the demo; or they approve nothing, and
correct a part of what is wrong. Labels, batches, training and the gate's judgement are clorad's own code.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from daemon.settings import GateSettings
from engine.lesson import Learned, Lesson
from engine.recipe import Recipe, recipe_from
from examples.base_model.slots import SlotValues, read_words
from examples.house_rules.local_agent import LocalAgent
from examples.house_rules.people.developer import NEAR_SHARE
from examples.house_rules.recipe import RECIPE
from examples.house_rules.rehearsed_gate import GateQuestions, question_about, rule
from examples.house_rules.rehearsed_roles import role_of
from examples.house_rules.world import Task, World
from ledger.events import Event, Interaction, KeptEvent, Kind, Role, Status
from ledger.versions.evidence import Pair
from rewards.baseline import NO_BASELINES
from rewards.batch import choose
from rewards.episode import without_spans
from rewards.exchange import History
from rewards.labelling import episodes_of_turn
from rewards.replies import Reply, reply_text
from rewards.silence import unopposed
from rewards.suite import SuiteQuestion, suite
from rewards.supporters import Supporters, find_supporters
from serving.fleet.gate import Ruling

SUITE_MAX = 48  # as in the demo
_ROUND = 32  # questions about the rules, and as many about other things
_ROUNDS_MAX = 12
_TRIES = 5  # rounds of asking until enough replies were right, or wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How an agent is taught. The defaults are clorad's way; a benchmark leaves parts of it out."""

    recipe: Recipe = field(default_factory=lambda: recipe_from(RECIPE))
    corrections: int = 25  # to train on, in each wave
    gate_corrections: int = 10  # to judge by, in each wave, where people approve what is right
    replay_max: int = 64
    anchors_max: int = 160
    approvals: int = 160  # in each wave: what nobody objects to in the demo is approved here
    spans: bool = True  # whether the changed characters of a correction count for more
    authors: int = 2  # people who correct and approve, in turn
    authors_min: int = GateSettings().authors_min
    spoilt: float = 0.0  # share of corrections with the text that belongs to another prompt
    corrected_share: float | None = None  # of the wrong answers; None: all, and people approve right ones


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsedTurn:
    """What one turn learned, and the gate's ruling on it."""

    learned: Learned
    ruling: Ruling


class SimulatedFeedback:
    """All feedback on one agent so far, as the ledger would hold it."""

    def __init__(
        self, world: World, agent: str, local_agent: LocalAgent, *, seed: int, method: Method | None = None
    ) -> None:
        self._world = world
        self._agent = agent
        self._local_agent = local_agent
        self._method = method or Method()
        self._source = SlotValues(random.Random(f"{seed} {agent}"), read_words(), held_out=False)
        self._spoils = SlotValues(random.Random(f"{seed} {agent} spoils"), read_words(), held_out=False)
        self._kept: list[KeptEvent] = []
        self._captured: list[Interaction] = []  # replies that nobody said anything about
        self._seed = seed

    def teach(self, wave: int) -> RehearsedTurn | None:
        """Give the wave's corrections and approvals, train one turn on them, and judge it.

        None where all corrections wait for a second person: then nothing is trained.
        """
        given = self.give(wave)
        if given is None:
            return None
        lesson, asked = given
        before = self._scores(asked.all)
        learned = self._local_agent.learn(lesson)
        pairs = [
            Pair(event=question.uid, before=was, after=now)
            for question, was, now in zip(asked.all, before, self._scores(asked.all), strict=True)
        ]
        ruling = rule(pairs[: len(asked.gate)], pairs[len(asked.gate) :], authors=asked.authors)
        return RehearsedTurn(learned=learned, ruling=ruling)

    def give(self, wave: int) -> tuple[Lesson, GateQuestions] | None:
        """Give the wave's corrections and approvals; the turn's lesson, and the questions that judge it.

        None where all corrections wait for a second person.
        """
        trained = self._events(Kind.CORRECTION, Role.TRAIN)
        earlier_gate = self._events(Kind.CORRECTION, Role.GATE)
        if self._method.corrected_share is None:
            self._approve_and_correct(wave)
        else:
            self._correct_some(wave, self._method.corrected_share)
        confirmed = self._supporters().confirmed(self._events(Kind.CORRECTION))
        new = [kept for kept in confirmed if kept.event.role is Role.TRAIN and kept not in trained]
        held_out = [kept for kept in confirmed if kept.event.role is Role.GATE and kept not in earlier_gate]
        if not new:
            return None
        authors = {kept.event.uid: kept.event.author for kept in self._kept}
        asked = GateQuestions(
            gate=[question_about(kept) for kept in held_out],
            suite=self._suite([*new, *held_out], earlier_gate),
            taught=[reply_text(kept.event.data["corrected"]) for kept in new],
            scorer=self._world.scorers[self._agent],
            authors=authors if self._method.authors_min > 1 else {},
        )
        return self._lesson(new, trained, wave), asked

    def _approve_and_correct(self, wave: int) -> None:
        method = self._method
        # In this order, for the reason that people/developer.py gives.
        self._give(Kind.CORRECTION, lambda: self._rule_task(wave), method.corrections, (Role.TRAIN,))
        self._give(Kind.APPROVE, lambda: self._other_task(wave), method.approvals, tuple(Role))
        self._give(Kind.CORRECTION, lambda: self._rule_task(wave), method.gate_corrections, (Role.GATE,))

    def _correct_some(self, wave: int, share: float) -> None:
        """Answer questions about the wave's rules and others until enough answers were corrected."""
        chance = self._source.chance
        missing = self._method.corrections
        for _ in range(_ROUNDS_MAX):
            tasks = [make(wave) for _ in range(_ROUND) for make in (self._rule_task, self._other_task)]
            for task, reply in zip(tasks, self._local_agent.said(tasks), strict=True):
                if reply_text(reply) != task.wanted and missing and chance.random() < share:
                    self._kept.append(self._event(Kind.CORRECTION, task, reply))
                    missing -= role_of(self._agent, task.messages) is Role.TRAIN
                elif reply:
                    self._captured.append(self._capture(task, reply))
            if not missing:
                return

    def _rule_task(self, wave: int) -> Task:
        """A prompt on which a rule of the wave fires; spoilt ones want the reply to another prompt."""
        rules = self._world.of_wave(self._agent, wave)
        announced = self._world.announced(self._agent, wave)
        task = self._world.corrected(self._source.chance.choice(rules), self._source, announced)
        if self._spoils.chance.random() >= self._method.spoilt:
            return task
        other = self._world.fires(self._spoils.chance.choice(rules), self._spoils, announced)
        return replace(task, reply=other.reply)

    def _other_task(self, wave: int) -> Task:
        """A near miss of the wave's rules, or ordinary work."""
        chance = self._source.chance
        if chance.random() < NEAR_SHARE:
            rules = self._world.of_wave(self._agent, wave)
            announced = self._world.announced(self._agent, wave)
            return self._world.near(chance.choice(rules), self._source, announced)
        earlier = self._world.announced(self._agent, wave - 1)
        return self._world.traffic(self._agent, self._source, earlier)

    def _suite(self, new: Sequence[KeptEvent], earlier_gate: Sequence[KeptEvent]) -> Sequence[SuiteQuestion]:
        """Questions that the agent answers well already and that nothing new contradicts."""
        return suite(
            approvals=self._events(Kind.APPROVE, Role.GATE),
            silent=self._silent(Role.GATE),
            taught_gate=earlier_gate,
            new=new,
            corrections=self._events(Kind.CORRECTION),
            interactions=self._history().interactions,
            supporters=self._supporters(),
            seed=self._seed,
            questions_max=SUITE_MAX,
        )

    def _supporters(self) -> Supporters:
        authors_min = self._method.authors_min
        return find_supporters(
            self._events(Kind.CORRECTION), history=self._history(), authors_min=authors_min
        )

    def _silent(self, role: Role) -> list[KeptEvent]:
        """Replies that nobody objected to, and that no correction's rule would change."""
        corrections, history = self._events(Kind.CORRECTION), self._history()
        replies = [capture for capture in self._captured if capture.role is role]
        return unopposed(replies, corrections, history=history, supporters=self._supporters())

    def _history(self) -> History:
        return History(interactions={capture.id: capture for capture in self._captured}, conversations={})

    def _capture(self, task: Task, reply: Reply) -> Interaction:
        return Interaction(
            id=f"capture-{len(self._captured)}",
            agent=task.agent,
            version="",
            conversation=None,
            turn=None,
            messages=tuple(task.messages),
            completion=reply_text(reply),
            reply=None if isinstance(reply, str) else reply,
            request={"tools": list(task.tools)} if task.tools else {},
            token_ids=None,
            logprobs=None,
            sampling={},
            finish_reason="stop",
            prompt_group=task.prompt,
            role=role_of(task.agent, task.messages),
        )

    def _scores(self, questions: Sequence[SuiteQuestion]) -> list[float]:
        """1 where the agent answers as people want, else 0."""
        replies = self._local_agent.replies(
            [(question.messages, question.request.get("tools", ())) for question in questions]
        )
        return [
            float(reply_text(reply) == question.expected)
            for reply, question in zip(replies, questions, strict=True)
        ]

    def _give(self, kind: Kind, make: Callable[[], Task], count: int, roles: Sequence[Role]) -> None:
        """Keep `count` more events of these roles: approvals of right replies, corrections of wrong ones."""
        missing = count
        for _ in range(_TRIES):
            tasks: list[Task] = []
            while len(tasks) < missing:
                if role_of(self._agent, (task := make()).messages) in roles:
                    tasks.append(task)
            for task, reply in zip(tasks, self._local_agent.said(tasks), strict=True):
                if (reply_text(reply) == task.wanted) == (kind is Kind.APPROVE):
                    self._kept.append(self._event(kind, task, reply))
                    missing -= 1
            if not missing:
                return

    def _event(self, kind: Kind, task: Task, reply: Reply) -> KeptEvent:
        seq = len(self._kept) + 1
        data = {**task.request, "said": reply}
        if kind is Kind.CORRECTION:
            data = {**task.request, "rejected": reply, "corrected": task.reply}
        event = Event(
            source="rehearsal",
            id=str(seq),
            digest="",
            kind=kind,
            agent=task.agent,
            author=f"developer-{seq % self._method.authors + 1}",
            role=role_of(task.agent, task.messages),
            prompt_group=task.prompt,
            data=data,
        )
        return KeptEvent(seq=seq, event=event, status=Status.OPEN, received_s=float(seq))

    def _events(self, kind: Kind, *roles: Role) -> list[KeptEvent]:
        """The events of a kind, of these roles or of all."""
        wanted_roles = roles or tuple(Role)
        return [kept for kept in self._kept if kept.event.kind is kind and kept.event.role in wanted_roles]

    def _lesson(self, new: Sequence[KeptEvent], trained: Sequence[KeptEvent], wave: int) -> Lesson:
        seed, history = self._seed * 100 + wave, self._history()
        choice = choose(
            new=new,
            taught=trained,
            approvals=self._events(Kind.APPROVE, Role.TRAIN),
            silent=self._silent(Role.TRAIN),
            gate=self._events(Kind.CORRECTION, Role.GATE),
            dev=self._events(Kind.CORRECTION, Role.DEV),
            interactions=history.interactions,
            supporters=self._supporters(),
            seed=seed,
            replay_max=self._method.replay_max,
            anchors_max=self._method.anchors_max,
        )
        episodes = tuple(
            episode
            for part, members in choice.parts.items()
            for episode in episodes_of_turn(members, part=part, history=history, baselines=NO_BASELINES)
        )
        return Lesson(
            agent=self._agent,
            parent=self._local_agent.version,
            recipe=self._method.recipe,
            seed=seed,
            episodes=episodes if self._method.spans else tuple(map(without_spans, episodes)),
        )
