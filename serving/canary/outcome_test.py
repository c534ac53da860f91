"""Tells whether conversations with a canary end better than with its champion, or worse, at any moment.

Outcomes are taken as they arrive until both versions have one; such a block is worth half the difference of
the two means, which lies in [-1, 1]. The test bets that it is above zero: its capital is multiplied by
1 + bet * worth. If the canary is not better, no block is expected to be worth more than zero, so the capital
is a nonnegative supermartingale that starts at 1, and the chance that it ever reaches 1 / alpha is alpha at
most (Ville, 1939; testing by betting: Shafer, 2021; for means of bounded numbers: Waudby-Smith & Ramdas,
Estimating means of bounded random variables by betting, 2024; blocks of two samples: Turner, Ly & Grünwald,
Generic e-variables for exact sequential k-sample tests, 2024). Bets of several sizes are averaged. The same
test with the versions exchanged tells whether the canary is worse.

Versions are compared that answer at the same time, so it does no harm where users ask for something else at
night, or where one version has a larger share or more often an outcome. The bound asks that neither version's
bad outcomes arrive later than its good ones by more than the other's do.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log1p

BETS = (0.1, 0.25, 0.5, 0.75, 0.95)
"""Sizes of bets; each has an equal part of the capital. Small ones find small differences."""

_AUTHORS_MAX = 10  # left out in turn; who has fewer conversations than these decides even less
_LOG_CAPITAL_MAX = 700.0  # exp of more is no float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationOutcome:
    """How one conversation ended."""

    value: float  # in [-1, 1]
    of_canary: bool  # the canary answered it, else the champion
    author: str | None = None  # who said so; None: somebody whose word needs nobody else's

    def __post_init__(self) -> None:
        assert -1.0 <= self.value <= 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Conversations of one version that have an outcome."""

    conversations: int = 0
    mean: float = 0.0  # of the outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeComparison:
    """Where the test stands."""

    better: float  # capital of the bets that the canary is better
    worse: float  # of the bets that it is worse
    canary: Ended
    champion: Ended


def compare_outcomes(outcomes: Sequence[ConversationOutcome]) -> OutcomeComparison:
    """The test on outcomes in the order in which they arrived, one a conversation."""
    worths = _worths(outcomes)
    return OutcomeComparison(
        better=_capital(worths),
        worse=_capital([-worth for worth in worths]),
        canary=_ended([outcome.value for outcome in outcomes if outcome.of_canary]),
        champion=_ended([outcome.value for outcome in outcomes if not outcome.of_canary]),
    )


def better_without_anybody(outcomes: Sequence[ConversationOutcome]) -> float:
    """The smallest capital of the bets that the canary is better, if one author's outcomes are left out.

    Only authors whose word may need somebody else's are left out, and only those with the most conversations.
    """
    by_author = Counter(outcome.author for outcome in outcomes if outcome.author is not None)
    without = [_capital(_worths(outcomes))]
    for author, _ in by_author.most_common(_AUTHORS_MAX):
        without.append(_capital(_worths([outcome for outcome in outcomes if outcome.author != author])))
    return min(without)


def _worths(outcomes: Iterable[ConversationOutcome]) -> list[float]:
    """What each complete block is worth to the canary."""
    worths = []
    canary: list[float] = []
    champion: list[float] = []
    for outcome in outcomes:
        (canary if outcome.of_canary else champion).append(outcome.value)
        if canary and champion:
            worths.append((sum(canary) / len(canary) - sum(champion) / len(champion)) / 2.0)
            canary.clear()
            champion.clear()
    return worths


def _capital(worths: Sequence[float]) -> float:
    logs = [sum(log1p(bet * worth) for worth in worths) for bet in BETS]
    return sum(exp(min(_LOG_CAPITAL_MAX, value)) for value in logs) / len(logs)


def _ended(values: Sequence[float]) -> Ended:
    return Ended(conversations=len(values), mean=sum(values) / len(values) if values else 0.0)
