"""Looks at champions: what each was judged under so far, and how often its answers were compared again."""

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import aliased

from ledger.database import Database
from ledger.schema import decisions, desired, versions
from ledger.versions.decisions import BY_GATE, Decision, Verdict, decide, newest_seq
from ledger.versions.desired import Purpose, champion, wanted
from ledger.versions.evidence import Circumstances, Evidence, from_parts, parts_of
from ledger.versions.lineage import BASE, Version, read_versions


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
    """Every champion that corrections judged, by agent; not the base.

    Three queries read them all. Of each decision they read what is needed: the answers in it are long.
    """
    rows = wanted(connection)
    kept = {(row.agent, row.number) for row in rows if row.purpose is Purpose.PREDECESSOR}
    decided, predecessors = _decided(connection), _predecessors(connection)
    champions = []
    for own in (row.version for row in rows if row.purpose is Purpose.SERVE and row.version is not None):
        since_promotion = decided.get(own.agent)
        if since_promotion is None or since_promotion[0].evidence.judged_by is not None:
            continue  # no corrections judged it, so none judge it again
        promoted, looks = since_promotion[0], [look.evidence for look in since_promotion[1:]]
        under = promoted_under = promoted.evidence.under or Circumstances(suite=promoted.suite)
        for look in looks:
            under = under.updated(look.under or Circumstances())
            promoted_under = under.updated(promoted_under)
        champions.append(
            ServingChampion(
                version=own,
                predecessor=predecessors.get(own.agent),
                is_predecessor_wanted=own.parent == BASE or (own.agent, own.parent) in kept,
                promoted_s=promoted.decided_s,
                looks=sum(look.judgement is not None for look in looks),
                promoted_under=promoted_under,
                under=under,
            )
        )
    return champions


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """A decision about a champion: its promotion, or a later one to keep it."""

    decided_s: float
    evidence: Evidence  # without pairs and answers
    suite: int  # prompts of the no-harm suite


def _decided(connection: Connection) -> dict[str, list[_Look]]:
    """By agent, the last promotion of its champion, and the decisions to keep it since, in order."""
    promoted = aliased(decisions)
    last = (
        select(func.max(promoted.c.id))
        .where(
            promoted.c.agent == desired.c.agent,
            promoted.c.number == desired.c.number,
            promoted.c.kind == Verdict.PROMOTE.value,
        )
        .correlate(desired)
        .scalar_subquery()
    )
    parts = parts_of(decisions.c.evidence, "under", "judged_by", "judgement")
    suite = func.json_array_length(decisions.c.evidence["suite"]).label("suite_size")
    query = (
        select(decisions.c.agent, decisions.c.decided_s, suite, *parts)
        .join(desired, (desired.c.agent == decisions.c.agent) & (desired.c.number == decisions.c.number))
        .where(
            desired.c.purpose == Purpose.SERVE.value,
            decisions.c.kind.in_([Verdict.PROMOTE.value, Verdict.KEEP.value]),
            decisions.c.id >= last,
        )
        .order_by(decisions.c.id)
    )
    decided: dict[str, list[_Look]] = defaultdict(list)
    for row in connection.execute(query):
        evidence = from_parts(row)
        suite_size = int(row.suite_size or 0) if evidence.is_readable else 0
        decided[row.agent].append(_Look(decided_s=row.decided_s, evidence=evidence, suite=suite_size))
    return decided


def _predecessors(connection: Connection) -> dict[str, Version]:
    """By agent, the version that its champion was trained from, where that is not the base."""
    own = aliased(versions)
    query = (
        select(versions)
        .join(own, (own.c.agent == versions.c.agent) & (own.c.parent == versions.c.number))
        .join(desired, (desired.c.agent == own.c.agent) & (desired.c.number == own.c.number))
        .where(desired.c.purpose == Purpose.SERVE.value)
    )
    return {version.agent: version for version in read_versions(connection, query)}


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
