"""Asks champion and candidate the same questions on one replica, and measures the answers for the gate.

The models generate their answers. The log-probabilities of given texts would be no evidence: a model can
score well on them and still generate nonsense.
"""

import json
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from ledger.versions.evidence import Pair
from ledger.versions.lineage import Version
from serving.fleet.gate import AnswerStatistics, sign_of
from serving.fleet.questions import Question
from serving.fleet.replica import Completion, Replica, ReplicaRefused
from serving.scoring.calls import calls_in_one_order, functions_in_any_order
from serving.scoring.forms import holds_json, is_json

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


def ask(
    replica: Replica,
    models: JudgedModels,
    questions: Sequence[Question],
    options: AskingOptions,
    stopping: threading.Event,
) -> list[AnsweredQuestion]:
    """Both models' greedy answers. Prompts that the replica refuses (too long) are left out.

    Raises `ReplicaUnavailable`, and `Interrupted` once `stopping` is set.
    """

    def ask_both(question: Question) -> AnsweredQuestion | None:
        """Both answers; None where the replica refuses the prompt."""
        if stopping.is_set():
            raise Interrupted
        try:
            before, after = (
                replica.answer(model, question.messages, options.tokens_max, request=question.request)
                for model in (models.before, models.after)
            )
        except ReplicaRefused as refusal:
            if refusal.status == 404:  # a model vanished: the replica restarted
                raise
            return None
        return AnsweredQuestion(question=question, before=before, after=after)

    pool = ThreadPoolExecutor(options.in_flight_max, thread_name_prefix="judging")
    try:
        return [answered for answered in pool.map(ask_both, questions) if answered is not None]
    finally:
        pool.shutdown(cancel_futures=True)


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
        any_order = functions_in_any_order(question.request)
        said, wanted = (calls_in_one_order(text, any_order) for text in (answer.text, question.wanted))
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
