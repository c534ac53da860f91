"""How well versions answered the prompts that judged them, by the scores that the gate recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from ledger.schema import decisions, versions
from ledger.versions.decisions import Verdict
from ledger.versions.lineage import version_name

_JUDGING = (Verdict.CANARY, Verdict.PROMOTE, Verdict.REFUSE, Verdict.ABSTAIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateAccuracy:
    """One judgement: mean scores, in [0, 1], of the version and of its champion on the same prompts."""

    decision_id: int
    agent: str
    number: int  # of the version
    version: str
    verdict: Verdict
    decided_s: float
    before: float  # of the champion
    after: float  # of the version
    prompts: int  # of gate events; more than 0

    def to_json(self) -> dict[str, Any]:
        """The judgement for programs."""
        return {
            "version": self.version,
            "verdict": self.verdict.value,
            "decided_s": self.decided_s,
            "before": self.before,
            "after": self.after,
            "prompts": self.prompts,
        }


def gate_accuracies(
    connection: Connection, *, after_id: int = 0, agent: str | None = None
) -> list[GateAccuracy]:
    """The judgements with scores whose decision has a number above `after_id`, in the order of decisions.

    Decisions are never changed but for texts that are forgotten, so what was read stays true.
    """
    query = (
        select(
            decisions.c.id,
            decisions.c.agent,
            decisions.c.number,
            decisions.c.kind,
            decisions.c.decided_s,
            decisions.c.evidence["gate"].label("pairs"),
            versions.c.hash,
        )
        .join(
            versions,
            (versions.c.agent == decisions.c.agent) & (versions.c.number == decisions.c.number),
        )
        .where(decisions.c.id > after_id, decisions.c.kind.in_([verdict.value for verdict in _JUDGING]))
        .order_by(decisions.c.id)
    )
    if agent is not None:
        query = query.where(decisions.c.agent == agent)
    return [
        GateAccuracy(
            decision_id=row.id,
            agent=row.agent,
            number=row.number,
            version=version_name(row.number, row.hash),
            verdict=Verdict(row.kind),
            decided_s=row.decided_s,
            before=_mean(row.pairs, "before"),
            after=_mean(row.pairs, "after"),
            prompts=len(row.pairs),
        )
        for row in connection.execute(query)
        if row.pairs
    ]


def by_version(accuracies: Sequence[GateAccuracy]) -> dict[str, list[GateAccuracy]]:
    """By agent, the last judgement with scores of each version, in the order of versions."""
    last = {(accuracy.agent, accuracy.number): accuracy for accuracy in accuracies}
    curves: dict[str, list[GateAccuracy]] = {}
    for key in sorted(last):
        curves.setdefault(key[0], []).append(last[key])
    return curves


def _mean(pairs: Sequence[Mapping[str, Any]], side: str) -> float:
    return sum(float(pair[side]) for pair in pairs) / len(pairs)
