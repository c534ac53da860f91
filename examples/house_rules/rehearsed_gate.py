"""The gate's ruling where both models ran in this process: its own decision functions, without a replica."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from daemon.settings import GateSettings
from engine.measurements import Absent
from ledger.events import KeptEvent
from ledger.versions.evidence import Pair
from rewards.replies import reply_text
from rewards.suite import SuiteQuestion
from serving.fleet.answers import (
    AnsweredQuestion,
    ChampionSamples,
    measure_answers,
    score_pairs,
    with_agreement,
)
from serving.fleet.gate import AnswerStatistics, GateEvidence, GateLimits, Ruling, judge
from serving.fleet.parity import Parity
from serving.fleet.questions import Question
from serving.fleet.replica import Completion
from serving.scoring.gain import GainScorer
from serving.scoring.harm import HarmScorer

_SERVED_AS_TRAINED = Parity(
    probes=1, tokens=1, distance_nats=1.0, difference_nats=0.0, base_difference_nats=0.0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateQuestions:
    """What a candidate is asked, and what its agent's answers are compared by."""

    gate: Sequence[SuiteQuestion]
    suite: Sequence[SuiteQuestion]
    taught: Sequence[str]  # replies that the candidate was taught
    scorer: str
    authors: Mapping[str, str]  # of those who do not count alone, by uid

    @property
    def all(self) -> list[SuiteQuestion]:
        """Those of the gate, then those of the suite."""
        return [*self.gate, *self.suite]


def question_about(kept: KeptEvent) -> SuiteQuestion:
    """A correction as a question."""
    event = kept.event
    return SuiteQuestion(
        seq=kept.seq,
        uid=event.uid,
        messages=tuple(event.data["messages"]),
        request={"tools": event.data["tools"]} if "tools" in event.data else {},
        expected=reply_text(event.data["corrected"]),
    )


def rule_on_answers(
    asked: GateQuestions,
    before: Sequence[Completion],
    after: Sequence[Completion],
    *,
    champion_samples: ChampionSamples,
) -> Ruling:
    """The ruling on both models' answers to all questions, scored as a fleet role scores them.

    It does not ask twice what differs: in one process the answers would be the same.
    """
    answered = [
        AnsweredQuestion(
            question=Question(
                event=question.uid,
                messages=question.messages,
                request=question.request,
                wanted=question.expected,
                is_unopposed=question.is_unopposed,
            ),
            before=was,
            after=now,
        )
        for question, was, now in zip(asked.all, before, after, strict=True)
    ]
    wanted = [*(question.expected for question in asked.gate), *asked.taught]
    on_gate, on_suite = answered[: len(asked.gate)], answered[len(asked.gate) :]
    harm = HarmScorer(asked.scorer, wanted)
    return rule(
        score_pairs(on_gate, GainScorer(asked.scorer, wanted)),
        with_agreement(score_pairs(on_suite, harm), on_suite, harm, champion_samples),
        authors=asked.authors,
        before=measure_answers([(answer.question, answer.before) for answer in answered]),
        after=measure_answers([(answer.question, answer.after) for answer in answered]),
    )


def rule(
    gate: Sequence[Pair],
    suite: Sequence[Pair],
    *,
    authors: Mapping[str, str],
    before: AnswerStatistics | None = None,
    after: AnswerStatistics | None = None,
) -> Ruling:
    """The ruling on a first try, with the default settings.

    `authors` are those who do not count alone, by uid.
    """
    return judge(
        GateEvidence(
            attempt=1,
            gate=tuple(gate),
            suite=tuple(suite),
            authors=authors,
            before=before or AnswerStatistics(),
            after=after or AnswerStatistics(),
            parity=_SERVED_AS_TRAINED,
            kl_nats=Absent("a rehearsal has no budget"),
        ),
        GateLimits(
            alpha=GateSettings().alpha,
            kl_nats_max=None,
            authors_min=1,
            suite_min=GateSettings().suite_min,
        ),
    )
