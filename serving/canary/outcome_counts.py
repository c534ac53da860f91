"""Chooses the outcomes that count for a canary and its champion: one a conversation, nobody decides alone."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from feedback.people import person_of
from ledger.versions.canary import CanaryStep, share_at
from ledger.versions.live_outcomes import LiveOutcome
from ledger.versions.routing import is_in_share
from serving.canary.feedback_counts import ONE_AUTHOR_MAX
from serving.canary.outcome_test import ConversationOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedOutcomes:
    """The outcomes that count, in the order in which they arrived, and how many do not."""

    outcomes: tuple[ConversationOutcome, ...] = ()
    unattributed: int = 0  # they name neither a conversation nor an interaction
    of_one_author: int = 0  # their author has more than half of all that count


def count_outcomes(
    arrived: Iterable[LiveOutcome],
    *,
    canary: str,
    champion: str,
    steps: Sequence[CanaryStep],
    authors_min: int,
) -> CountedOutcomes:
    """Each conversation's first outcome, if it was answered by the version that it was drawn for.

    `arrived` is in the ledger's order; `canary` and `champion` are versions, as in v7-3fa2c1. Where nobody
    may decide alone (`authors_min` of two or more), an author whose word needs others' counts for
    `ONE_AUTHOR_MAX` conversations, and further ones up to half of all that count. Whether an outcome counts
    does not depend on its value.
    """
    outcomes: list[ConversationOutcome] = []
    by_author: Counter[str | None] = Counter()
    compared: set[str] = set()
    unattributed = of_one_author = 0
    for outcome in arrived:
        share = share_at(steps, outcome.received_s)
        if not 0.0 < share < 1.0:
            continue
        if outcome.conversation is None:
            unattributed += 1
            continue
        if outcome.conversation in compared:
            continue
        if outcome.answered_s is not None and outcome.answered_s < steps[0].began_s:
            continue  # the answer is older than the canary
        of_canary = is_in_share(outcome.conversation, canary, share)
        if outcome.version not in (None, canary if of_canary else champion):
            continue  # it was answered before its conversation became the canary's
        compared.add(outcome.conversation)
        author = None if outcome.is_trusted or authors_min < 2 else person_of(outcome.author)
        others = len(outcomes) - by_author[author]
        if author is not None and by_author[author] >= max(ONE_AUTHOR_MAX, others + 1):
            of_one_author += 1
            continue
        by_author[author] += 1
        outcomes.append(ConversationOutcome(value=outcome.value, of_canary=of_canary, author=author))
    return CountedOutcomes(outcomes=tuple(outcomes), unattributed=unattributed, of_one_author=of_one_author)
