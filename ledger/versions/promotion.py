"""Moves a whole agent from one version to another, forwards or back.

A flip is one transaction: it checks its conditions again, changes the desired state and raises the
generation that gateways watch.
"""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, Select, insert, select, update

from ledger.database import Database, now_s
from ledger.errors import FlipRefused
from ledger.events import Status
from ledger.intake.withdrawn import changed_events, no_evidence
from ledger.schema import desired, events, turn_events, turns, versions
from ledger.turn_states import EventOutcome, TurnPart, in_part
from ledger.versions import canary
from ledger.versions.acting import reinstating
from ledger.versions.decisions import (
    BY_NOBODY,
    Decision,
    Verdict,
    decide,
    judged_version,
    newest_seq,
    undecided,
)
from ledger.versions.desired import Purpose, champion, no_longer_want, raise_generation, want, wanted
from ledger.versions.evidence import Evidence
from ledger.versions.lineage import Version, lineage_of, pruned_notice, versions_of


def promote(database: Database, candidate: Version, decision: Decision) -> int:
    """Make the candidate the champion. Returns the new generation.

    Of a version that a person brings back, the held events of its line are open again.
    Raises `FlipRefused` if its parent is no longer champion, it has a final verdict already, people have
    amended, retracted or contested an event of its turn, or withdrawn an event that it was judged by. To one
    that a person brings back only the first two apply, and an ancestor may be champion instead of the parent.
    """
    assert decision.verdict is Verdict.PROMOTE
    with database.write() as connection:
        champion_number = champion(connection, candidate.agent)
        is_back = reinstating.is_reinstated(connection, candidate)
        line = lineage_of(connection, candidate.agent, candidate.number)
        if champion_number not in (line[1:] if is_back else [candidate.parent]):
            raise FlipRefused(f"parent v{candidate.parent} is no longer champion")
        _must_be_undecided(connection, candidate)
        if is_back:
            reinstating.open_held(connection, candidate.agent, line[: line.index(champion_number)])
        elif changed := changed_events(connection, candidate.turn_id):
            raise FlipRefused(f"{changed} of its events changed meanwhile")
        if withdrawn := no_evidence(connection, candidate.agent, decision.evidence.judged_events()):
            raise FlipRefused(f"{len(withdrawn)} of the events it was judged by were taken back meanwhile")
        decide(connection, decision)
        generation = _flip(connection, candidate.agent, serve=candidate.number, predecessor=champion_number)
        if decision.by != BY_NOBODY:
            canary.begin_step(connection, candidate.agent, candidate.number, canary.ALL)
        return generation


def give_share(database: Database, candidate: Version, share: float, *, by: str, evidence: Evidence) -> None:
    """Let the candidate answer that share of its agent's conversations.

    Raises `FlipRefused` if it was settled meanwhile, or its parent is no longer champion.
    """
    with database.write() as connection:
        _must_be_undecided(connection, candidate)
        standing = champion(connection, candidate.agent)
        if standing != candidate.parent:
            raise FlipRefused(f"parent v{candidate.parent} is no longer champion")
        want(connection, candidate, Purpose.CANARY, share=share)
        canary.begin_step(connection, candidate.agent, candidate.number, share)
        decide(
            connection,
            _decision(connection, candidate.agent, candidate.number, Verdict.CANARY, by, evidence),
        )
        raise_generation(connection)


def withdraw(database: Database, candidate: Version, *, by: str, evidence: Evidence) -> None:
    """Take a canary out of the traffic; the champion answers all conversations again.

    What it was taught is put on hold. Raises `FlipRefused` if it was settled meanwhile.
    """
    agent, number = candidate.agent, candidate.number
    with database.write() as connection:
        _must_be_undecided(connection, candidate)
        decide(connection, _decision(connection, agent, number, Verdict.ROLLBACK, by, evidence))
        _hold(connection, agent, [number])


def confirm(
    database: Database, candidate: Version, *, by: str, reason: str, evidence: Evidence | None = None
) -> None:
    """A person, or its outcomes, let the candidate serve: the fleet promotes it without further steps.

    Raises `FlipRefused` if it has not passed the gate, or was settled.
    """
    with database.write() as connection:
        _must_be_undecided(connection, candidate)
        if candidate.number not in {
            row.number
            for row in wanted(connection)
            if row.agent == candidate.agent and row.purpose is Purpose.CANARY
        }:
            raise FlipRefused("it has not passed the gate")
        evidence = replace(evidence or Evidence(), reasons=(reason,) if reason else ())
        decide(
            connection,
            _decision(connection, candidate.agent, candidate.number, Verdict.CONFIRM, by, evidence),
        )


def refuse(database: Database, candidate: Version, *, by: str, reason: str) -> None:
    """A person refuses the candidate; its events are free for the next try.

    Raises `FlipRefused` if it was settled.
    """
    with database.write() as connection:
        _must_be_undecided(connection, candidate)
        evidence = Evidence(reasons=(reason,))
        decide(
            connection,
            _decision(connection, candidate.agent, candidate.number, Verdict.REFUSE, by, evidence),
        )


def roll_back(
    database: Database,
    agent: str,
    *,
    to: int | None,
    by: str,
    reason: str,
    evidence: Evidence | None = None,
    champion_is: int | None = None,
) -> tuple[int, int]:
    """Serve an earlier champion again (the predecessor by default). Returns (from, to).

    The events that the withdrawn versions were taught are held. The agent goes on with the others, and with
    the events that were not taught because a withdrawn version knew them.
    `evidence` is what else is stored with the decision, if the gate or a canary takes it.
    Raises `FlipRefused` if there is no such earlier champion, its files were pruned, the champion is not
    `champion_is`, if that is given, or people withdrew an event of the evidence.
    """
    with database.write() as connection:
        champion_number = champion(connection, agent)
        if champion_is not in (None, champion_number):
            raise FlipRefused(f"v{champion_is} is no longer champion")
        shown = evidence or Evidence()
        if withdrawn_events := no_evidence(connection, agent, shown.judged_events()):
            raise FlipRefused(
                f"{len(withdrawn_events)} of the events it was judged by were taken back meanwhile"
            )
        lineage = lineage_of(connection, agent, champion_number)
        target = to if to is not None else (lineage[1] if len(lineage) > 1 else None)
        if target is None or target == champion_number or target not in lineage:
            raise FlipRefused(
                f"v{champion_number} has no earlier champion {'' if to is None else f'v{to}'}".strip()
            )
        _refuse_pruned(connection, agent, target, lineage)
        withdrawn = lineage[: lineage.index(target)]
        for candidate in undecided(connection):
            if candidate.agent == agent:
                parent_gone = Evidence(reasons=("its parent was rolled back",))
                decide(
                    connection,
                    _decision(connection, agent, candidate.number, Verdict.ABSTAIN, by, parent_gone),
                )
        for number in withdrawn:
            stored = replace(shown, reasons=(reason,), rolled_back_to=target)
            decide(connection, _decision(connection, agent, number, Verdict.ROLLBACK, by, stored))
        _hold(connection, agent, withdrawn)
        _forget_known(connection, agent, withdrawn)
        _flip(connection, agent, serve=target, predecessor=champion_number)
        return champion_number, target


def _refuse_pruned(connection: Connection, agent: str, target: int, lineage: Sequence[int]) -> None:
    """Raises `FlipRefused` if the target's files were pruned; it names the versions that have theirs."""
    pruned = {
        version.number: version for version in versions_of(connection, agent) if version.pruned_s is not None
    }
    if target in pruned:
        present = ", ".join(f"v{number}" for number in lineage[1:] if number not in pruned)
        raise FlipRefused(f"{pruned_notice(pruned[target])}; one can go back to {present}")


def _must_be_undecided(connection: Connection, candidate: Version) -> None:
    if candidate not in undecided(connection):
        raise FlipRefused("already decided")


def _flip(connection: Connection, agent: str, *, serve: int, predecessor: int) -> int:
    """The agent serves that version. Beside one that nobody judged, the last one that was stays loaded."""
    judged = judged_version(connection, agent, serve)
    if judged != serve:
        predecessor = judged
    no_longer_want(connection, agent, *Purpose)
    canary.end_steps(connection, agent)
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
    _change_status(connection, withdrawn, Status.OPEN, Status.HELD, f"v{max(numbers)} was rolled back")


def _forget_known(connection: Connection, agent: str, numbers: list[int]) -> None:
    """Open the events that a withdrawn champion answered as corrected: its successor may not know them."""
    known = (
        select(turn_events.c.event_seq)
        .join(turns, turns.c.id == turn_events.c.turn_id)
        .where(
            turns.c.agent == agent,
            turns.c.parent.in_(numbers),
            turn_events.c.outcome == EventOutcome.ALREADY_KNOWN.value,
        )
    )
    _change_status(
        connection, known, Status.KNOWN, Status.OPEN, f"v{max(numbers)} knew it and was rolled back"
    )


def _change_status(
    connection: Connection, seqs: Select[tuple[int]], before: Status, after: Status, reason: str
) -> None:
    """Change the status of those of the events that still have the status `before`."""
    connection.execute(
        update(events)
        .where(events.c.seq.in_(seqs), events.c.status == before.value)
        .values(status=after.value, status_reason=reason)
    )
