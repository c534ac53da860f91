"""Watches versions on live traffic: gives canaries larger shares, and withdraws those that are worse.

One loop of the fleet's leader. What it knows is read from the ledger, so the next leader goes on from there.
"""

import threading
from dataclasses import dataclass, field

import structlog
from opentelemetry import metrics

from ledger.database import Connection, Database, now_s
from ledger.errors import FlipRefused, LedgerUnavailable
from ledger.events import FROM_GATEWAYS, Signal
from ledger.intake.withdrawn import changed_events
from ledger.versions import canary, decisions, lineage, promotion
from ledger.versions.canary import CanaryStep
from ledger.versions.decisions import Decision, Verdict
from ledger.versions.evidence import Evidence, LiveComparison
from ledger.versions.holds import hold_of
from ledger.versions.lineage import Version, version_name
from ledger.versions.live_counts import CountedSignals, canary_counts
from ledger.versions.live_feedback import live_feedback
from serving.canary.admission import BY_CANARY, begin_canary
from serving.canary.feedback_counts import FeedbackCounts
from serving.canary.sequential_test import StepCounts
from serving.canary.steps import CanaryOptions, CanaryRuling, Move, next_share, rule

log = structlog.get_logger(__name__)
_withdrawn = metrics.get_meter("serving").create_counter(
    "clorad.canary.withdrawn",
    unit="{version}",
    description="versions that were worse on live traffic and were withdrawn, by signal",
)

LOOK_EVERY_S = 0.2
_RETRY_S = 1.0  # pause after the ledger was away


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedVersion:
    """One version that is being watched, as of one look."""

    version: Version
    champion: str  # that it is compared with, as in v6-91d0aa
    steps: tuple[CanaryStep, ...]
    age_s: float  # of its present step
    feedback: FeedbackCounts
    counted: CountedSignals  # by gateways
    is_held: bool
    changed: int  # events it was taught with that were amended or retracted meanwhile

    @property
    def step(self) -> CanaryStep:
        return self.steps[-1]

    @property
    def conversations(self) -> int:
        """That it answered in its present step."""
        return self.counted.conversations[self.step.share, True]

    def counts(self) -> dict[Signal, tuple[StepCounts, ...]]:
        """What the test compares, of people and of gateways."""
        shares = sorted({step.share for step in self.steps if step.share < canary.ALL})
        shown = self.counted.signals
        return self.feedback.counts() | {
            signal: tuple(
                StepCounts(
                    share=share, canary=shown[signal, share, True], champion=shown[signal, share, False]
                )
                for share in shares
            )
            for signal in FROM_GATEWAYS
        }


@dataclass(slots=True, kw_only=True)
class CanaryWatch:
    """Looks at every version that is being watched. Feedback that was counted is not read again."""

    database: Database
    options: CanaryOptions
    _feedback: dict[tuple[str, int], FeedbackCounts] = field(default_factory=dict)

    def look(self) -> None:
        """Rule on each of them, and act on it. Raises `LedgerUnavailable`."""
        with self.database.read() as connection:
            watched = [self.read(connection, step) for step in canary.open_steps(connection)]
        present = {(one.version.agent, one.version.number) for one in watched}
        self._feedback = {name: counts for name, counts in self._feedback.items() if name in present}
        for one in watched:
            self._act(one, self.rule(one))

    def rule(self, watched: WatchedVersion) -> CanaryRuling:
        """What to do with it now."""
        return rule(
            watched.counts(),
            age_s=watched.age_s,
            conversations=watched.conversations,
            options=self.options,
        )

    def read(self, connection: Connection, step: CanaryStep) -> WatchedVersion:
        """The version of this step as of now."""
        version = lineage.version(connection, step.agent, step.number)
        assert version is not None, "only versions have steps"
        parent = lineage.version(connection, step.agent, version.parent)
        champion = version_name(0, "") if parent is None else parent.name
        steps = canary.steps_of(connection, step.agent, step.number)
        feedback = self._feedback.setdefault(
            (step.agent, step.number),
            FeedbackCounts(canary=version.name, champion=champion, through_seq=steps[0].through_seq),
        )
        feedback.steps = steps
        for event in live_feedback(connection, step.agent, after_seq=feedback.through_seq):
            feedback.add(event)
        return WatchedVersion(
            version=version,
            champion=champion,
            steps=tuple(steps),
            age_s=now_s(connection) - step.began_s,
            feedback=feedback,
            counted=canary_counts(connection, step.agent, version.name),
            is_held=hold_of(connection, step.agent) is not None,
            changed=changed_events(connection, version.turn_id) if step.share < canary.ALL else 0,
        )

    def _act(self, watched: WatchedVersion, ruling: CanaryRuling) -> None:
        try:
            if ruling.move is Move.WITHDRAW:
                self._withdraw(watched, ruling)
            elif watched.changed:
                self._abstain(watched)
            elif watched.step.share == canary.ALL:
                if watched.age_s >= self.options.s_max:
                    self._advance(watched)
            elif ruling.move is Move.ADVANCE and not watched.is_held:
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
                live=live,
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
            begin_canary(self.database, version, share, self.options)
            return
        with self.database.write() as connection:
            canary.end_steps(connection, version.agent, version.number)
        log.info("version passed its steps", agent=version.agent, version=version.name)


def run_canaries(database: Database, options: CanaryOptions, over: threading.Event) -> None:
    """Look at every watched version until `over` is set."""
    watch = CanaryWatch(database=database, options=options)
    while not over.is_set():
        pause_s = LOOK_EVERY_S
        try:
            watch.look()
        except LedgerUnavailable as fault:
            log.warning("canaries not watched", fault=str(fault))
            pause_s = _RETRY_S
        over.wait(pause_s)


def comparison(watched: WatchedVersion, ruling: CanaryRuling) -> LiveComparison:
    """The numbers of one look, for the decision's evidence."""
    return LiveComparison(
        share=watched.step.share,
        conversations=watched.conversations,
        capital=min(ruling.result.capital, 1e300),
        signals={
            signal.value: {
                "canary": sum(step.canary for step in steps),
                "champion": sum(step.champion for step in steps),
            }
            for signal, steps in watched.counts().items()
        },
    )
