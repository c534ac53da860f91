"""Simulated streams of conversations that end well or badly, through the real routing, counting and rulings.

A stream is one agent with a champion and up to three candidates, one after the other: each has a share until
it is promoted, withdrawn or given up. The test spends its alpha over them.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from daemon.roles.canaries import options_of_canaries
from daemon.setting_groups.canary import CanarySettings
from daemon.settings import GateSettings
from ledger.versions.canary import CanaryStep
from ledger.versions.live_outcomes import LiveOutcome
from ledger.versions.routing import is_in_share
from serving.canary.outcome_counts import count_outcomes
from serving.canary.outcome_rule import OutcomeLook, larger_share, rule_by_outcomes
from serving.canary.steps import CanaryOptions, CanaryRuling, Move

SHUFFLED, IMPROVED = "shuffled", "improved"
WELL = {IMPROVED: (0.5, 0.9), SHUFFLED: (0.5, 0.9)}  # of conversations with champion and canary
AUTHORS = 20
CONVERSATIONS_PER_S = 1.0
DELAY_S_MEAN = 30.0  # until somebody says how a conversation ended
TRIES_MAX = 3
CHAMPION = "v1-000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeStream:
    """One stream from its first conversation to its end."""

    kind: str  # shuffled, improved
    share: float  # of each candidate's first step
    seed: int
    promoted: bool
    tries: int  # candidates that had a share
    conversations: int  # of both versions, while the last candidate had a share
    of_canary: int  # those that this candidate answered
    reason: str


@dataclass(slots=True)
class _Try:
    """One candidate, the steps it had, and what people have said or will say."""

    version: str
    draw: random.Random
    reward: Callable[[bool], float]
    step: CanaryStep
    steps: list[CanaryStep] = field(default_factory=list)
    outcomes: list[LiveOutcome] = field(default_factory=list)
    conversations: int = 0
    of_canary: int = 0  # in this step
    of_canary_before: int = 0

    def answer(self, now_s: float) -> None:
        """One conversation is answered; how it ended is said later."""
        name = f"{self.draw.getrandbits(64):x}"
        is_canarys = is_in_share(name, self.version, self.step.share)
        self.conversations += 1
        self.of_canary += is_canarys
        self.outcomes.append(
            LiveOutcome(
                seq=self.conversations,
                value=self.reward(is_canarys),
                author=f"author {self.draw.randrange(AUTHORS)}",
                is_trusted=False,
                received_s=now_s + self.draw.expovariate(1.0 / DELAY_S_MEAN),
                conversation=name,
                version=self.version if is_canarys else CHAMPION,
                answered_s=now_s,
            )
        )

    def look(self, now_s: float, attempt: int, options: CanaryOptions) -> CanaryRuling:
        """The ruling on what arrived until now."""
        arrived = [outcome for outcome in self.outcomes if outcome.received_s <= now_s]
        counted = count_outcomes(
            sorted(arrived, key=lambda outcome: outcome.received_s),
            canary=self.version,
            champion=CHAMPION,
            steps=[*self.steps, self.step],
            authors_min=options.outcomes.authors_min,
        )
        first = self.steps[0] if self.steps else self.step
        look = OutcomeLook(
            counted=counted,
            signals={},
            attempt=attempt,
            share=self.step.share,
            step_s=now_s - self.step.began_s,
            total_s=now_s - first.began_s,
            conversations=self.of_canary,
        )
        return rule_by_outcomes(look, options)

    def advance(self, now_s: float) -> None:
        """The next share begins."""
        self.steps.append(replace(self.step, ended_s=now_s))
        self.of_canary_before += self.of_canary
        self.of_canary = 0
        share = larger_share(self.step.share)
        self.step = replace(self.step, place=self.step.place + 1, share=share, began_s=now_s)


def options_of(conversations_max: int) -> CanaryOptions:
    """The default options, with this limit."""
    defaults = options_of_canaries(CanarySettings(), GateSettings())
    return replace(defaults, outcomes=replace(defaults.outcomes, conversations_max=conversations_max))


def simulate_outcomes(
    kind: str, seed: int, *, share: float, options: CanaryOptions, look_every: int
) -> OutcomeStream:
    """Candidates get their shares until one is promoted, or all tries are used."""
    draw = random.Random(f"{kind} {seed} {share}")
    reward = _shuffled(draw) if kind == SHUFFLED else _by_version(draw)
    now_s, attempt = 0.0, 1
    while True:
        step = CanaryStep(
            agent="agent",
            number=attempt + 1,
            place=0,
            share=share,
            through_seq=0,
            began_s=now_s,
            ended_s=None,
        )
        current = _Try(f"v{attempt + 1}-{draw.getrandbits(24):06x}", draw, reward, step)
        move, reason = Move.WAIT, ""
        while move in (Move.WAIT, Move.ADVANCE):
            for _ in range(look_every):
                now_s += 1.0 / CONVERSATIONS_PER_S
                current.answer(now_s)
            ruling = current.look(now_s, attempt, options)
            move, reason = ruling.move, ruling.reason
            if move is Move.ADVANCE:
                current.advance(now_s)
        if move is Move.PROMOTE or attempt == TRIES_MAX:
            return OutcomeStream(
                kind=kind,
                share=share,
                seed=seed,
                promoted=move is Move.PROMOTE,
                tries=attempt,
                conversations=current.conversations,
                of_canary=current.of_canary + current.of_canary_before,
                reason=reason,
            )
        attempt += 1


def _by_version(draw: random.Random) -> Callable[[bool], float]:
    """Rewards as each version earns them: 1 for a conversation that ended well, else -1."""
    champion, canary = WELL[IMPROVED]
    return lambda of_canary: 1.0 if draw.random() < (canary if of_canary else champion) else -1.0


def _shuffled(draw: random.Random) -> Callable[[bool], float]:
    """The same rewards, dealt to conversations in a random order, whichever version answered them."""
    by_version = _by_version(draw)
    pool: list[float] = []

    def reward(_of_canary: bool) -> float:
        if not pool:
            pool.extend(by_version(place % 2 == 0) for place in range(200))
            draw.shuffle(pool)
        return pool.pop()

    return reward
