"""What an agent tries after a refused candidate: a function of its last turn and the decision about it.

First a remedy for the reason, then the batch in halves, until what fails alone is known. Nothing but turns
and decisions is stored, so a learner that dies between two turns is followed by one that plans the same.
Every try counts for the gate as the one before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ledger.versions.causes import DID_HARM, FELL_SHORT, Cause
from ledger.versions.decisions import BY_GATE, Verdict

_REFUSALS_FACTOR = 4
"""After so many times `refusals_max` refusals without a promotion, only something new leads to a try."""


class Remedy(StrEnum):
    """What a retry does otherwise than the turn before it."""

    LONGER = "longer"
    ANCHORS = "anchors"


_WORDS: Mapping[Remedy, str] = {
    Remedy.LONGER: "with twice as many steps and the best of several learning rates",
    Remedy.ANCHORS: "with more replies that must stay as they are, near misses first",
}

_REMEDIES = ((DID_HARM, Remedy.ANCHORS), (FELL_SHORT, Remedy.LONGER))


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPart:
    """A part of a refused batch, which waits for its turn."""

    seqs: tuple[int, ...]  # of its events
    after: int  # number of the refused version that was taught the whole batch
    remedies: tuple[Remedy, ...] = ()
    tried_seq: int = 0  # the newest event when the gate could not judge it; 0: it was not tried

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "seqs": list(self.seqs),
            "after": self.after,
            "remedies": [remedy.value for remedy in self.remedies],
            "tried_seq": self.tried_seq,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Why a turn is not a first try of all that is new, as it is stored in the turn's row."""

    after: int | None  # number of the refused version that it follows; None: only parts wait beside it
    remedies: tuple[Remedy, ...] = ()  # since the last turn that was no retry, in the order they were added
    is_part: bool = False  # it is about a part of the refused batch alone
    waiting: tuple[BatchPart, ...] = ()  # parts of refused batches that it leaves out

    @property
    def is_apart(self) -> bool:
        """Whether it leaves out events that wait: the gate judges it by prompts like its own alone."""
        return self.is_part or bool(self.waiting)

    @property
    def is_first(self) -> bool:
        """Whether nothing differs from a first try."""
        return self.after is None and not self.waiting

    @property
    def text(self) -> str:
        """The retry in words."""
        if self.after is None:
            return "without the parts of a refused batch that wait"
        what = "a part of the batch of" if self.is_part else "another try after"
        return ", ".join((f"{what} v{self.after}", *(_WORDS[remedy] for remedy in self.remedies)))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "after": self.after,
            "remedies": [remedy.value for remedy in self.remedies],
            "is_part": self.is_part,
            "waiting": [part.to_json() for part in self.waiting],
        }


def retry_from(stored: Mapping[str, Any] | None) -> Retry | None:
    """The retry in a row of `turns`; None where the turn was none."""
    if stored is None:
        return None
    return Retry(
        after=stored["after"],
        remedies=tuple(map(Remedy, stored["remedies"])),
        is_part=stored.get("is_part", False),
        waiting=tuple(
            BatchPart(
                seqs=tuple(part["seqs"]),
                after=part["after"],
                remedies=tuple(map(Remedy, part["remedies"])),
                tried_seq=part["tried_seq"],
            )
            for part in stored.get("waiting", ())
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LastTry:
    """An agent's last turn that was trained, and what was decided about its version."""

    number: int  # of the version that the turn made, or would have made
    parent: int
    through_seq: int  # the newest event that its planning saw
    retry: Retry | None
    new: tuple[int, ...]  # `seq` of its new events
    verdict: Verdict | None  # None: it made no version, or is undecided
    by: str = ""
    causes: frozenset[Cause] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class NextTry:
    """How the next turn differs from a first try of all that is new."""

    retry: Retry | None = None  # of a turn about everything but the parts in its `waiting`
    at_once: bool = False  # that turn needs nothing new, only enough evidence
    divides: BatchPart | None = None  # the refused batch that is divided now
    needs_suite: bool = False  # the gate could not promote the last version for want of a no-harm suite

    @property
    def has_parts(self) -> bool:
        """Whether parts of a refused batch wait for their turns."""
        return self.divides is not None or (self.retry is not None and bool(self.retry.waiting))

    @property
    def has_untried_parts(self) -> bool:
        """Whether one of them was in no turn of its own yet."""
        waiting = () if self.retry is None else self.retry.waiting
        return self.divides is not None or any(not part.tried_seq for part in waiting)

    @property
    def in_parts(self) -> int:
        """How many events wait in parts, or are in the batch that is divided."""
        waiting = () if self.retry is None else self.retry.waiting
        divided = 0 if self.divides is None else len(self.divides.seqs)
        return divided + sum(len(part.seqs) for part in waiting)

    @property
    def text(self) -> str:
        """What comes next, in words."""
        if self.needs_suite:
            return "the same again once there is a no-harm suite"
        if self.divides is not None:
            return f"the batch of v{self.divides.after} in halves"
        if self.at_once and self.retry is not None:
            return self.retry.text
        if self.has_parts:
            return "parts of a refused batch, each once there is enough to judge it by"
        return "a turn once there is something new"


def next_try(last: LastTry | None, *, champion: int, refusals: int, refusals_max: int) -> NextTry:
    """What follows the last try, by its verdict; `refusals` are those since the last promotion.

    A batch that the gate refused is tried again with a remedy for the cause: at most `refusals_max` times,
    and each remedy once. If that fails too it is divided, and so is every part of it that is refused. A part
    that the gate could not judge waits for evidence of its own.
    """
    if last is None or champion != (last.number if last.verdict is Verdict.PROMOTE else last.parent):
        return NextTry()
    waiting = () if last.retry is None else last.retry.waiting
    beside = Retry(after=None, waiting=waiting) if waiting else None
    if last.verdict is Verdict.PROMOTE:
        return NextTry(retry=beside)
    if last.verdict is Verdict.ABSTAIN and Cause.NO_SUITE in last.causes:
        return NextTry(retry=_again(last), at_once=True, needs_suite=True)
    tried = () if last.retry is None else last.retry.remedies
    is_part = last.retry is not None and last.retry.is_part
    whole = BatchPart(seqs=last.new, after=last.number, remedies=tried, tried_seq=last.through_seq)
    is_refused = (
        last.verdict is Verdict.REFUSE
        and last.by == BY_GATE  # what a person refused waits for something new
        and bool(last.causes & (DID_HARM | FELL_SHORT))
        and refusals < refusals_max * _REFUSALS_FACTOR
    )
    if not is_refused:
        if not is_part:
            return NextTry(retry=last.retry)
        return NextTry(retry=Retry(after=None, waiting=(*waiting, whole)))
    wanted = (remedy for causes, remedy in _REMEDIES if causes & last.causes and remedy not in tried)
    remedy = None if is_part or len(tried) + 1 >= refusals_max else next(wanted, None)
    if remedy is None:
        return NextTry(retry=beside, divides=whole)
    again = Retry(after=last.number, remedies=(*tried, remedy), waiting=waiting)
    return NextTry(retry=again, at_once=True)


def _again(last: LastTry) -> Retry | None:
    """The same turn once more; a part goes back to those that wait, as if it had not been tried."""
    if last.retry is None or not last.retry.is_part:
        return last.retry
    part = BatchPart(seqs=last.new, after=last.retry.after or last.number, remedies=last.retry.remedies)
    return Retry(after=None, waiting=(part, *last.retry.waiting))
