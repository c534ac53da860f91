"""Decides what an event may do: which level of trust its agent demands, and on whose events it may act."""

from collections.abc import Iterator

from ledger.events import Event, Kind, Role, Trust, TrustLevels


def unsigned_refusal(event: Event, levels: TrustLevels) -> str:
    """Why the event cannot be stored with the trust it has; empty where it can."""
    short = [use for use, least in _uses(event, levels) if not event.trust.reaches(least)]
    return f"the agent demands a signature to {short[0]}" if short else ""


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
