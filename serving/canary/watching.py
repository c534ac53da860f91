"""Watches versions on live traffic: gives canaries larger shares, and withdraws those that are worse.

One loop of the fleet's leader. What it knows is read from the ledger, so the next leader goes on from there.
"""

import threading
from dataclasses import dataclass

import structlog
from opentelemetry import metrics

from ledger.database import Database
from ledger.errors import FlipRefused, LedgerUnavailable
from ledger.versions import canary, decisions, promotion
from ledger.versions.decisions import BY_CANARY, Decision, Verdict
from ledger.versions.evidence import Evidence
from serving.canary.admission import begin_canary
from serving.canary.observing import CanaryObserver, WatchedVersion, comparison
from serving.canary.steps import CanaryOptions, CanaryRuling, Move, next_share

log = structlog.get_logger(__name__)
_withdrawn = metrics.get_meter("serving").create_counter(
    "clorad.canary.withdrawn",
    unit="{version}",
    description="versions that were worse on live traffic and were withdrawn, by signal",
)

LOOK_EVERY_S = 0.2
_RETRY_S = 1.0  # pause after the ledger was away


@dataclass(slots=True, kw_only=True)
class CanaryWatch:
    """Rules on every version that is being watched, and acts on it."""

    database: Database
    observer: CanaryObserver

    def look(self) -> None:
        """Rule on each of them, and act on it. Raises `LedgerUnavailable`."""
        with self.database.read() as connection:
            versions = self.observer.read_all(connection)
        for watched in versions:
            self._act(watched, self.observer.rule(watched))

    def _act(self, watched: WatchedVersion, ruling: CanaryRuling) -> None:
        try:
            if ruling.move is Move.WITHDRAW:
                self._withdraw(watched, ruling)
            elif watched.changed:
                self._abstain(watched)
            elif ruling.move is Move.ADVANCE and not (watched.is_held and watched.promoted is None):
                self._advance(watched)
        except FlipRefused as refusal:
            log.info("canary settled otherwise", agent=watched.version.agent, reason=str(refusal))

    def _withdraw(self, watched: WatchedVersion, ruling: CanaryRuling) -> None:
        version, live = watched.version, comparison(watched, ruling)
        if watched.step.share < canary.ALL:
            evidence = Evidence(reasons=(ruling.reason,), rolled_back_to=version.parent, live=live)
            promotion.withdraw(self.database, version, by=BY_CANARY, evidence=evidence)
        else:
            promotion.roll_back(
                self.database,
                version.agent,
                to=version.parent,
                by=BY_CANARY,
                reason=ruling.reason,
                evidence=Evidence(live=live),
                champion_is=version.number,
            )
        worst = ruling.result.worst
        _withdrawn.add(1, {"signal": "" if worst is None else worst.value})
        log.warning("version withdrawn", agent=version.agent, version=version.name, reason=ruling.reason)

    def _abstain(self, watched: WatchedVersion) -> None:
        """Settle a canary whose lesson changed: it could not be promoted any more."""
        version = watched.version
        evidence = Evidence(reasons=(f"{watched.changed} of its events changed meanwhile",))
        with self.database.write() as connection:
            if version in decisions.undecided(connection):
                decisions.decide(
                    connection,
                    Decision(
                        agent=version.agent,
                        number=version.number,
                        verdict=Verdict.ABSTAIN,
                        by=BY_CANARY,
                        evidence=evidence,
                        through_seq=version.through_seq,
                    ),
                )

    def _advance(self, watched: WatchedVersion) -> None:
        """The next share; the judging loop promotes a canary whose last step is over."""
        version, share = watched.version, next_share(watched.step.share)
        if share < canary.ALL:
            begin_canary(self.database, version, share, self.observer.options)
            return
        with self.database.write() as connection:
            canary.end_steps(connection, version.agent, version.number)
        log.info("version passed its steps", agent=version.agent, version=version.name)


def run_canaries(database: Database, options: CanaryOptions, over: threading.Event) -> None:
    """Look at every watched version until `over` is set."""
    watch = CanaryWatch(database=database, observer=CanaryObserver(options=options))
    while not over.is_set():
        pause_s = LOOK_EVERY_S
        try:
            watch.look()
        except LedgerUnavailable as fault:
            log.warning("canaries not watched", fault=str(fault))
            pause_s = _RETRY_S
        over.wait(pause_s)
