"""Runs one lesson in its slot: the samples of the next step, the steps taken, and when the lesson ends.

The champion's log-probabilities of the samples are read once, before the first step. Samples that it already
answers as corrected are left out; preference, policy and KL terms compare with them.
"""

import math
from collections.abc import Iterable, Sequence

from engine.adapter_weights import Adapter
from engine.base_model import BaseModel
from engine.behaviour import measure_behaviour
from engine.chat_template import UnusableEpisode
from engine.lesson import Learned, Lesson, RefusedEvents
from engine.measurements import Absent, End, TrainingMetrics
from engine.objective import Signals, read_references
from engine.optimizer import StepSizes, step
from engine.packer import Portion, Reference, Tenant
from engine.progress import CHECK_STEPS, ProgressCheck, WatchedSamples, dev_loss_rises, watched_anchors
from engine.rates import peak_rate
from engine.recipe import Recipe, Term
from engine.schedule import Drawn, Length, draw, steps_by_epochs
from engine.tokens import Sample, Tokens
from rewards.episode import Part


def tokenise(lesson: Lesson, tokens: Tokens, *, tokens_max: int) -> tuple[list[Sample], list[RefusedEvents]]:
    """The lesson's samples, and the episodes that were left out with the reason."""
    samples, refused = [], []
    for episode in lesson.episodes:
        try:
            samples.append(tokens.sample(episode, tokens_max=min(tokens_max, lesson.recipe.tokens_max)))
        except UnusableEpisode as complaint:
            refused.append(RefusedEvents(events=episode.events, reason=str(complaint)))
    return samples, refused


class LessonRun:
    """A lesson that is trained in a slot."""

    def __init__(
        self,
        lesson: Lesson,
        slot: int,
        samples: Sequence[Sample],
        refused: Sequence[RefusedEvents],
        base: BaseModel,
        *,
        token_budget: int,
    ) -> None:
        self.lesson, self.slot = lesson, slot
        self.tenant = Tenant(slot=slot, recipe=lesson.recipe)
        self.refused, self.skipped = tuple(refused), list[RefusedEvents]()
        self._base, self._token_budget = base, token_budget
        self._references: dict[int, tuple[Reference, ...]] = {}
        taught = [sample for sample in samples if sample.part is not Part.DEV]
        self._dev = [sample for sample in samples if sample.part is Part.DEV and sample.advantage is None]
        self._watched: list[tuple[Sample, Reference]] = []
        known_places = self._read_champion(taught)
        self.already_known = tuple(event for index in known_places for event in taught[index].events)
        self._references = {
            new: self._references[old]
            for new, old in enumerate(index for index in range(len(taught)) if index not in known_places)
            if old in self._references
        }
        self._samples = [sample for index, sample in enumerate(taught) if index not in known_places]
        new = [sample for sample in self._samples if sample.part is Part.NEW]
        corrections = [sample for sample in new if sample.advantage is None]
        self._new, self.step = len(new), 0
        self._watch = WatchedSamples(
            base,
            self.tenant,
            corrections=corrections,
            anchors=self._watched,
            dev=self._dev,
            token_budget=token_budget,
        )
        self._length = _length(
            lesson.recipe, corrections=len(corrections), with_advantage=len(new) - len(corrections)
        )
        self._peak = peak_rate(lesson.recipe, width=base.width)
        self._checks: list[ProgressCheck] = []
        self._ended = End.STEPS
        self._draws = draw(self._samples, lesson.recipe, lesson.seed)
        self._drawn: list[Drawn] = []
        self._portions: list[Portion] = []
        self._signals: list[Signals] = []
        self._norm_max, self.tokens = 0.0, 0

    @property
    def anything_new(self) -> bool:
        """Whether there are new samples that the champion does not answer as corrected."""
        return self._new > 0

    @property
    def over(self) -> bool:
        """Whether the last step has been taken."""
        return self.step >= self._length.steps

    def portions(self) -> list[Portion]:
        """This step's samples and their coefficients; the same until the step is taken."""
        if not self._portions:
            self._drawn = next(self._draws)
            self._portions = [
                Portion(
                    sample=self._samples[drawn.index],
                    references=self._references.get(drawn.index, ()),
                    coefficients=drawn.coefficients,
                )
                for drawn in self._drawn
            ]
        return self._portions

    def take_step(self, signals: Signals) -> None:
        """Update the slot with the gradient in the arena; the step is skipped if that is not finite."""
        recipe = self.lesson.recipe
        sizes = StepSizes(
            learning_rate=self._length.rate(self._peak, self.step, recipe),
            beta1=recipe.beta1,
            beta2=recipe.beta2,
            weight_decay=recipe.weight_decay,
            clip_norm=recipe.clip_norm,
        )
        norm = step(self._base.arena, self.slot, sizes)
        if math.isfinite(norm):
            self._norm_max = max(self._norm_max, norm)
            self._signals.append(signals)
        else:
            self.skipped.append(
                RefusedEvents(
                    events=self._events_of_step(), reason=f"non-finite gradient at step {self.step}"
                )
            )
        self.tokens += _tokens_of(portion.sample for portion in self._portions)
        self._portions = []
        self.step += 1
        if self._length.cools_from is None:
            self._cool_where_learned()

    def finish(self, adapter: Adapter) -> Learned:
        """The result of the lesson. The slot still holds its weights."""
        return Learned(
            agent=self.lesson.agent,
            parent=self.lesson.parent,
            recipe=self.lesson.recipe,
            metrics=self._metrics(),
            refused=self.refused,
            skipped=tuple(self.skipped),
            already_known=self.already_known,
            state=adapter,
        )

    def _events_of_step(self) -> tuple[str, ...]:
        events = (event for portion in self._portions for event in portion.sample.events)
        return tuple(dict.fromkeys(events))

    def _read_champion(self, taught: Sequence[Sample]) -> set[int]:
        """Read the references of the terms. Returns the corrections that the champion answers already."""
        recipe = self.lesson.recipe
        corrections = {
            index
            for index, sample in enumerate(taught)
            if sample.part is Part.NEW and sample.advantage is None
        }
        anchors = [index for index, sample in enumerate(taught) if sample.part is Part.ANCHOR]
        watched = watched_anchors(anchors)
        with_hidden = set(anchors if recipe.coefficients[Term.KL] > 0.0 else watched)
        with_advantage = {index for index, sample in enumerate(taught) if sample.advantage is not None}
        pairs_count = recipe.coefficients[Term.PREFERENCE] > 0.0
        paired = {index for index, sample in enumerate(taught) if sample.rejected is not None and pairs_count}
        wanted = sorted(corrections | with_hidden | with_advantage | paired)
        self.tokens_read = _tokens_of(taught[index] for index in wanted)
        references = read_references(
            self._base,
            self.tenant,
            [taught[index] for index in wanted],
            token_budget=self._token_budget,
            hidden_too=[index in with_hidden for index in wanted],
        )
        self._references = dict(zip(wanted, references, strict=True))
        self._watched = [(taught[index], self._references[index][0]) for index in watched]
        self._behaviour = measure_behaviour(
            [(taught[index], self._references[index][0]) for index in sorted(with_advantage)],
            champion=self.lesson.champion,
            importance_max=recipe.importance_max,
        )
        return {index for index in corrections if bool(self._references[index][0].top_N.all())}

    def _cool_where_learned(self) -> None:
        """Begin the cooldown if the lesson is learned, its dev loss rises, or no other step is left."""
        if self._length.must_cool(self.step):
            self._length.cool(self.step)
        elif self.step % CHECK_STEPS == 0 and self._length.may_cool(self.step):
            self._checks.append(self._watch.check())
            if self._checks[-1].learned or dev_loss_rises(self._checks):
                self._ended = End.LEARNED if self._checks[-1].learned else End.DEV
                self._length.cool(self.step)

    def _metrics(self) -> TrainingMetrics:
        steps, last = self._signals, self._watch.check()
        assert steps, "a lesson of which no step was taken is not learned"
        counts = {part: sum(sample.part is part for sample in self._samples) for part in Part}
        policy_tokens = sum(signals.policy_tokens for signals in steps)
        terms = sorted({term for signals in steps for term in signals.gradient_size})
        return TrainingMetrics(
            steps=len(steps),
            steps_skipped=len(self.skipped),
            stopped_early=self._ended is End.DEV,
            new=counts[Part.NEW],
            replay=counts[Part.REPLAY],
            anchors=counts[Part.ANCHOR],
            dev=len(self._dev),
            refused=len(self.refused),
            already_known=len(self.already_known),
            tokens=self.tokens,
            gradient_norm_max=self._norm_max,
            loss_first_nats=steps[0].loss,
            loss_last_nats=steps[-1].loss,
            signals={
                term: sum(signals.gradient_size.get(term, 0.0) for signals in steps) / len(steps)
                for term in terms
            },
            clipped_share=sum(signals.clipped_tokens for signals in steps) / policy_tokens
            if policy_tokens
            else None,
            gap_nats=self._behaviour.gap_nats,
            truncated_share=self._behaviour.truncated_share,
            dev_loss_first_nats=[*self._checks, last][0].dev_loss_nats,
            dev_loss_last_nats=last.dev_loss_nats,
            kl_nats=Absent("the lesson had no anchors: nobody has approved replies of this agent")
            if (moved_nats := self._watch.kl_nats()) is None
            else moved_nats,
            ended=self._ended,
            learned_share=last.learned_share,
            kept_share=last.kept_share,
            learning_rate=self._peak,
        )


def _length(recipe: Recipe, *, corrections: int, with_advantage: int) -> Length:
    """A lesson without corrections has no sign of being learned: its length is its epochs."""
    by_epochs = steps_by_epochs(recipe, with_advantage) if with_advantage else recipe.steps_min
    return Length(steps_min=by_epochs, steps=recipe.steps if corrections else by_epochs)


def _tokens_of(samples: Iterable[Sample]) -> int:
    """Tokens of prompts and answers; a prompt counts once for each of its answers."""
    return sum(
        len(sample.prompt_ids) + len(answer.token_ids) for sample in samples for answer in sample.answers
    )
