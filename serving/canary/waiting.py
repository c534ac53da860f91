"""Says what the candidates that passed the gate wait for, in words for people."""

from collections.abc import Mapping

from ledger.database import Connection
from ledger.versions import canary, decisions
from ledger.versions.desired import Purpose, wanted
from serving.canary.admission import admissions
from serving.canary.observing import CanaryObserver
from serving.canary.steps import CanaryOptions, Move


def waiting_candidates(connection: Connection, options: CanaryOptions) -> Mapping[str, str]:
    """By agent, what its candidate waits for; left out where the gate or the replicas are still at work."""
    passed = {(row.agent, row.number) for row in wanted(connection) if row.purpose is Purpose.CANARY}
    candidates = [
        candidate
        for candidate in decisions.undecided(connection)
        if (candidate.agent, candidate.number) in passed
    ]
    waits = {
        agent: admission.waits_for
        for agent, admission in admissions(connection, candidates, options).items()
        if admission.waits_for is not None
    }
    observer = CanaryObserver(options=options)
    for step in canary.open_steps(connection):
        if (step.agent, step.number) in passed:
            ruling = observer.rule(observer.read(connection, step))
            if ruling.move is Move.WAIT:
                waits[step.agent] = f"{ruling.reason} ({step.share:.0%} of the conversations)"
    return waits
