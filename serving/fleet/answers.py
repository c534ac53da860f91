"""Asks champion and candidate the same questions on one replica, and measures the answers for the gate.

The models generate their answers. The log-probabilities of given texts would be no evidence: a model can
score well on them and still generate nonsense.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from ledger.versions.evidence import Pair
from ledger.versions.lineage import Version
from rewards.episode import Message
from serving.fleet.gate import AnswerStatistics, sign_of
from serving.fleet.questions import Question
from serving.fleet.replica import Completion, Replica, ReplicaRefused
from serving.replaying.replay import Replay, replay
from serving.scoring.forms import holds_json, is_json
from serving.scoring.harm import HarmScorer
from serving.scoring.tool_calls.comparison import calls_in_one_form
from serving.scoring.tool_calls.rules import call_rules

_Result = TypeVar("_Result")

SAMPLES = 8
"""Sampled answers of the champion to one question."""

_REPETITION_CHARS_MAX = 4000  # of an answer, when looking for repetition
_REPEATED = re.compile(r"(.{1,40}?)\1{5,}", re.DOTALL)


class Interrupted(Exception):
    """The role is stopping or lost its lease; nothing was decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskingOptions:
    """What the operator decides about the questions that a replica is asked."""

    tokens_max: int  # of an answer
    in_flight_max: int  # questions at once


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredQuestion:
    """One question with both answers."""

    question: Question
    before: Completion
    after: Completion


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedModels:
    """Names on the replica: the champion (before) and the candidate (after)."""

    before: str
    after: str


def model_name(replica: Replica, version: Version | None) -> str:
    """The name of the version on the replica; None is the base. Raises `ReplicaUnavailable`."""
    return (replica.base_name() or "") if version is None else version.model


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Asks both models on one replica.

    Its methods raise `ReplicaUnavailable`, and `Interrupted` once `stopping` is set.
    """

    replica: Replica
    models: JudgedModels
    options: AskingOptions
    stopping: threading.Event

    def both(self, questions: Sequence[Question]) -> list[AnsweredQuestion]:
        """Both models' greedy answers. Prompts that the replica refuses (too long) are left out."""

        def ask_both(question: Question) -> AnsweredQuestion:
            before, after = (
                self.replica.answer(
                    model, question.messages, self.options.tokens_max, request=question.request
                )
                for model in (self.models.before, self.models.after)
            )
            return AnsweredQuestion(question=question, before=before, after=after)

        return [answered for answered in self._map(ask_both, questions) if answered is not None]

    def replays(
        self, answered: AnsweredQuestion, recorded: Sequence[Message], check_time: Callable[[], None]
    ) -> tuple[Replay, Replay]:
        """How the recorded conversation goes on with both models. `check_time` is called before each turn."""

        def go_on(model: str, answer: Completion) -> Replay:
            def say(later: Sequence[Message]) -> str | None:
                check_time()
                prompt = (*answered.question.messages, *later)
                try:
                    return self.replica.answer(
                        model, prompt, self.options.tokens_max, request=answered.question.request
                    ).text
                except ReplicaRefused as refusal:
                    if refusal.status == 404:
                        raise
                    return None

            return replay(answer.text, recorded, answered.question.request, say)

        return go_on(self.models.before, answered.before), go_on(self.models.after, answered.after)

    def champion_samples(self, questions: Sequence[Question]) -> list[Sequence[str]]:
        """The champion's answers to each question, sampled at temperature 1; none where it is refused."""

        def sample(question: Question) -> Sequence[str]:
            completions = self.replica.sample(
                self.models.before,
                question.messages,
                self.options.tokens_max,
                request=question.request,
                count=SAMPLES,
            )
            return [completion.text for completion in completions]

        return [texts or () for texts in self._map(sample, questions)]

    def _map(
        self, ask: Callable[[Question], _Result], questions: Sequence[Question]
    ) -> Iterator[_Result | None]:
        """What `ask` gives for each question; None where the replica refuses the prompt."""

        def ask_unless_stopping(question: Question) -> _Result | None:
            if self.stopping.is_set():
                raise Interrupted
            try:
                return ask(question)
            except ReplicaRefused as refusal:
                if refusal.status == 404:  # a model vanished: the replica restarted
                    raise
                return None

        pool = ThreadPoolExecutor(self.options.in_flight_max, thread_name_prefix="judging")
        try:
            yield from pool.map(ask_unless_stopping, questions)
        finally:
            pool.shutdown(cancel_futures=True)


ChampionSamples = Callable[[Sequence[Question]], Sequence[Sequence[str]]]
"""What the champion says to each question when it is sampled several times."""


class AnswerScorer(Protocol):
    """Scores answers of one candidate and of its champion."""

    def score(self, answer: str, wanted: str, *, shown: str) -> float:
        """A number in [0, 1]. `shown` is the prompt, as JSON."""

    def comparison(self, wanted: str) -> str:
        """The name of the comparison that this wanted answer gets."""


def score_pairs(answered: Sequence[AnsweredQuestion], scorer: AnswerScorer) -> list[Pair]:
    """The scores of both answers to each question."""

    def worth(question: Question, answer: Completion) -> float:
        shown = json.dumps(question.messages, default=str)
        rules = call_rules(question.request)
        said, wanted = (calls_in_one_form(text, rules) for text in (answer.text, question.wanted))
        return scorer.score(said, wanted, shown=shown)

    return [
        Pair(
            event=answer.question.event,
            before=worth(answer.question, answer.before),
            after=worth(answer.question, answer.after),
            by=scorer.comparison(answer.question.wanted),
        )
        for answer in answered
    ]


def score_twice(
    answered: Sequence[AnsweredQuestion],
    scorer: AnswerScorer,
    ask_both: Callable[[Sequence[Question]], Sequence[AnsweredQuestion]],
) -> tuple[Pair, ...]:
    """The scores of both answers; questions whose scores differ are asked once more, and scored again."""
    first = score_pairs(answered, scorer)
    differing = {pair.event for pair in first if sign_of(pair)}
    again = ask_both([answer.question for answer in answered if answer.question.event in differing])
    return with_second_scores(first, score_pairs(again, scorer))


def with_agreement(
    pairs: Sequence[Pair],
    answered: Sequence[AnsweredQuestion],
    scorer: HarmScorer,
    champion_samples: ChampionSamples,
) -> tuple[Pair, ...]:
    """The pairs, with the champion's agreement with itself where a short reply of its own was lost.

    Nobody said of such a reply that it is right. Where the champion, sampled, mostly says something else, the
    reply is one wording among others and not a decision.
    """
    doubtful = [
        answer.question
        for pair, answer in zip(pairs, answered, strict=True)
        if sign_of(pair) < 0
        and answer.question.is_unopposed
        and scorer.may_be_reworded(answer.after.text, answer.question.wanted)
    ]
    agreement = {
        question.event: sum(scorer.score(text, question.wanted) == 1.0 for text in texts) / len(texts)
        for question, texts in zip(doubtful, champion_samples(doubtful), strict=True)
        if texts
    }
    return tuple(replace(pair, agreement=agreement.get(pair.event)) for pair in pairs)


def with_second_scores(first: Sequence[Pair], second: Sequence[Pair]) -> tuple[Pair, ...]:
    """The first pairs, with the scores of those that were asked again."""
    second_scores = {pair.event: (pair.before, pair.after) for pair in second}
    return tuple(replace(pair, again=second_scores.get(pair.event)) for pair in first)


def measure_answers(answers: Sequence[tuple[Question, Completion]]) -> AnswerStatistics:
    """Lengths and faults of one model's answers."""
    texts = [(question.wanted, answer.text) for question, answer in answers]
    return AnswerStatistics(
        answers=len(texts),
        characters=sum(len(text) for _, text in texts),
        characters_wanted=sum(
            min(len(question.wanted), len(answer.text))
            if answer.finish_reason == "length"
            else len(question.wanted)
            for question, answer in answers
        ),
        repetitive=sum(is_repetitive(text) and not is_repetitive(wanted) for wanted, text in texts),
        cut_short=sum(_is_cut(question.wanted, answer) for question, answer in answers),
        unparsable=sum(holds_json(wanted) and not is_json(text) for wanted, text in texts),
    )


def _is_cut(wanted: str, answer: Completion) -> bool:
    """Whether the answer reached the limit of tokens though less was wanted."""
    return answer.finish_reason == "length" and len(answer.text) >= len(wanted)


def is_repetitive(text: str) -> bool:
    """Whether half of the text or more is one sequence with a letter or digit, six times or more in a row."""
    repetitions = (
        match for match in _REPEATED.finditer(text[:_REPETITION_CHARS_MAX]) if re.search(r"\w", match[0])
    )
    return any(len(match[0]) * 2 >= len(text) for match in repetitions)
