"""The gate promotes a candidate without an effect no more often than `alpha`, also where prose is wanted.

The answers are simulated; scoring and judging are the real code. A score depends on texts only, so each is
computed once.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from math import comb

import pytest

from engine.measurements import Absent
from ledger.versions.decisions import Verdict
from serving.fleet.answers import AnsweredQuestion, score_pairs
from serving.fleet.gate import AnswerStatistics, GateEvidence, judge
from serving.fleet.questions import Question
from serving.fleet.replica import Completion
from serving.scoring.gain import GainScorer
from tests.unit.serving.fleet.options_builder import build_limits
from tests.unit.serving.fleet.test_gate import GOOD_PARITY

PROMPTS, WORDINGS, TRIES, AGENTS = 12, 8, 2, 1000
ALPHA = 0.05
SUBJECTS = ("table", "kettle", "lamp", "chair", "shelf", "carpet", "mirror", "drawer")
FACTS = ("arrives on Friday", "costs nothing to send back", "has two years of guarantee", "is sold out now")
OTHER = (
    "and",
    "so",
    "it",
    "may",
    "be",
    "that",
    "for",
    "you",
    "we",
    "also",
    "in",
    "a",
    "of",
    "then",
    "please",
)


@dataclass
class SimulatedProse:
    """Prompts that want prose, and some wordings of an answer to each, from bad to good."""

    chance: random.Random = field(default_factory=lambda: random.Random(20261130))

    def __post_init__(self) -> None:
        self.wanted = [
            f"Dear customer, thank you for asking about the {SUBJECTS[n % 8]} number {n}. "
            f"It {FACTS[n % 4]}, we are glad to say. Kind regards from all of us"
            for n in range(PROMPTS)
        ]
        scorer = GainScorer("auto", self.wanted)
        self.comparison: Callable[[str], str] = cache(scorer.comparison)
        self.score: Callable[..., float] = cache(scorer.score)
        self.wordings = [
            sorted(
                (self._reworded(text) for _ in range(WORDINGS)),
                key=lambda wording, text=text: scorer.score(wording, text),
            )
            for text in self.wanted
        ]

    def _reworded(self, text: str) -> str:
        kept = self.chance.uniform(0.4, 0.95)
        return " ".join(
            word if self.chance.random() < kept else self.chance.choice(OTHER) for word in text.split()
        )

    def verdict(self, before: Callable[[int], str], after: Callable[[int], str], attempt: int = 1) -> Verdict:
        """The gate's verdict if champion and candidate say this to the n-th prompt."""
        answered = [
            AnsweredQuestion(
                question=Question(event=f"dev#{n}", messages=(), wanted=wanted),
                before=Completion(text=before(n), finish_reason="stop"),
                after=Completion(text=after(n), finish_reason="stop"),
            )
            for n, wanted in enumerate(self.wanted)
        ]
        gathered = GateEvidence(
            attempt=attempt,
            gate=tuple(score_pairs(answered, self)),
            suite=(),
            before=AnswerStatistics(),
            after=AnswerStatistics(),
            parity=GOOD_PARITY,
            kl_nats=Absent("not trained"),
        )
        return judge(gathered, build_limits(alpha=ALPHA)).verdict

    def any_wording(self, n: int) -> str:
        return self.chance.choice(self.wordings[n])

    def poor_wording(self, n: int) -> str:
        return self.chance.choice(self.wordings[n][:4])

    def good_wording(self, n: int) -> str:
        return self.chance.choice(self.wordings[n][-3:])


@pytest.fixture(scope="module")
def prose() -> SimulatedProse:
    return SimulatedProse()


def highest_count(agents: int, share: float, chance: float = 1e-3) -> int:
    """The count that is exceeded with at most this chance, if each agent has the event with `share`."""
    above, count = 1.0, -1
    while above > chance:
        count += 1
        above -= comb(agents, count) * share**count * (1 - share) ** (agents - count)
    return count


def test_agents_whose_candidates_have_no_effect_are_promoted_no_more_often_than_alpha(
    prose: SimulatedProse,
) -> None:
    promoted = sum(
        any(
            prose.verdict(prose.any_wording, prose.any_wording, attempt) is Verdict.PROMOTE
            for attempt in range(1, TRIES + 1)
        )
        for _ in range(AGENTS)
    )
    assert 0 < promoted <= highest_count(AGENTS, ALPHA)


def test_candidates_whose_prose_is_nearer_are_promoted(prose: SimulatedProse) -> None:
    verdicts = [prose.verdict(prose.poor_wording, prose.good_wording) for _ in range(200)]
    assert verdicts.count(Verdict.PROMOTE) >= 180


def test_candidates_that_say_what_other_prompts_want_are_never_promoted(prose: SimulatedProse) -> None:
    verdicts = [
        prose.verdict(lambda n: prose.wordings[n][0], lambda n, by=by: prose.wanted[(n + by) % PROMPTS])
        for by in range(1, PROMPTS)
    ]
    assert Verdict.PROMOTE not in verdicts
