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
from ledger.versions.decisions import BY_CANARY, BY_OUTCOMES, Decision, Verdict
from ledger.versions.evidence import Evidence, LiveComparison
from serving.canary.admission import begin_canary
from serving.canary.observing import CanaryObserver, WatchedVersion, comparison
from serving.canary.outcome_rule import larger_share
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
                self._abstain(watched, f"{watched.changed} of its events changed meanwhile")
            elif ruling.move is Move.ABSTAIN and not watched.is_confirmed:
                self._abstain(watched, ruling.reason, comparison(watched, ruling), by=BY_OUTCOMES)
            elif ruling.move is Move.PROMOTE and not watched.is_confirmed:
                self._confirm(watched, ruling)
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

    def _abstain(
        self, watched: WatchedVersion, reason: str, live: LiveComparison | None = None, *, by: str = BY_CANARY
    ) -> None:
        """Settle a canary that will not be promoted: its lesson changed, or its outcomes do not show enough.

        Its champion answers all conversations again, and what it was taught is free for the next try.
        """
        version = watched.version
        evidence = Evidence(reasons=(reason,), live=live, attempt=None if live is None else watched.attempt)
        with self.database.write() as connection:
            if version in decisions.undecided(connection):
                decisions.decide(
                    connection,
                    Decision(
                        agent=version.agent,
                        number=version.number,
                        verdict=Verdict.ABSTAIN,
                        by=by,
                        evidence=evidence,
                        through_seq=version.through_seq,
                    ),
                )
        log.info("canary given up", agent=version.agent, version=version.name, reason=reason)

    def _confirm(self, watched: WatchedVersion, ruling: CanaryRuling) -> None:
        """Its outcomes let it serve. The judging loop promotes it; until then it is watched as before."""
        version = watched.version
        evidence = Evidence(live=comparison(watched, ruling), attempt=watched.attempt)
        promotion.confirm(self.database, version, by=BY_OUTCOMES, reason=ruling.reason, evidence=evidence)
        log.info("canary is better", agent=version.agent, version=version.name, reason=ruling.reason)

    def _advance(self, watched: WatchedVersion) -> None:
        """The next share; the judging loop promotes a canary whose last step is over."""
        version, share = watched.version, next_share(watched.step.share)
        if watched.outcomes is not None:
            share = larger_share(watched.step.share)
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
