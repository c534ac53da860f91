"""Reads what the ledger knows of versions that are being watched, and rules on them. It changes nothing."""

from dataclasses import dataclass, field

from ledger.database import Connection, now_s
from ledger.events import FROM_GATEWAYS, Signal
from ledger.intake.withdrawn import changed_events
from ledger.versions import canary, lineage
from ledger.versions.canary import CanaryStep
from ledger.versions.evidence import LiveComparison
from ledger.versions.holds import hold_of
from ledger.versions.lineage import Version, version_name
from ledger.versions.live_counts import CountedSignals, PromotedCounts, canary_counts, promoted_counts
from ledger.versions.live_feedback import live_feedback
from serving.canary.after_promotion import answered_after, shown_after
from serving.canary.feedback_counts import FeedbackCounts
from serving.canary.sequential_test import StepCounts
from serving.canary.steps import CanaryOptions, CanaryRuling, Move, rule, rule_promoted


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedVersion:
    """One version that is being watched, as of one look."""

    version: Version
    champion: str  # that it is compared with, as in v6-91d0aa
    steps: tuple[CanaryStep, ...]
    age_s: float  # of its present step
    feedback: FeedbackCounts
    counted: CountedSignals  # by gateways
    promoted: PromotedCounts | None  # by gateways; None before the promotion
    is_held: bool
    changed: int  # events it was taught with that were amended or retracted meanwhile

    @property
    def step(self) -> CanaryStep:
        return self.steps[-1]

    @property
    def conversations(self) -> int:
        """That it answered in its present step."""
        if self.promoted is not None:
            return answered_after(self.promoted)
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
class CanaryObserver:
    """Reads versions step by step. Feedback that was counted is not read again."""

    options: CanaryOptions
    _feedback: dict[tuple[str, int], FeedbackCounts] = field(default_factory=dict)

    def read_all(self, connection: Connection) -> list[WatchedVersion]:
        """Every version that is being watched, as of now."""
        watched = [self.read(connection, step) for step in canary.open_steps(connection)]
        present = {(entry.version.agent, entry.version.number) for entry in watched}
        self._feedback = {name: counts for name, counts in self._feedback.items() if name in present}
        return watched

    def rule(self, watched: WatchedVersion) -> CanaryRuling:
        """What to do with it now."""
        ruling = rule(
            watched.counts(),
            age_s=watched.age_s,
            conversations=watched.conversations,
            options=self.options,
        )
        if watched.promoted is None or ruling.move is Move.WITHDRAW:
            return ruling
        seed = f"{watched.version.agent} {watched.version.hash}"
        return rule_promoted(watched.promoted, age_s=watched.age_s, seed=seed, options=self.options)

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
            promoted=None
            if step.share < canary.ALL
            else promoted_counts(
                connection,
                step.agent,
                version=version.name,
                predecessor=champion,
                promoted_s=step.began_s,
            ),
            is_held=hold_of(connection, step.agent) is not None,
            changed=changed_events(connection, version.turn_id) if step.share < canary.ALL else 0,
        )


def comparison(watched: WatchedVersion, ruling: CanaryRuling) -> LiveComparison:
    """The numbers of one look, for the decision's evidence."""
    if watched.promoted is None:
        signals = {
            signal: (sum(step.canary for step in steps), sum(step.champion for step in steps))
            for signal, steps in watched.counts().items()
        }
    else:
        after, before = shown_after(watched.promoted), watched.promoted.before_shown
        signals = {signal: (after[signal], before[signal]) for signal in FROM_GATEWAYS}
    return LiveComparison(
        share=watched.step.share,
        conversations=watched.conversations,
        capital=min(ruling.result.capital, 1e300),
        signals={
            signal.value: {"canary": of_version, "champion": of_other}
            for signal, (of_version, of_other) in signals.items()
        },
    )
