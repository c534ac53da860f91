"""The state of a turn, the part of each event in it, and what became of the event."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement

from ledger.schema import turn_events, turns


class TurnState(StrEnum):
    """How far a turn is."""

    OPEN = "open"  # stored, and not closed
    MADE = "made"  # it made a version
    DROPPED = "dropped"  # it was trained and made no version
    ADOPTED = "adopted"  # nobody trained it: an experiment's version became the agent's candidate
    VOID = "void"  # its lease, its parent or its events changed: its result is lost


class TurnPart(StrEnum):
    """Why an event is in a turn. The values are those of `rewards.episode.Part`."""

    NEW = "new"
    REPLAY = "replay"
    ANCHOR = "anchor"
    DEV = "dev"


class EventOutcome(StrEnum):
    """What became of a new event of a turn."""

    TRAINED = "trained"
    ALREADY_KNOWN = "already_known"  # the agent answered as corrected before it was taught
    BARREN = "barren"  # it can never be trained on; the reason says why
    NOT_USED = "not_used"  # this turn made no episode of it


@dataclass(frozen=True, slots=True, kw_only=True)
class EventResult:
    """What became of a new event, and why."""

    outcome: EventOutcome
    reason: str | None = None  # for `barren` and `not_used`, and for what of a trained event was left out

    @property
    def text(self) -> str:
        """The outcome in words, with its reason."""
        words = self.outcome.value.replace("_", " ")
        return words if self.reason is None else f"{words}: {self.reason}"


def in_state(state: TurnState) -> ColumnElement[bool]:
    """Whether a row of `turns` has this state."""
    return turns.c.state == state.value


def in_part(part: TurnPart) -> ColumnElement[bool]:
    """Whether a row of `turn_events` has this part in its turn."""
    return turn_events.c.part == part.value


def stored_result(outcome: str | None, reason: str | None) -> EventResult | None:
    """The result in a row of `turn_events`; None while its turn is open, and if it was void."""
    return None if outcome is None else EventResult(outcome=EventOutcome(outcome), reason=reason)
