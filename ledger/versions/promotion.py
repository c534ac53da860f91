"""Moving a whole agent from one version to another, forwards or back.

A flip is one transaction: it checks again what was checked before, moves the desired state and raises
the generation that gateways watch.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, Select, insert, select, update

from ledger.database import Database, now_s
from ledger.errors import FlipRefused
from ledger.events import Status
from ledger.intake.withdrawn import changed_events, no_evidence
from ledger.schema import desired, events, turn_events, turns, versions
from ledger.turn_states import EventOutcome, TurnPart, in_part
from ledger.versions.decisions import Decision, Verdict, decide, newest_seq, undecided
from ledger.versions.desired import Purpose, champion, no_longer_want, raise_generation
from ledger.versions.evidence import Evidence
from ledger.versions.lineage import Version, lineage_of, pruned_notice, versions_of


def promote(database: Database, candidate: Version, decision: Decision) -> int:
    """Make the candidate the champion. Returns the new generation.

    Raises `FlipRefused` if its parent is no longer champion, it was settled otherwise, or an event
    it was taught with has meanwhile been amended, retracted or contested, or one it was judged by taken back.
    """
    assert decision.verdict is Verdict.PROMOTE
    with database.write() as connection:
        standing = champion(connection, candidate.agent)
        if standing != candidate.parent:
            raise FlipRefused(f"parent v{candidate.parent} is no longer champion")
        if candidate.number not in {version.number for version in undecided(connection)}:
            raise FlipRefused("already decided")
        if changed := changed_events(connection, candidate.turn_id):
            raise FlipRefused(f"{changed} of its events changed meanwhile")
        if gone := no_evidence(connection, candidate.agent, decision.evidence.judged_events()):
            raise FlipRefused(f"{len(gone)} of the events it was judged by were taken back meanwhile")
        decide(connection, decision)
        return _flip(connection, candidate.agent, serve=candidate.number, predecessor=standing)


def roll_back(database: Database, agent: str, *, to: int | None, by: str, reason: str) -> tuple[int, int]:
    """Serve an earlier champion again (the predecessor by default). Returns (from, to).

    What the withdrawn versions were taught is put on hold: the agent learns on from the rest, and from what
    was not taught because they knew it.
    Raises `FlipRefused` where there is nothing to go back to, or its files were pruned.
    """
    with database.write() as connection:
        standing = champion(connection, agent)
        lineage = lineage_of(connection, agent, standing)
        target = to if to is not None else (lineage[1] if len(lineage) > 1 else None)
        if target is None or target == standing or target not in lineage:
            raise FlipRefused(f"v{standing} has no earlier champion {'' if to is None else f'v{to}'}".strip())
        _must_be_there(connection, agent, target, lineage)
        withdrawn = lineage[: lineage.index(target)]
        for candidate in undecided(connection):
            if candidate.agent == agent:
                parent_gone = Evidence(reasons=("its parent was rolled back",))
                decide(
                    connection,
                    _decision(connection, agent, candidate.number, Verdict.ABSTAIN, by, parent_gone),
                )
        for number in withdrawn:
            evidence = Evidence(reasons=(reason,), rolled_back_to=target)
            decide(connection, _decision(connection, agent, number, Verdict.ROLLBACK, by, evidence))
        _hold(connection, agent, withdrawn)
        _forget_known(connection, agent, withdrawn)
        _flip(connection, agent, serve=target, predecessor=standing)
        return standing, target


def _must_be_there(connection: Connection, agent: str, target: int, lineage: Sequence[int]) -> None:
    """Raises `FlipRefused` where the target's files were pruned, and names those that one can go back to."""
    pruned = {
        version.number: version for version in versions_of(connection, agent) if version.pruned_s is not None
    }
    if target in pruned:
        left = ", ".join(f"v{number}" for number in lineage[1:] if number not in pruned)
        raise FlipRefused(f"{pruned_notice(pruned[target])}; one can go back to {left}")


def _flip(connection: Connection, agent: str, *, serve: int, predecessor: int) -> int:
    no_longer_want(connection, agent, *Purpose)
    now = now_s(connection)
    for purpose, number, share in ((Purpose.SERVE, serve, 1.0), (Purpose.PREDECESSOR, predecessor, 0.0)):
        connection.execute(
            insert(desired).values(
                agent=agent, purpose=purpose.value, number=number, share=share, since_s=now
            )
        )
    return raise_generation(connection)


def _decision(
    connection: Connection, agent: str, number: int, verdict: Verdict, by: str, evidence: Evidence
) -> Decision:
    through = newest_seq(connection, agent)
    return Decision(
        agent=agent, number=number, verdict=verdict, by=by, evidence=evidence, through_seq=through
    )


def _hold(connection: Connection, agent: str, numbers: list[int]) -> None:
    withdrawn = (
        select(turn_events.c.event_seq)
        .join(versions, versions.c.turn_id == turn_events.c.turn_id)
        .where(
            versions.c.agent == agent,
            versions.c.number.in_(numbers),
            in_part(TurnPart.NEW),
        )
    )
    _restate(connection, withdrawn, Status.OPEN, Status.HELD, f"v{max(numbers)} was rolled back")


def _forget_known(connection: Connection, agent: str, numbers: list[int]) -> None:
    """What a withdrawn champion answered as corrected waits to be learned again: who comes now may not."""
    known = (
        select(turn_events.c.event_seq)
        .join(turns, turns.c.id == turn_events.c.turn_id)
        .where(
            turns.c.agent == agent,
            turns.c.parent.in_(numbers),
            turn_events.c.outcome == EventOutcome.ALREADY_KNOWN.value,
        )
    )
    _restate(connection, known, Status.KNOWN, Status.OPEN, f"v{max(numbers)} knew it and was rolled back")


def _restate(
    connection: Connection, seqs: Select[tuple[int]], was: Status, becomes: Status, why: str
) -> None:
    """These events' status, of those that still have the old one."""
    connection.execute(
        update(events)
        .where(events.c.seq.in_(seqs), events.c.status == was.value)
        .values(status=becomes.value, status_reason=why)
    )
