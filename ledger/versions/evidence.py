"""The evidence of a decision: why it was taken, what the gate counted, what both models answered.

Stored evidence has a format number, so that a later clorad reads what an earlier one wrote. `from_json` and
`to_json` are called where decisions are read from and written to the ledger, nowhere else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ledger.errors import NewerEvidence

FORMAT = 2
"""What this version writes. In format 1 there was no number, and a rollback had one `reason`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One prompt, answered by the champion (before) and the candidate (after), with the scores of both.

    `again` are the scores when both were asked once more, which happens to suite prompts that differed.
    """

    event: str  # uid
    before: float
    after: float
    again: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What champion (before) and candidate (after) answered to one prompt. For receipts, never for logs."""

    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The numbers that the gate decided by. Wins, losses and ties are counted over prompts."""

    alpha_k: float  # level of this try
    p: float  # of the sign test
    wins: int
    losses: int
    ties: int
    suite_wins: int = 0  # of the no-harm suite
    suite_losses: int = 0
    suite: int = 0  # prompts in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that one decision was recorded with. What a kind of decision does not have stays empty."""

    reasons: tuple[str, ...] = ()  # empty for a promotion
    judgement: Judgement | None = None  # None: nobody was asked
    gate: tuple[Pair, ...] = ()  # on gate events
    suite: tuple[Pair, ...] = ()  # on what must not get worse
    answers: Mapping[str, Answers] = field(default_factory=dict)  # by uid of the event
    attempt: int | None = None  # tries since the last promotion, from 1
    replica: str | None = None  # URL of the one that was asked
    parity: Mapping[str, float] = field(default_factory=dict)  # of that replica with the engine
    speech: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # counts, before and after
    replicas: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # URL of a holder -> its parity
    failed: Mapping[str, str] = field(
        default_factory=dict
    )  # URL -> why that replica did not hold the version
    rolled_back_to: int | None = None  # version number
    is_readable: bool = True  # otherwise `reasons` says why not, and the rest is empty

    def judged_events(self) -> list[str]:
        """Uids of the events whose prompts were asked to judge the version."""
        return [pair.event for pair in (*self.gate, *self.suite)]

    def quotes(self, uids: frozenset[str]) -> bool:
        """Whether it holds answers to one of these events' prompts."""
        return not uids.isdisjoint(self.answers)

    def without_answers_to(self, uids: Iterable[str]) -> "Evidence":
        """The same evidence; answers to these events' prompts are gone, their scores stay."""
        gone = frozenset(uids)
        return replace(self, answers={uid: said for uid, said in self.answers.items() if uid not in gone})

    def to_json(self) -> dict[str, Any]:
        """What the ledger stores, in the newest format. What the decision does not have is left out."""
        assert self.is_readable, "evidence that could not be read is never written"
        always = ("reasons",) if self.judgement is None else ("reasons", "gate", "suite", "answers")
        values = {name: value for name, value in asdict(self).items() if name != "is_readable"}
        return {"format": FORMAT} | {
            name: value for name, value in values.items() if name in always or value not in (None, (), {})
        }


def from_json(stored: Mapping[str, Any]) -> Evidence:
    """The evidence in a row of the ledger. Raises `NewerEvidence` where a newer clorad wrote it."""
    version = stored.get("format", 1)
    if version not in (1, FORMAT):
        raise NewerEvidence(
            f"the evidence of a decision has format {str(version)[:20]},"
            f" this clorad reads formats 1 to {FORMAT}: upgrade clorad"
        )
    reasons = stored.get("reasons") or ([stored["reason"]] if "reason" in stored else [])
    answers = stored.get("answers") or {}
    numbers = stored.get("judgement")
    return Evidence(
        reasons=tuple(map(str, reasons)),
        judgement=None if numbers is None else Judgement(**_known(Judgement, numbers)),
        gate=_pairs(stored, "gate"),
        suite=_pairs(stored, "suite"),
        answers={uid: Answers(**_known(Answers, said)) for uid, said in answers.items()},
        attempt=stored.get("attempt"),
        replica=stored.get("replica"),
        parity=stored.get("parity") or {},
        speech=stored.get("speech") or {},
        replicas=stored.get("replicas") or {},
        failed=stored.get("failed") or {},
        rolled_back_to=stored.get("rolled_back_to", stored.get("to")),
    )


def for_display(stored: Mapping[str, Any]) -> Evidence:
    """The evidence for people who look at it. Where a newer clorad wrote it, its reasons say so."""
    try:
        return from_json(stored)
    except NewerEvidence as refusal:
        return Evidence(reasons=(str(refusal),), is_readable=False)


def _pairs(stored: Mapping[str, Any], name: str) -> tuple[Pair, ...]:
    return tuple(
        Pair(
            event=pair["event"],
            before=float(pair["before"]),
            after=float(pair["after"]),
            again=None if pair.get("again") is None else (float(pair["again"][0]), float(pair["again"][1])),
        )
        for pair in stored.get(name) or ()
    )


def _known(shape: type[Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the dataclass has fields for: format 1 also repeated the verdict and its reasons."""
    return {one.name: stored[one.name] for one in fields(shape) if one.name in stored}
