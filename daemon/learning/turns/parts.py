"""Chooses what the next turn is about: all that is new, or a part of a refused batch that can be judged.

A refused batch is divided until what fails alone is known; that is contested. Everything else about parts
is stored in the turns (`ledger.learning.retries`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ledger.events import KeptEvent, Status
from ledger.intake.ownership import JUDGE_RIGHT
from ledger.learning.retries import BatchPart, NextTry, Retry
from rewards.exchange import History
from rewards.halves import halves, nearest_to

REFUSED_ALONE = "the gate refused what was taught by it alone"
"""Why an event is contested that was alone in a refused part of a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What an agent's next turn may be about."""

    upcoming: NextTry
    needed: int  # gate corrections that a part needs to be judged by
    is_overdue: bool  # a part that was not tried yet needs none
    rest_is_due: bool  # what is new besides the parts may be trained on


FIRST_TRY = Readiness(upcoming=NextTry(), needed=0, is_overdue=False, rest_is_due=True)
"""A turn about everything that is new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvents:
    """What is new in the next turn; empty: nothing can be tried now."""

    new: Sequence[KeptEvent]
    retry: Retry | None
    alone: Mapping[int, tuple[Status, str]]  # events that were refused alone, with their new status


def choose_new(
    readiness: Readiness, usable: Sequence[KeptEvent], *, gate: Sequence[KeptEvent], history: History
) -> NewEvents:
    """The new events of the next turn: those of the first part that is ready, else all that wait in no part.

    `usable` are the agent's untaught events, `gate` the corrections by which a candidate can be judged. A
    part is ready if enough of them are more like its own events than like the other untaught ones; if it was
    tried before, one of those must be newer. A part that was never tried is ready once the oldest untaught
    event is overdue: much of it may be known by now.
    """
    parts, alone = _parts(readiness.upcoming, usable, history)
    by_seq = {kept.seq: kept for kept in usable if kept.seq not in alone}
    members = [[by_seq[seq] for seq in part.seqs if seq in by_seq] for part in parts]
    left = [(part, own) for part, own in zip(parts, members, strict=True) if own]
    waiting = tuple(part for part, _ in left)
    for part, own in left:
        others = [kept for kept in by_seq.values() if kept.seq not in part.seqs]
        evidence = nearest_to(gate, own, others, history)
        newest = max((kept.seq for kept in evidence), default=0)
        is_judgeable = len(evidence) >= readiness.needed and newest > part.tried_seq
        if is_judgeable or (readiness.is_overdue and not part.tried_seq):
            retry = Retry(
                after=part.after,
                remedies=part.remedies,
                is_part=True,
                waiting=tuple(other for other in waiting if other is not part),
            )
            return NewEvents(new=own, retry=retry, alone=alone)
    in_parts = {seq for part in waiting for seq in part.seqs}
    rest = [kept for kept in by_seq.values() if kept.seq not in in_parts] if readiness.rest_is_due else []
    beside = replace(readiness.upcoming.retry or Retry(after=None), waiting=waiting)
    return NewEvents(new=rest, retry=None if beside.is_first else beside, alone=alone)


def _parts(
    upcoming: NextTry, usable: Sequence[KeptEvent], history: History
) -> tuple[list[BatchPart], dict[int, tuple[Status, str]]]:
    """The parts that wait, those of the batch that is divided now first, and events that were refused alone.

    What a person with the right to judge said is never contested; it waits for something new.
    """
    parts = [] if upcoming.retry is None else list(upcoming.retry.waiting)
    whole = upcoming.divides
    if whole is None:
        return parts, {}
    suspects = [kept for kept in usable if kept.seq in whole.seqs]
    divided = halves(suspects, history)
    if len(divided) > 1:
        return [
            *(replace(whole, seqs=tuple(kept.seq for kept in half), tried_seq=0) for half in divided),
            *parts,
        ], {}
    trusted = tuple(kept.seq for kept in suspects if JUDGE_RIGHT in kept.event.rights)
    alone = {kept.seq: (Status.CONTESTED, REFUSED_ALONE) for kept in suspects if kept.seq not in trusted}
    return [*parts, replace(whole, seqs=trusted)] if trusted else parts, alone
