"""The credit table: which episodes each kind of feedback becomes, and how much they weigh.

Advantages need the tokens that a version sampled; for demonstrations texts suffice. Every event becomes
episodes, is barren with a reason, or is deferred until something else is known. No function here raises for
an event that passed the wire schema.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from feedback.redaction import placeholders
from ledger.events import CORRECTING, Event, KeptEvent, Kind, Role
from rewards.baseline import Baselines, group_of
from rewards.credited_turns import credited_turns, discounts, surprise_nats
from rewards.episode import Episode, Part, Weighted
from rewards.exchange import Exchange, History, is_about_conversation
from rewards.redacted import reason_of, without_placeholders
from rewards.replies import Reply, as_said, is_same_reply, is_text, reply_text, uncallable
from rewards.spans import weigh
from rewards.success import Successes
from rewards.takeovers import SILENT, operator_turns

BEFORE_TAKEOVER = (-1.0, -0.5, -0.25)  # the agent's last turns before the operator's first (RLIF 2311.12996)
ABORTED = (-1.0, -0.5)  # the turn that was stopped, and the one before
APPROVED, REJECTED = 0.75, -0.25  # 1 - tau and -tau, tau = 0.25
OPINION_MASS = 0.25  # of an approval or a rejection; a correction has 1
KEPT, REVERTED = 0.5, -1.0  # advantage of the earlier event's turn, by an outcome that amends the event
CERTAIN_NATS = 0.01  # mean surprise of a token below which approvals and rejections have no effect
NOT_THE_AGENT = frozenset({"environment fault", "policy change"})  # reasons that do not judge the agent

DEMONSTRATING = (*CORRECTING, Kind.TAKEOVER)
_UNSAMPLED = "no record of what was sampled"
_UNASKED = "no record of the prompt"
_RESTRICTED = "only some tokens could be sampled"


@dataclass(frozen=True, slots=True)
class Barren:
    """The reason why an event teaches nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """The reason why an event has to wait."""

    reason: str


Credit = tuple[Episode, ...] | Barren | Deferred


def reverts(other: Event, event: Event) -> bool:
    """Whether `other` is an outcome that says: the reply a person gave in `event` was reverted."""
    is_about_event = other.kind is Kind.OUTCOME and other.amends is not None and other.amends == event.key
    if not is_about_event or not other.may_change(event):
        return False
    return event.kind in DEMONSTRATING and float(other.data["value"]) < 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditTable:
    """The episodes of an event: each row of the table is a method; the fields are what rows look up."""

    history: History
    baselines: Baselines  # what outcomes are compared with
    part: Part  # of the batch: approvals are demonstrations in the anchor part
    others: tuple[KeptEvent, ...]  # the agent's other events by revision; events that are valid come last
    withdrawn: frozenset[int]  # of the others, by `seq`: no episode may come from them
    successes: Successes | None  # which aborts need; None: assume one for every kind of prompt
    discount: float = 1.0  # of an outcome for a conversation, for each turn before its last one

    def credit(self, event: Event) -> Credit:
        """The event's row, without what would teach a placeholder of redaction."""
        credit = self._row(event)
        if not isinstance(credit, tuple):
            return credit
        reasons = [self._why_stale(episode) for episode in credit]
        credit = tuple(episode for episode, reason in zip(credit, reasons, strict=True) if reason is None)
        if not credit:
            return Barren(str(reasons[0]))
        return without_placeholders(credit) or Barren(reason_of(credit))

    def _why_stale(self, episode: Episode) -> str | None:
        """Why the policy term cannot use what the episode's version sampled; None: it can."""
        if episode.advantage is None or episode.sampled is None:
            return None
        return self.history.stale.get(episode.sampled.version)

    def _row(self, event: Event) -> Credit:
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
        exchange = self.history.about(event)
        corrected: Reply = event.data["corrected"]
        if not exchange.messages:
            return Barren(_UNASKED)
        if (flaw := uncallable(corrected, exchange.request)) is not None:
            return Barren(flaw)
        is_same = exchange.said is not None and is_same_reply(exchange.said, corrected)
        if is_same and not placeholders(reply_text(corrected)):
            return Barren("nothing was changed")
        if not exchange.reply:
            return (self._demonstration(event, exchange, as_said(corrected), mass=mass),)
        if exchange.said is not None and is_text(exchange.said) and is_text(corrected):
            rejected, reply = weigh(exchange.reply, reply_text(corrected))
        else:
            rejected = as_said(exchange.said or "", exchange.sampled_ids)
            reply = as_said(corrected)
        return (self._demonstration(event, exchange, reply, rejected=rejected, mass=mass),)

    def _taken_over(self, event: Event, *, mass: float = 1.0) -> Credit:
        exchange = self.history.about(event)
        if not exchange.messages:
            return Barren(_UNASKED)
        turns = operator_turns(event, exchange.messages, exchange.request)
        demonstrations = tuple(
            self._demonstration(
                event, self.history.after(event, exchange, turn.before), as_said(turn.said), mass=mass
            )
            for turn in turns
            if turn.flaw is None
        )
        if not demonstrations:
            flaw = next((turn.flaw for turn in turns if turn.flaw != SILENT), None)
            return Barren(f"the operator {flaw}" if flaw else "the operator's turns have no text")
        return (*demonstrations, *self._before(event, exchange, BEFORE_TAKEOVER))

    def _aborted(self, event: Event) -> Credit:
        exchange = self.history.about(event)
        own_turn = (self._advantage(event, exchange, ABORTED[0]),) if exchange.sampled else ()
        episodes = (*own_turn, *self._before(event, exchange, ABORTED[1:]))
        if not episodes:
            return Barren(_unsampled(exchange))
        if self.successes and not self.successes.has_kind_of(exchange.messages):
            return Deferred("no demonstration or success of that kind")
        return episodes

    def _judged(self, event: Event) -> Credit:
        exchange = self.history.about(event)
        if event.kind is Kind.APPROVE and self.part is not Part.NEW:
            if not exchange.messages or not exchange.reply:
                return Barren(_UNASKED)
            return (
                self._demonstration(
                    event, exchange.as_sampled(), as_said(exchange.said or "", exchange.sampled_ids)
                ),
            )
        turns = credited_turns(self.history, event, exchange, whole=is_about_conversation(event))
        if not turns:
            return Barren(_unsampled(exchange))
        turns = [turn for turn in turns if surprise_nats(turn) >= CERTAIN_NATS]
        if not turns:
            return Barren("already certain")
        advantage = APPROVED if event.kind is Kind.APPROVE else REJECTED
        return self._shared(event, exchange, turns, advantage, mass=OPINION_MASS)

    def _ended(self, event: Event) -> Credit:
        value = float(event.data["value"])
        amended = self._amended(event)
        earlier = None if amended is None else amended.event
        if amended is not None and amended.event.kind is not Kind.OUTCOME:
            if amended.seq in self.withdrawn:
                return Barren("what it amends was taken back")
            return self._lasted(event, amended.event, value)
        exchange = self.history.about(event)
        if earlier is not None and not exchange.messages:
            exchange = self.history.about(earlier)
        group = group_of(event if earlier is None or "task" in event.data else earlier)
        advantage = self.baselines.advantage(value, group)
        if advantage == 0.0:
            return Barren(self.baselines.why_none(group))
        scope = event.data.get("scope") or ("all" if is_about_conversation(event) else "final")
        turns = credited_turns(self.history, event, exchange, whole=scope == "all")
        if not turns:
            return Barren(_unsampled(exchange))
        return self._shared(event, exchange, turns, advantage)

    def _shared(
        self, event: Event, last: Exchange, turns: Sequence[Exchange], value: float, *, mass: float = 1.0
    ) -> tuple[Episode, ...]:
        """The advantage `value`, and the mass, of one opinion that is about these turns up to the last."""
        return tuple(
            self._advantage(event, turn, value * factor, mass=mass / len(turns))
            for turn, factor in zip(turns, discounts(turns, last, discount=self.discount), strict=True)
        )

    def _lasted(self, event: Event, earlier: Event, value: float) -> Credit:
        """An outcome that amends an earlier event: its reply was kept (value above 0) or reverted (below)."""
        if value == 0.0:
            return Barren("neither kept nor reverted")
        if earlier.role is not event.role:
            return Deferred("kept for judging")
        if earlier.kind in DEMONSTRATING:
            return self._confirmed(event, earlier) if value > 0.0 else Barren("takes back what was taught")
        exchange = self.history.about(earlier)
        if exchange.sampled is None:
            return Barren(_UNSAMPLED)
        return (self._advantage(event, exchange, KEPT if value > 0.0 else REVERTED, earlier=earlier),)

    def _confirmed(self, event: Event, earlier: Event) -> Credit:
        """A reply from a person that was kept is demonstrated once more, at half mass."""
        row = self._taken_over if earlier.kind is Kind.TAKEOVER else self._corrected
        credit = row(earlier, mass=KEPT)
        if not isinstance(credit, tuple):
            return credit
        demonstrations = (episode for episode in credit if episode.advantage is None)
        return tuple(replace(episode, events=(event.uid, earlier.uid)) for episode in demonstrations)

    def _before(self, event: Event, exchange: Exchange, advantages: Sequence[float]) -> tuple[Episode, ...]:
        """The agent's turns just before the event's, nearest first, with these advantages.

        Turns before those are not trained on: silence is not approval.
        """
        turns = self.history.creditable_turns(event, exchange)
        return tuple(
            self._advantage(event, turns[exchange.turn - back], advantage)
            for back, advantage in enumerate(advantages, start=1)
            if exchange.turn - back in turns
        )

    def _amended(self, event: Event) -> KeptEvent | None:
        """The event that this one amends, in its latest revision."""
        if event.amends is None:
            return None
        for other in reversed(self.others):
            replaces = other.event.kind is not Kind.OUTCOME and other.event.amends == event.amends
            is_named = other.event.key == event.amends or replaces
            if other.event.uid != event.uid and is_named and event.may_change(other.event):
                return other
        return None

    def _advantage(
        self,
        event: Event,
        exchange: Exchange,
        value: float,
        *,
        mass: float = 1.0,
        earlier: Event | None = None,
    ) -> Episode:
        assert exchange.sampled is not None, "an advantage is about sampled tokens"
        return Episode(
            events=(event.uid,) if earlier is None else (event.uid, earlier.uid),
            part=self.part,
            messages=exchange.sampled_for,
            reply=as_said(exchange.said or ""),
            advantage=value,
            sampled=exchange.sampled,
            prompt_ids=exchange.sampled_prompt_ids,
            request=exchange.request,
            mass=mass,
        )

    def _demonstration(
        self,
        event: Event,
        exchange: Exchange,
        reply: Weighted,
        *,
        rejected: Weighted | None = None,
        mass: float = 1.0,
    ) -> Episode:
        return Episode(
            events=(event.uid,),
            part=self.part,
            messages=exchange.messages,
            reply=reply,
            rejected=rejected,
            prompt_ids=exchange.prompt_ids,
            request=exchange.request,
            mass=mass,
        )


def _unsampled(exchange: Exchange) -> str:
    """Why the exchange has no sampled tokens to learn from by their log-probabilities."""
    return f"{_RESTRICTED}: {', '.join(exchange.restrictions)}" if exchange.restrictions else _UNSAMPLED
