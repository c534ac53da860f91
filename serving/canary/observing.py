"""Reads what the ledger knows of versions that are being watched, and rules on them. It changes nothing."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from ledger.database import Connection, now_s
from ledger.events import FROM_GATEWAYS, Signal
from ledger.intake.withdrawn import changed_events
from ledger.versions import canary, decisions, lineage
from ledger.versions.canary import CanaryStep
from ledger.versions.decisions import GatePassage, live_tries
from ledger.versions.evidence import LiveComparison
from ledger.versions.gate_modes import GateMode
from ledger.versions.holds import hold_of
from ledger.versions.lineage import Version, version_name
from ledger.versions.live_counts import CountedSignals, PromotedCounts, canary_counts, promoted_counts
from ledger.versions.live_feedback import live_feedback, uncounted_feedback
from ledger.versions.live_outcomes import live_outcomes, outcomes_stamp
from serving.canary.after_promotion import answered_after, shown_after
from serving.canary.feedback_counts import FeedbackCounts
from serving.canary.outcome_counts import CountedOutcomes, count_outcomes
from serving.canary.outcome_rule import OutcomeLook, rule_by_outcomes
from serving.canary.outcome_test import OutcomeComparison
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
    outcomes: CountedOutcomes | None  # None: it is not judged by outcomes
    attempt: int  # k: candidates with a share since the agent got its champion, from 1
    is_confirmed: bool  # its outcomes were found better

    @property
    def step(self) -> CanaryStep:
        return self.steps[-1]

    @property
    def conversations(self) -> int:
        """That it answered in its present step."""
        if self.promoted is not None:
            return answered_after(self.promoted)
        return self.counted.conversations[self.step.share, True]

    def look(self) -> OutcomeLook:
        """The same for the comparison of outcomes."""
        assert self.outcomes is not None
        return OutcomeLook(
            counted=self.outcomes,
            signals=self.counts(),
            attempt=self.attempt,
            share=self.step.share,
            step_s=self.age_s,
            total_s=self.age_s + self.step.began_s - self.steps[0].began_s,
            conversations=self.conversations,
        )

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
class _KnownOutcomes:
    """What was read of one canary's outcomes, and when."""

    judged: bool | None = None  # whether outcomes judge it; None: not read yet
    stamp: tuple[int, ...] = ()
    counted: CountedOutcomes = field(default_factory=CountedOutcomes)


@dataclass(slots=True, kw_only=True)
class CanaryObserver:
    """Reads versions step by step. Feedback that was counted is not read again."""

    options: CanaryOptions
    _feedback: dict[tuple[str, int], FeedbackCounts] = field(default_factory=dict)
    _outcomes: dict[tuple[str, int], _KnownOutcomes] = field(default_factory=dict)

    def read_all(self, connection: Connection) -> list[WatchedVersion]:
        """Every version that is being watched, as of now."""
        watched = [self.read(connection, step) for step in canary.open_steps(connection)]
        present = {(entry.version.agent, entry.version.number) for entry in watched}
        self._feedback = {name: counts for name, counts in self._feedback.items() if name in present}
        self._outcomes = {name: known for name, known in self._outcomes.items() if name in present}
        return watched

    def rule(self, watched: WatchedVersion) -> CanaryRuling:
        """What to do with it now."""
        if watched.outcomes is not None:
            return rule_by_outcomes(watched.look(), self.options)
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
        judged = decisions.judged_version(connection, step.agent, version.parent)
        parent = lineage.version(connection, step.agent, judged)
        champion = version_name(0, "") if parent is None else parent.name
        steps = canary.steps_of(connection, step.agent, step.number)
        feedback = self._read_feedback(connection, version, champion, steps)
        outcomes = (
            None if step.share == canary.ALL else self._read_outcomes(connection, version, champion, steps)
        )
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
            outcomes=outcomes,
            attempt=1 if outcomes is None else 1 + live_tries(connection, step.agent, step.number),
            is_confirmed=outcomes is not None and _passage(connection, version).is_better,
        )

    def _read_feedback(
        self, connection: Connection, version: Version, champion: str, steps: Sequence[CanaryStep]
    ) -> FeedbackCounts:
        """What people said. It is counted anew where some of it was withdrawn, restored or settled."""
        name, since_seq = (version.agent, version.number), steps[0].through_seq
        uncounted = uncounted_feedback(connection, version.agent, after_seq=since_seq)
        feedback = self._feedback.get(name)
        if feedback is None or not feedback.stands(uncounted):
            feedback = FeedbackCounts(canary=version.name, champion=champion, through_seq=since_seq)
            self._feedback[name] = feedback
        feedback.steps, feedback.uncounted = steps, uncounted
        arrived = live_feedback(
            connection, version.agent, after_seq=feedback.through_seq, since_seq=since_seq
        )
        for event in arrived:
            feedback.add(event)
        return feedback

    def _read_outcomes(
        self, connection: Connection, version: Version, champion: str, steps: Sequence[CanaryStep]
    ) -> CountedOutcomes | None:
        """The outcomes that count, read again only where they changed; None where it is judged otherwise."""
        known = self._outcomes.setdefault((version.agent, version.number), _KnownOutcomes())
        if known.judged is None:
            known.judged = _passage(connection, version).judged_by == GateMode.OUTCOMES
        if not known.judged:
            return None
        stamp = (*outcomes_stamp(connection, version.agent), len(steps))
        if stamp != known.stamp:
            known.counted = count_outcomes(
                live_outcomes(connection, version.agent, after_seq=steps[0].through_seq),
                canary=version.name,
                champion=champion,
                steps=steps,
                authors_min=self.options.outcomes.authors_min,
            )
            known.stamp = stamp
        return known.counted


def _passage(connection: Connection, version: Version) -> GatePassage:
    return decisions.passages(connection, [version])[version.agent, version.number]


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
        outcomes={} if ruling.outcomes is None else _outcomes_json(ruling.outcomes),
        alpha_k=ruling.alpha_k,
    )


def _outcomes_json(compared: OutcomeComparison) -> dict[str, dict[str, float]]:
    return {
        "canary": {**asdict(compared.canary), "capital": min(compared.better, 1e300)},
        "champion": asdict(compared.champion),
    }
