"""Simulated streams of conversations for one canary, through the real routing, counting and decisions."""

import random
from collections import Counter
from dataclasses import dataclass, field, replace

from daemon.roles.canaries import options_of_canaries
from daemon.setting_groups.canary import CanarySettings
from daemon.settings import GateSettings
from ledger.events import FROM_GATEWAYS, FROM_PEOPLE, Signal
from ledger.versions.canary import CanaryStep
from ledger.versions.live_feedback import LiveFeedback
from ledger.versions.routing import is_in_share
from serving.canary.feedback_counts import FeedbackCounts
from serving.canary.sequential_test import StepCounts
from serving.canary.steps import SHARES, CanaryRuling, Move, next_share, rule

BAD, GOOD = "bad", "good"
CORRECTED = {BAD: 0.15, GOOD: 0.05}  # of the canary's conversations, by kind of canary
RATES = {  # of the champion's conversations, and of the canary's but for corrections
    Signal.CORRECTION: 0.05,
    Signal.INTERVENTION: 0.01,
    Signal.OUTCOME: 0.02,
    Signal.ERROR: 0.002,
    Signal.INVALID_TOOL_CALL: 0.005,
    Signal.LENGTH: 0.02,
    Signal.REFUSAL: 0.01,
}
AUTHORS = 20
CONVERSATIONS_PER_S = 1.0
DELAY_S_MEAN = 60.0  # until somebody corrects an answer
LOOK_S = 10.0
OPTIONS = replace(options_of_canaries(CanarySettings(), GateSettings()), share=SHARES[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One canary from its first conversation to its end."""

    kind: str  # bad, good
    seed: int
    withdrawn: bool
    conversations: int  # that the canary had answered by then
    share: float  # of the step in which it ended
    reason: str


@dataclass(slots=True)
class SimulatedCanary:
    """One canary, what was counted of it, and what people have still to say."""

    kind: str
    version: str
    draw: random.Random
    steps: list[CanaryStep] = field(default_factory=list)
    answered: Counter[float] = field(default_factory=Counter)  # conversations of the canary, by share
    shown: Counter[tuple[Signal, float, bool]] = field(default_factory=Counter)  # as gateways count
    late: list[LiveFeedback] = field(default_factory=list)
    feedback: FeedbackCounts = field(init=False)
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self.feedback = FeedbackCounts(canary=self.version, champion="v1-000000")

    def begin_step(self, share: float) -> None:
        """The canary gets this share."""
        if self.steps:
            self.steps[-1] = replace(self.steps[-1], ended_s=self.now_s)
        step = CanaryStep(
            agent="agent",
            number=2,
            place=len(self.steps),
            share=share,
            through_seq=0,
            began_s=self.now_s,
            ended_s=None,
        )
        self.steps.append(step)
        self.feedback.steps = self.steps

    def answer(self, name: str) -> None:
        """One conversation is answered; what it shows is counted now or said later."""
        share = self.steps[-1].share
        of_canary = is_in_share(name, self.version, share)
        self.answered[share] += of_canary
        for signal, rate in RATES.items():
            is_worse = of_canary and signal is Signal.CORRECTION
            if self.draw.random() >= (CORRECTED[self.kind] if is_worse else rate):
                continue
            if signal in FROM_GATEWAYS:
                self.shown[signal, share, of_canary] += 1
            else:
                self.late.append(self._feedback(signal, name, of_canary=of_canary))

    def look(self) -> CanaryRuling:
        """The ruling on what arrived until now."""
        for feedback in [feedback for feedback in self.late if feedback.received_s <= self.now_s]:
            self.feedback.add(feedback)
        self.late = [feedback for feedback in self.late if feedback.received_s > self.now_s]
        shares = [step.share for step in self.steps]
        counts = self.feedback.counts() | {
            signal: tuple(
                StepCounts(
                    share=share,
                    canary=self.shown[signal, share, True],
                    champion=self.shown[signal, share, False],
                )
                for share in shares
            )
            for signal in FROM_GATEWAYS
        }
        step = self.steps[-1]
        return rule(
            counts,
            age_s=self.now_s - step.began_s,
            conversations=self.answered[step.share],
            options=OPTIONS,
        )

    def _feedback(self, signal: Signal, name: str, *, of_canary: bool) -> LiveFeedback:
        assert signal in FROM_PEOPLE
        return LiveFeedback(
            seq=1,
            signal=signal,
            author=f"author {self.draw.randrange(AUTHORS)}",
            received_s=self.now_s + self.draw.expovariate(1.0 / DELAY_S_MEAN),
            conversation=name,
            version=self.version if of_canary else "v1-000000",
            answered_s=self.now_s,
        )


def simulate(kind: str, seed: int) -> Stream:
    """Conversations arrive at one a second until the canary is withdrawn or has passed its last step."""
    draw = random.Random(f"{kind} {seed}")
    canary = SimulatedCanary(kind, f"v2-{draw.getrandbits(24):06x}", draw)
    canary.begin_step(OPTIONS.share)
    while True:
        canary.now_s += 1.0 / CONVERSATIONS_PER_S
        canary.answer(f"{draw.getrandbits(64):x}")
        if canary.now_s % LOOK_S:
            continue
        ruling, share = canary.look(), canary.steps[-1].share
        if ruling.move is Move.WAIT:
            continue
        if ruling.move is Move.WITHDRAW or next_share(share) == 1.0:
            return Stream(
                kind=kind,
                seed=seed,
                withdrawn=ruling.move is Move.WITHDRAW,
                conversations=sum(canary.answered.values()),
                share=share,
                reason=ruling.reason,
            )
        canary.begin_step(next_share(share))
