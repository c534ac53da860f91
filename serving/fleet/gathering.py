"""Asks both models the questions about a candidate, scores the answers, and keeps them as evidence."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from engine.measurements import Absent
from ledger.database import Database
from ledger.versions.evidence import Answers, Circumstances, Evidence
from serving.fleet.answers import (
    AnsweredQuestion,
    Asking,
    measure_answers,
    score_pairs,
    score_twice,
    with_agreement,
    with_second_scores,
)
from serving.fleet.gate import GateEvidence, Ruling, sign_of
from serving.fleet.own_scores import OwnScoring, Scores, ScoringOptions
from serving.fleet.parity import Parity
from serving.fleet.questions import Question
from serving.replaying.recorded import recorded_after
from serving.replaying.replay import Replay
from serving.scoring.forms import Form, form_of
from serving.scoring.gain import GainScorer
from serving.scoring.harm import HarmScorer
from serving.scoring.registry import ScorerRegistry
from serving.scoring.scorers import AUTO

UNASKED = "the replica refuses its prompt: it is too long, or the base's template refuses its messages"
"""Why a question has no answers."""

_KEPT_CHARS_MAX = 2000  # of an answer, for receipts

_JUDGED = (Form.PROSE, Form.MIXED)
"""Forms that a judge is asked about. Of the others it is known without it whether they are as wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The questions about one candidate."""

    gate: Sequence[Question]
    suite: Sequence[Question]
    taught: Sequence[Question]  # for receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The answers and their scores."""

    questions: list[Question]  # without those for receipts
    on_gate: list[AnsweredQuestion]
    on_suite: list[AnsweredQuestion]
    on_taught: list[AnsweredQuestion]
    gate: Scores
    suite: Scores

    @property
    def unasked(self) -> dict[str, str]:
        """Why questions have no answers, by uid. It is the same for both models, so it is no evidence."""
        asked = {answer.question.event for answer in self.answered}
        uids = (question.event for question in self.questions)
        return dict.fromkeys((uid for uid in uids if uid not in asked), UNASKED)

    @property
    def answered(self) -> list[AnsweredQuestion]:
        """All answers."""
        return [*self.on_gate, *self.on_suite, *self.on_taught]

    def evidence(self, *, attempt: int, parity: Parity, kl_nats: float | Absent) -> GateEvidence:
        """What the gate decides by; `attempt` counts tries or looks, from 1."""
        judged = [*self.on_gate, *self.on_suite]
        return GateEvidence(
            attempt=attempt,
            gate=self.gate.pairs,
            suite=self.suite.pairs,
            gate_unscored=self.gate.missing,
            suite_unscored=self.suite.missing,
            before=measure_answers([(answer.question, answer.before) for answer in judged]),
            after=measure_answers([(answer.question, answer.after) for answer in judged]),
            authors={question.event: question.author for question in self.questions if question.author},
            parity=parity,
            kl_nats=kl_nats,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerScoring:
    """How answers are scored, whatever scorer an agent has."""

    scorers: ScorerRegistry
    options: ScoringOptions  # of scorers of the user's own
    redact: Callable[[str], str]  # applied to answers before such a scorer sees them
    database: Database  # of the conversations that are replayed for a scorer that judges them whole

    def gather(
        self, questions: Questions, asking: Asking, *, scorer: str, stopping: threading.Event
    ) -> Gathered:
        """Ask, and score with the scorer of this name. Raises as `gather` does, and `UnknownScorer`."""

        def replays(answered: AnsweredQuestion, check_time: Callable[[], None]) -> tuple[Replay, Replay]:
            question = answered.question
            recorded = recorded_after(self.database, question.event, question.messages)
            return asking.replays(answered, recorded, check_time)

        with self.scorers.opened(scorer) as opened:
            own = (
                None
                if opened is None
                else OwnScoring(
                    opened,
                    name=scorer,
                    options=self.options,
                    redact=self.redact,
                    stopping=stopping,
                    replays=replays,
                )
            )
            return gather(questions, asking, scorer=scorer, own=own)


def gather(questions: Questions, asking: Asking, *, scorer: str, own: OwnScoring | None) -> Gathered:
    """Ask and score. `own` is the agent's scorer unless it is built in. Raises as `asking` and `own` do."""
    on_gate, on_suite, on_taught = (
        asking.both(asked) for asked in (questions.gate, questions.suite, questions.taught)
    )
    wanted = [question.wanted for question in (*questions.gate, *questions.taught)]
    if own is None:
        gate = Scores(pairs=tuple(score_pairs(on_gate, GainScorer(scorer, wanted))))
        suite = _harm_twice(on_suite, HarmScorer(scorer, wanted), asking)
    elif own.is_relative:
        gate = _judged(on_gate, own, wanted)
        suite = _harm_twice(on_suite, HarmScorer(AUTO, wanted), asking)
    else:
        gate, suite = own.scores(on_gate), _own_twice(on_suite, own, asking)
    return Gathered(
        questions=[*questions.gate, *questions.suite],
        on_gate=on_gate,
        on_suite=on_suite,
        on_taught=on_taught,
        gate=gate,
        suite=suite,
    )


def evidence_of(
    judged: GateEvidence,
    ruling: Ruling,
    gathered: Gathered,
    *,
    replica: str,
    redact: Callable[[str], str],
    under: Circumstances | None,
) -> Evidence:
    """What the ledger keeps of a decision. `answers` are texts for receipts: never for logs or topics.

    They are redacted like every text in the ledger: a model may invent what looks like a secret.
    """
    return Evidence(
        reasons=ruling.reasons,
        judgement=ruling.judgement,
        attempt=judged.attempt,
        replica=replica,
        parity=judged.parity.numbers(),
        gate=judged.gate,
        suite=judged.suite,
        answer_counts={"before": asdict(judged.before), "after": asdict(judged.after)},
        unscored={**gathered.unasked, **judged.gate_unscored, **judged.suite_unscored},
        verdicts=dict(gathered.gate.verdicts),
        replays={**gathered.gate.replays, **gathered.suite.replays},
        under=under,
        answers={
            answer.question.event: Answers(
                before=redact(answer.before.text[:_KEPT_CHARS_MAX]),
                after=redact(answer.after.text[:_KEPT_CHARS_MAX]),
            )
            for answer in gathered.answered
        },
    )


def _judged(on_gate: Sequence[AnsweredQuestion], own: OwnScoring, wanted: Sequence[str]) -> Scores:
    """Prose by the judge, what can be compared by the form of the wanted answer."""
    is_prose = [form_of(answer.question.wanted) in _JUDGED for answer in on_gate]
    others = [answer for answer, judged in zip(on_gate, is_prose, strict=True) if not judged]
    scores = own.scores([answer for answer, judged in zip(on_gate, is_prose, strict=True) if judged])
    pairs = (*scores.pairs, *score_pairs(others, GainScorer(AUTO, wanted)))
    return Scores(pairs=pairs, missing=scores.missing, verdicts=scores.verdicts)


def _harm_twice(on_suite: Sequence[AnsweredQuestion], scorer: HarmScorer, asking: Asking) -> Scores:
    """Scores of the suite; questions whose scores differ are asked once more."""
    pairs = score_twice(on_suite, scorer, asking.both)
    return Scores(pairs=with_agreement(pairs, on_suite, scorer, asking.champion_samples))


def _own_twice(on_suite: Sequence[AnsweredQuestion], own: OwnScoring, asking: Asking) -> Scores:
    """Scores of the suite; questions whose scores differ are asked once more, and scored again."""
    first = own.scores(on_suite)
    differing = {pair.event for pair in first.pairs if sign_of(pair)}
    again = own.scores(
        asking.both([answer.question for answer in on_suite if answer.question.event in differing])
    )
    return Scores(
        pairs=with_second_scores(first.pairs, again.pairs),
        missing=first.missing,
        verdicts=first.verdicts,
        replays=first.replays,
    )
