"""What learners do and did, read from the ledger: passes, failures with what followed, delays."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ledger.database import Database, now_s
from ledger.reports.history.delays import TeachingDelay, teaching_delays
from ledger.reports.history.pass_list import PassTurn, PassWork, failed_turns, pass_list


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerDocument:
    """One page of what learners did, newest first, in one snapshot of the ledger."""

    now_s: float
    passes: Sequence[PassWork]
    failures: Sequence[PassTurn]
    delays: Sequence[TeachingDelay]

    @property
    def device(self) -> Mapping[str, Any]:
        """The device and the sizes of the newest pass; empty where there is none."""
        return self.passes[0].form if self.passes else {}

    def to_json(self) -> dict[str, Any]:
        """The document for programs."""
        return {
            "passes": [each.to_json(self.now_s) for each in self.passes],
            "failures": [turn.to_json() for turn in self.failures],
            "delays": [delay.to_json() for delay in self.delays],
            "now_s": self.now_s,
        }


def read_learner(
    database: Database,
    *,
    limit: int,
    before: int | None = None,
    pass_id: int | None = None,
    agents: Collection[str] | None = None,
) -> LearnerDocument:
    """At most `limit` passes, failures and delays each.

    With `before`, passes before that one; with `pass_id`, that one alone; with `agents`, of these agents.
    """
    with database.read() as connection:
        return LearnerDocument(
            now_s=now_s(connection),
            passes=pass_list(connection, limit=limit, before=before, pass_id=pass_id, agents=agents),
            failures=failed_turns(connection, limit=limit, agents=agents),
            delays=teaching_delays(connection, limit=limit, agents=agents),
        )
