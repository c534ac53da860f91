"""The credit table: what each kind of feedback says about which words, and how much it weighs.

Advantages need the tokens that were really sampled; for demonstrations texts suffice. Every event earns
episodes, is barren with a reason, or waits until something else is known. Nothing here raises for an event
that passed the wire schema.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ledger.events import CORRECTING, Event, KeptEvent, Kind, Role
from rewards.episode import Episode, Message, Part, Weighted, text_of
from rewards.exchange import Exchange, History
from rewards.spans import weigh
from rewards.success import Successes

BEFORE_TAKEOVER = (-1.0, -0.5, -0.25)  # the agent's last turns before the operator's first (RLIF 2311.12996)
ABORTED = (-1.0, -0.5)  # the turn that was stopped, and the one before
APPROVED, REJECTED = 0.75, -0.25  # 1 - tau and -tau, tau = 0.25
OPINION_MASS = 0.25  # of an approval or a rejection; a correction has 1
KEPT, REVERTED = 0.5, -1.0  # what an amending outcome says of the earlier event's turn
CERTAIN_NATS = 0.01  # mean surprise a token below which praise and blame move nothing
NOT_THE_AGENT = frozenset({"environment fault", "policy change"})  # reasons that do not judge the agent

PEOPLES_WORDS = (*CORRECTING, Kind.TAKEOVER)
_UNSAMPLED = "no record of what was sampled"
_UNASKED = "no record of the prompt"


@dataclass(frozen=True, slots=True)
class Barren:
    """Why an event teaches nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """What an event waits for."""

    reason: str


Credit = tuple[Episode, ...] | Barren | Deferred


def reverts(other: Event, event: Event) -> bool:
    """Whether `other` says that people's words in `event` did not last."""
    is_its = other.kind is Kind.OUTCOME and other.amends is not None and other.amends == event.key
    return is_its and event.kind in PEOPLES_WORDS and float(other.data["value"]) < 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditTable:
    """Which episodes an event earns: one row of the table a method, and what the rows look up."""

    history: History
    baselines: Mapping[str | None, float]  # the usual outcome by prompt group; None: the agent's
    part: Part  # of the batch: as anchors, approvals are demonstrations
    others: tuple[KeptEvent, ...]  # of the agent, those that stand last, by revision
    withdrawn: frozenset[int]  # of the others, by `seq`: nothing may be learned from them
    successes: Successes | None  # that aborts need to train; None: every kind of prompt has one

    def credit(self, event: Event) -> Credit:
        """The event's row."""
        if event.role is None:
            return Deferred("waits for its interaction")
        if event.role is not (Role.DEV if self.part is Part.DEV else Role.TRAIN):
            return Deferred("kept for judging")
        reason = " ".join(str(event.data.get("reason", "")).lower().replace("_", " ").split())
        if reason in NOT_THE_AGENT:
            return Barren(reason)
        if any(reverts(other.event, event) for other in self.others):
            return Barren("reverted later")
        match event.kind:
            case Kind.CORRECTION | Kind.OVERRIDE:
                return self._corrected(event)
            case Kind.TAKEOVER:
                return self._taken_over(event)
            case Kind.ABORT:
                return self._aborted(event)
            case Kind.APPROVE | Kind.REJECT:
                return self._judged(event)
            case Kind.OUTCOME:
                return self._ended(event)
            case Kind.RETRACTION:
                return Barren("takes back, teaches nothing")

    def _corrected(self, event: Event, *, mass: float = 1.0) -> Credit:
        about = self.history.about(event)
        corrected = str(event.data["corrected"])
        if not about.messages:
            return Barren(_UNASKED)
        if about.said == corrected:
            return Barren("nothing was changed")
        if not about.said:
            return (self._demonstration(event, about.messages, Weighted(text=corrected), mass=mass),)
        rejected, reply = weigh(about.said, corrected)
        return (self._demonstration(event, about.messages, reply, rejected=rejected, mass=mass),)

    def _taken_over(self, event: Event, *, mass: float = 1.0) -> Credit:
        about = self.history.about(event)
        if not about.messages:
            return Barren(_UNASKED)
        turns: Sequence[Message] = tuple(event.data.get("turns") or ())
        shown = tuple(
            self._demonstration(
                event, (*about.messages, *turns[:place]), Weighted(text=text_of(turn)), mass=mass
            )
            for place, turn in enumerate(turns)
            if turn.get("role") == "assistant" and text_of(turn).strip()
        )
        if not shown:
            return Barren("the operator's turns have no text")
        return (*shown, *self._before(event, about, BEFORE_TAKEOVER))

    def _aborted(self, event: Event) -> Credit:
        about = self.history.about(event)
        stopped = (self._advantage(event, about, ABORTED[0]),) if about.spoken else ()
        blamed = (*stopped, *self._before(event, about, ABORTED[1:]))
        if not blamed:
            return Barren(_UNSAMPLED)
        if self.successes and not self.successes.has_kind_of(about.messages):
            return Deferred("no demonstration or success of that kind")
        return blamed

    def _judged(self, event: Event) -> Credit:
        about = self.history.about(event)
        if event.kind is Kind.APPROVE and self.part is not Part.NEW:
            if not about.messages or not about.said:
                return Barren(_UNASKED)
            return (self._demonstration(event, about.messages, Weighted(text=about.said)),)
        if about.spoken is None:
            return Barren(_UNSAMPLED)
        surprise_nats = -sum(about.spoken.logprobs) / len(about.spoken.logprobs)
        if surprise_nats < CERTAIN_NATS:
            return Barren("already certain")
        opinion = APPROVED if event.kind is Kind.APPROVE else REJECTED
        return (self._advantage(event, about, opinion, mass=OPINION_MASS),)

    def _ended(self, event: Event) -> Credit:
        value = float(event.data["value"])
        amended = self._amended(event)
        earlier = None if amended is None else amended.event
        if amended is not None and amended.event.kind is not Kind.OUTCOME:
            if amended.seq in self.withdrawn:
                return Barren("what it amends was taken back")
            return self._lasted(event, amended.event, value)
        about = self.history.about(event)
        if earlier is not None and not about.messages:
            about = self.history.about(earlier)
        baseline = self.baselines.get(event.prompt_group, self.baselines.get(None, 0.0))
        advantage = max(-1.0, min(1.0, value - baseline))
        if advantage == 0.0:
            return Barren("as good as usual")
        earned = [about] if about.spoken else []
        if event.data.get("scope") == "all":
            turns = self.history.creditable_turns(event, about)
            earned += [turn for number, turn in turns.items() if number < about.turn]
        if not earned:
            return Barren(_UNSAMPLED)
        return tuple(self._advantage(event, turn, advantage, mass=1.0 / len(earned)) for turn in earned)

    def _lasted(self, event: Event, earlier: Event, value: float) -> Credit:
        """What was said at an earlier event was kept (value above 0) or reverted (below)."""
        if value == 0.0:
            return Barren("neither kept nor reverted")
        if earlier.role is not event.role:
            return Deferred("kept for judging")
        if earlier.kind in PEOPLES_WORDS:
            return self._confirmed(event, earlier) if value > 0.0 else Barren("takes back what was taught")
        about = self.history.about(earlier)
        if about.spoken is None:
            return Barren(_UNSAMPLED)
        return (self._advantage(event, about, KEPT if value > 0.0 else REVERTED, earlier=earlier),)

    def _confirmed(self, event: Event, earlier: Event) -> Credit:
        """People's words that were kept are shown once more."""
        again = self._taken_over if earlier.kind is Kind.TAKEOVER else self._corrected
        credit = again(earlier, mass=KEPT)
        if not isinstance(credit, tuple):
            return credit
        shown = (one for one in credit if one.advantage is None)
        return tuple(replace(one, events=(event.uid, earlier.uid)) for one in shown)

    def _before(self, event: Event, about: Exchange, advantages: Sequence[float]) -> tuple[Episode, ...]:
        """The agent's turns just before the event's, nearest first, with these advantages.

        Turns before those are not trained on: silence is not approval.
        """
        turns = self.history.creditable_turns(event, about)
        return tuple(
            self._advantage(event, turns[about.turn - back], advantage)
            for back, advantage in enumerate(advantages, start=1)
            if about.turn - back in turns
        )

    def _amended(self, event: Event) -> KeptEvent | None:
        """What is meant now by the event that this one amends."""
        if event.amends is None:
            return None
        for other in reversed(self.others):
            replaces = other.event.kind is not Kind.OUTCOME and other.event.amends == event.amends
            if other.event.uid != event.uid and (other.event.key == event.amends or replaces):
                return other
        return None

    def _advantage(
        self, event: Event, about: Exchange, value: float, *, mass: float = 1.0, earlier: Event | None = None
    ) -> Episode:
        assert about.spoken is not None, "an advantage is about sampled tokens"
        return Episode(
            events=(event.uid,) if earlier is None else (event.uid, earlier.uid),
            part=self.part,
            messages=about.spoken_to,
            reply=Weighted(text=about.said or ""),
            advantage=value,
            spoken=about.spoken,
            mass=mass,
        )

    def _demonstration(
        self,
        event: Event,
        messages: tuple[Message, ...],
        reply: Weighted,
        *,
        rejected: Weighted | None = None,
        mass: float = 1.0,
    ) -> Episode:
        return Episode(
            events=(event.uid,),
            part=self.part,
            messages=messages,
            reply=reply,
            rejected=rejected,
            mass=mass,
        )
