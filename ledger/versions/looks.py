"""Looks at champions: what each was judged under so far, and how often its answers were compared again."""

from dataclasses import dataclass

from sqlalchemy import Connection

from ledger.database import Database
from ledger.versions.decisions import BY_GATE, Decision, Verdict, decide, decisions_of, newest_seq
from ledger.versions.desired import Purpose, champion, wanted
from ledger.versions.evidence import Circumstances, Evidence
from ledger.versions.lineage import BASE, Version, version


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingChampion:
    """A champion that was promoted, its predecessor, and what is known of both from earlier judgements."""

    version: Version
    predecessor: Version | None  # None: the base
    is_predecessor_wanted: bool  # replicas keep it loaded; the base always is
    promoted_s: float
    looks: int  # at its answers since its promotion
    promoted_under: Circumstances
    under: Circumstances  # as of the last judgement or look

    @property
    def has_other_template(self) -> bool:
        """Whether the replicas render messages in another form than when it was promoted."""
        before, now = self.promoted_under.template, self.under.template
        return bool(before and now) and before != now


def serving_champions(connection: Connection) -> list[ServingChampion]:
    """Every champion that corrections judged, by agent; not the base."""
    rows = wanted(connection)
    kept = {(row.agent, row.number) for row in rows if row.purpose is Purpose.PREDECESSOR}
    serving = [row.version for row in rows if row.purpose is Purpose.SERVE and row.version is not None]
    champions = []
    for own in serving:
        decided = decisions_of(connection, own.agent, own.number)
        promotions = [place for place, row in enumerate(decided) if row.verdict is Verdict.PROMOTE]
        if not promotions:
            continue
        promoted, since = decided[promotions[-1]], decided[promotions[-1] + 1 :]
        if promoted.evidence.judged_by is not None:
            continue  # no corrections judged it, so none judge it again
        looks = [decision.evidence for decision in since if decision.verdict is Verdict.KEEP]
        under = promoted_under = promoted.evidence.under or Circumstances(suite=len(promoted.evidence.suite))
        for look in looks:
            under = under.updated(look.under or Circumstances())
            promoted_under = under.updated(promoted_under)
        champions.append(
            ServingChampion(
                version=own,
                predecessor=None if own.parent == BASE else version(connection, own.agent, own.parent),
                is_predecessor_wanted=own.parent == BASE or (own.agent, own.parent) in kept,
                promoted_s=promoted.decided_s,
                looks=sum(look.judgement is not None for look in looks),
                promoted_under=promoted_under,
                under=under,
            )
        )
    return champions


def keep(database: Database, own: Version, evidence: Evidence) -> bool:
    """Record that the champion was judged again and goes on serving. False: it serves no more."""
    with database.write() as connection:
        if champion(connection, own.agent) != own.number:
            return False
        decide(
            connection,
            Decision(
                agent=own.agent,
                number=own.number,
                verdict=Verdict.KEEP,
                by=BY_GATE,
                evidence=evidence,
                through_seq=newest_seq(connection, own.agent),
            ),
        )
    return True
