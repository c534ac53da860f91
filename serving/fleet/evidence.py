"""Gathering what the gate judges: both models' own answers to the same prompts, on one replica.

Teacher-forced numbers are never evidence: a model can look fine on them and speak garbage.
"""

import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from ledger.versions.evidence import Answers, Evidence, Pair
from serving.fleet.gate import GateEvidence, Ruling, Speech
from serving.fleet.questions import Question
from serving.fleet.replica import Completion, Replica, ReplicaRefused
from serving.fleet.scoring import JSON, is_json, score

_READ_CHARS_MAX = 4000  # of an answer, when looking for repetition
_KEPT_CHARS_MAX = 2000  # of an answer, for receipts
_REPEATED = re.compile(r"(.{1,40}?)\1{5,}", re.DOTALL)


class Interrupted(Exception):
    """The role is stopping or lost its lease; nothing was decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How questions are put."""

    tokens_max: int = 256
    in_flight_max: int = 8
    canaries: tuple[str, ...] = ()  # strings that no answer may hold unless they were wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredQuestion:
    """One question with both answers."""

    question: Question
    before: Completion
    after: Completion


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Names on the replica: who serves now, and who wants to."""

    before: str
    after: str


def ask(
    replica: Replica, models: Models, questions: Sequence[Question], asking: Asking, over: threading.Event
) -> list[AnsweredQuestion]:
    """Both models' greedy answers. Prompts the replica refuses (too long) are left out.

    Raises `ReplicaUnavailable`, and `Interrupted` once `over` is set.
    """

    def put(question: Question) -> AnsweredQuestion | None:
        if over.is_set():
            raise Interrupted
        try:
            before, after = (
                replica.answer(model, question.messages, asking.tokens_max)
                for model in (models.before, models.after)
            )
        except ReplicaRefused as refusal:
            if refusal.status == 404:  # a model vanished: the replica restarted
                raise
            return None
        return AnsweredQuestion(question=question, before=before, after=after)

    pool = ThreadPoolExecutor(asking.in_flight_max, thread_name_prefix="judging")
    try:
        return [answered for answered in pool.map(put, questions) if answered is not None]
    finally:
        pool.shutdown(cancel_futures=True)


def pairs(answered: Sequence[AnsweredQuestion], scorer: str) -> list[Pair]:
    """Scores of both answers to each question."""
    return [
        Pair(
            event=one.question.event,
            before=score(scorer, one.before.text, one.question.wanted),
            after=score(scorer, one.after.text, one.question.wanted),
        )
        for one in answered
    ]


def confirmed(first: Sequence[Pair], second: Sequence[Pair]) -> tuple[Pair, ...]:
    """The first pairs, with the scores of those that were asked again."""
    again = {pair.event: (pair.before, pair.after) for pair in second}
    return tuple(
        Pair(event=pair.event, before=pair.before, after=pair.after, again=again.get(pair.event))
        for pair in first
    )


def speech(answers: Sequence[tuple[Question, Completion]], *, scorer: str, canaries: Sequence[str]) -> Speech:
    """How one model spoke."""
    said = [(question.wanted, answer.text) for question, answer in answers]
    return Speech(
        answers=len(said),
        characters=sum(len(text) for _, text in said),
        characters_wanted=sum(len(wanted) for wanted, _ in said),
        repetitive=sum(is_repetitive(text) and not is_repetitive(wanted) for wanted, text in said),
        cut_short=sum(answer.finish_reason == "length" for _, answer in answers),
        unparsable=sum(scorer == JSON and is_json(wanted) and not is_json(text) for wanted, text in said),
        canaries=sum(canary in text and canary not in wanted for wanted, text in said for canary in canaries),
    )


def is_repetitive(text: str) -> bool:
    """Whether something with letters or digits in it is said six times in a row, over half of the text."""
    found = (match for match in _REPEATED.finditer(text[:_READ_CHARS_MAX]) if re.search(r"\w", match[0]))
    return any(len(match[0]) * 2 >= len(text) for match in found)


def evidence_of(
    gathered: GateEvidence,
    ruling: Ruling,
    answered: Sequence[AnsweredQuestion],
    *,
    replica: str,
    redact: Callable[[str], str],
) -> Evidence:
    """What the ledger keeps of a decision. `answers` are texts, for receipts: never for logs or topics.

    They are redacted like everything we keep: a model may have made up what looks like a secret.
    """
    return Evidence(
        reasons=ruling.reasons,
        judgement=ruling.judgement,
        attempt=gathered.attempt,
        replica=replica,
        parity=gathered.parity.numbers(),
        gate=gathered.better,
        suite=gathered.suite,
        speech={"before": asdict(gathered.before), "after": asdict(gathered.after)},
        answers={
            one.question.event: Answers(
                before=redact(one.before.text[:_KEPT_CHARS_MAX]),
                after=redact(one.after.text[:_KEPT_CHARS_MAX]),
            )
            for one in answered
        },
    )
