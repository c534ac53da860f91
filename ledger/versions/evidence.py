"""The evidence of a decision: its reasons, the numbers of the gate, the answers of both models.

Stored evidence has a format number, so that a later clorad reads what an earlier one wrote. `from_json` and
`to_json` are called where decisions are read from and written to the ledger, nowhere else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from sqlalchemy import ColumnElement

from ledger.errors import NewerEvidence

FORMAT = 2
"""The format that `to_json` writes. Format 1 had no number, and a rollback in it had one `reason`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One prompt, answered by the champion (before) and the candidate (after), with the scores of both.

    `again` has the scores of a second try: the gate asks again the prompts of the suite that differed.
    `agreement` is the share of the champion's samples that say what its greedy answer says.
    """

    event: str  # uid
    before: float
    after: float
    again: tuple[float, float] | None = None
    by: str = ""  # the comparison, such as `json` or `prose`; empty in decisions of an older clorad
    agreement: float | None = None  # None: the champion was not sampled


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The answers of champion (before) and candidate (after) to one prompt. For receipts, never for logs."""

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
class LiveComparison:
    """What a version and the one it is compared with did on live traffic."""

    share: float  # of the conversations that the version had
    conversations: int  # that it answered
    capital: float  # of the sequential test (`serving.canary.sequential_test`)
    signals: Mapping[str, Mapping[str, int]]  # conversations that showed each signal: canary, champion
    outcomes: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict
    )  # conversations and mean of both
    alpha_k: float | None = None  # level at which outcomes had to be better; None: they were not compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a comparison depends on beside the answers. Empty or 0: it is not known."""

    suite: int = 0  # prompts that the no-harm suite could be drawn from
    server: str = ""  # vLLM's version, and the image's name if the settings give it
    template: str = ""  # a hash of how the replicas render messages

    def updated(self, later: "Circumstances") -> "Circumstances":
        """These, with what is known of the later ones."""
        return Circumstances(
            suite=later.suite or self.suite,
            server=later.server or self.server,
            template=later.template or self.template,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that was recorded with one decision. A field that its kind of decision lacks is empty."""

    reasons: tuple[str, ...] = ()  # empty for a promotion by corrections
    judgement: Judgement | None = None  # None: the gate asked nothing
    gate: tuple[Pair, ...] = ()  # prompts of gate events
    suite: tuple[Pair, ...] = ()  # prompts of the no-harm suite
    answers: Mapping[str, Answers] = field(default_factory=dict)  # by uid of the event
    attempt: int | None = None  # tries since the last promotion, from 1
    replica: str | None = None  # URL of the replica that answered
    parity: Mapping[str, float] = field(default_factory=dict)  # of that replica with the engine
    answer_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # before and after
    replicas: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # URL of a holder -> its parity
    failed: Mapping[str, str] = field(
        default_factory=dict
    )  # URL -> why that replica did not hold the version
    rolled_back_to: int | None = None  # version number
    live: LiveComparison | None = None
    unscored: Mapping[str, str] = field(default_factory=dict)  # uid -> why its prompt has no score
    verdicts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # uid -> a judge's, by order
    replays: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # uid -> how the conversations replayed with champion and candidate ended
    under: Circumstances | None = None  # what the answers were given under
    judged_by: str | None = None  # of a version that is loaded: `outcomes`; None: corrections judged it
    is_readable: bool = True  # otherwise `reasons` says why not, and the rest is empty

    def judged_events(self) -> list[str]:
        """Uids of the events by whose prompts the gate judged the version."""
        return [*(pair.event for pair in (*self.gate, *self.suite)), *self.unscored]

    def quotes(self, uids: frozenset[str]) -> bool:
        """Whether it has answers to the prompt of one of these events."""
        return not uids.isdisjoint(self.answers)

    def without_answers_to(self, uids: Iterable[str]) -> "Evidence":
        """The same evidence without the answers to these events' prompts. Their scores stay."""
        removed = frozenset(uids)
        kept = {uid: answers for uid, answers in self.answers.items() if uid not in removed}
        return replace(self, answers=kept)

    def to_json(self) -> dict[str, Any]:
        """The JSON that the ledger stores, in the newest format, without empty fields."""
        assert self.is_readable, "evidence that could not be read is never written"
        always = ("reasons",) if self.judgement is None else ("reasons", "gate", "suite", "answers")
        values = {name: value for name, value in asdict(self).items() if name != "is_readable"}
        for pairs in ("gate", "suite"):
            values[pairs] = tuple(_pair_json(pair) for pair in values[pairs])
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
    numbers, live, under = (stored.get(name) for name in ("judgement", "live", "under"))
    return Evidence(
        reasons=tuple(map(str, reasons)),
        judgement=None if numbers is None else Judgement(**_known(Judgement, numbers)),
        gate=_pairs(stored, "gate"),
        suite=_pairs(stored, "suite"),
        answers={uid: Answers(**_known(Answers, texts)) for uid, texts in answers.items()},
        attempt=stored.get("attempt"),
        replica=stored.get("replica"),
        parity=stored.get("parity") or {},
        answer_counts=stored.get("answer_counts") or stored.get("speech") or {},  # the older name
        replicas=stored.get("replicas") or {},
        failed=stored.get("failed") or {},
        rolled_back_to=stored.get("rolled_back_to", stored.get("to")),
        live=None if live is None else LiveComparison(**_known(LiveComparison, live)),
        unscored=stored.get("unscored") or {},
        under=None if under is None else Circumstances(**_known(Circumstances, under)),
        verdicts={uid: tuple(map(str, said)) for uid, said in (stored.get("verdicts") or {}).items()},
        replays={uid: tuple(map(str, ended)) for uid, ended in (stored.get("replays") or {}).items()},
        judged_by=stored.get("judged_by"),
    )


def for_display(stored: Mapping[str, Any]) -> Evidence:
    """The evidence to be shown to people. If a newer clorad wrote it, its reasons say so."""
    try:
        return from_json(stored)
    except NewerEvidence as refusal:
        return Evidence(reasons=(str(refusal),), is_readable=False)


def parts_of(evidence: ColumnElement[Any], *names: str) -> list[ColumnElement[Any]]:
    """The format and these fields of a column of evidence, for queries that do not read the answers in it."""
    return [evidence[name].label(f"evidence_{name}") for name in ("format", *names)]


def from_parts(row: Any) -> Evidence:
    """The evidence in a row of such a query, for display. Fields that the query left out are empty."""
    stored = {}
    for name, value in row._mapping.items():
        if name.startswith("evidence_") and value is not None:
            stored[name.removeprefix("evidence_")] = value
    return for_display(stored)


def _pairs(stored: Mapping[str, Any], name: str) -> tuple[Pair, ...]:
    return tuple(
        Pair(
            event=pair["event"],
            before=float(pair["before"]),
            after=float(pair["after"]),
            again=None if pair.get("again") is None else (float(pair["again"][0]), float(pair["again"][1])),
            by=str(pair.get("by") or ""),
            agreement=None if pair.get("agreement") is None else float(pair["agreement"]),
        )
        for pair in stored.get(name) or ()
    )


def _pair_json(pair: dict[str, Any]) -> dict[str, Any]:
    empty = {"by": "", "agreement": None}
    return {name: value for name, value in pair.items() if name not in empty or value != empty[name]}


def _known(shape: type[Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the dataclass has fields for: format 1 also repeated the verdict and its reasons."""
    names = [column.name for column in fields(shape)]
    return {name: stored[name] for name in names if name in stored}
