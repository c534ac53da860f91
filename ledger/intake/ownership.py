"""Decides what an event may do: which level of trust its agent demands, and which events it may change.

An event changes another only for the same source and author, and with no lower trust. Whoever has the right
to act, by a signed event, may change everybody's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, or_

from ledger.events import ACT_RIGHT, Event, Kind, Role, Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustLevels:
    """The least level at which events of one agent may do what they say."""

    teach: Trust = Trust.UNSIGNED  # be trained on
    judge: Trust = Trust.UNSIGNED  # be what candidates are judged by
    amend: Trust = Trust.UNSIGNED  # replace or complete one's own earlier event
    retract: Trust = Trust.UNSIGNED  # take one's own earlier event back

    def to_json(self) -> dict[str, str]:
        """The levels for the ledger; `levels_from` is the reverse."""
        return {name: getattr(self, name).value for name in self.__slots__}


def levels_from(stored: Mapping[str, Any]) -> TrustLevels:
    """The levels as the ledger has them; what is not stored has its default."""
    return TrustLevels(**{name: Trust(level) for name, level in stored.items()})


FORGOTTEN_AUTHOR = "forgotten-"
"""How the name begins that stands for a forgotten author's; the number of the erasure follows."""

JUDGE_RIGHT = "judge"
"""The right to be believed without a second person, for a verifier or a lead (`rewards.supporters`)."""


def unsigned_refusal(event: Event, levels: TrustLevels) -> str:
    """Why the event cannot be stored with the trust it has; empty where it can."""
    short = [use for use, least in _uses(event, levels) if not event.trust.reaches(least)]
    return f"the agent demands a signature to {short[0]}" if short else ""


def may_act(event: Event, administrators: frozenset[str]) -> bool:
    """Whether the event may change other people's: it is signed, with the right or by an administrator."""
    has_right = ACT_RIGHT in event.rights or event.author in administrators
    return event.trust is Trust.SIGNED and has_right


def can_change(actor: Any, target: Any) -> ColumnElement[bool]:
    """Whether `actor` may change `target`: two aliases of the table of events.

    Of an event whose author was forgotten the name is gone: for it the source decides alone.
    """
    is_nameless = and_(actor.c.forgotten.is_not(None), actor.c.author.startswith(FORGOTTEN_AUTHOR))
    own = and_(
        actor.c.source == target.c.source,
        or_(actor.c.author == target.c.author, is_nameless),
        or_(actor.c.trust == Trust.SIGNED.value, target.c.trust == Trust.UNSIGNED.value),
    )
    return or_(actor.c.acts.is_(True), own)


def _uses(event: Event, levels: TrustLevels) -> Iterator[tuple[str, Trust]]:
    """What the event is for, with the level that this needs. Without a role yet, it may be for anything."""
    if event.kind is Kind.RETRACTION:
        yield "retract", levels.retract
        return
    if event.role in (Role.TRAIN, None):
        yield "teach", levels.teach
    if event.role in (Role.GATE, Role.DEV, None):
        yield "judge", levels.judge
    if event.amends is not None or event.revision > 1:
        yield "amend", levels.amend
