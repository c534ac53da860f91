"""Why the gate did not promote a candidate, as kinds that other code can act on.

Every reason of the gate begins with its cause and a colon, in the words that people read.
"""

from collections.abc import Iterable
from enum import StrEnum


class Cause(StrEnum):
    """One kind of reason."""

    NOT_BETTER = "not better"  # it fell short: too few prompts won
    HARM = "harm"  # prompts of the no-harm suite became worse
    REPETITIVE = "repetitive"
    CUT_SHORT = "cut_short"
    UNPARSABLE = "unparsable"
    LENGTH = "length"
    KL = "kl"  # further from the champion than the budget
    PARITY = "parity"  # the replica did not serve what was trained
    NO_SUITE = "no suite"  # nothing shows that it does no harm


FELL_SHORT = frozenset({Cause.NOT_BETTER})

DID_HARM = frozenset(
    {Cause.HARM, Cause.REPETITIVE, Cause.CUT_SHORT, Cause.UNPARSABLE, Cause.LENGTH, Cause.KL}
)
"""Causes of a candidate that changed more than it should."""


def causes_of(reasons: Iterable[str]) -> frozenset[Cause]:
    """The causes of a decision's reasons; a reason in other words has none."""
    known = {cause.value for cause in Cause}
    words = {reason.partition(":")[0] for reason in reasons}
    return frozenset(Cause(word) for word in words & known)
