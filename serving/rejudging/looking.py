"""Judges champions again: compares them with their predecessors, and rolls back those that are worse.

One loop of the fleet's leader, in a thread of its own with few requests at once: candidates do not wait for
it. What it knows is read from the ledger, so the next leader goes on from there.
"""

import threading
from dataclasses import dataclass, field, replace

import structlog

from engine.manifest import NewerManifest
from ledger.database import Connection
from ledger.errors import FlipRefused, LedgerUnavailable
from ledger.learning.agents import all_agents
from ledger.versions import decisions
from ledger.versions.decisions import BY_GATE, Verdict
from ledger.versions.evidence import Circumstances, Evidence
from ledger.versions.gate_modes import GateMode
from ledger.versions.looks import ServingChampion, keep, serving_champions
from ledger.versions.promotion import roll_back
from serving.fleet.answers import Asking, Interrupted, JudgedModels, model_name
from serving.fleet.gathering import Questions, evidence_of
from serving.fleet.judging import Judging
from serving.fleet.questions import gate_questions, read_supporters
from serving.fleet.reconciler import judging_replica
from serving.fleet.replica import ReplicaRefused, ReplicaUnavailable
from serving.fleet.replica_build import read_build
from serving.rejudging.causes import LOOKS_MAX, TEMPLATE_ADVICE, RejudgingOptions, causes
from serving.rejudging.comparison import judge_again
from serving.scoring.scorers import UnknownScorer

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 60.0
IN_FLIGHT_MAX = 2
"""Questions at once: users and candidates have the rest of the replica."""


@dataclass(slots=True, kw_only=True)
class ChampionLooks:
    """Looks at one champion after the other."""

    judging: Judging
    options: RejudgingOptions
    _sizes: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # version, newest event, suite

    def look(self, stopping: threading.Event) -> int:
        """Judge every champion that has a cause for it. Returns how many were judged.

        Raises `LedgerUnavailable`, `ReplicaUnavailable`, `ReplicaRefused`, and `Interrupted` once `stopping`
        is set.
        """
        build = self._build()
        with self.judging.database.read() as connection:
            champions = serving_champions(connection)
            judged = {candidate.agent for candidate in decisions.undecided(connection)}
        looks = 0
        for own in champions:
            if stopping.is_set():
                raise Interrupted
            if own.version.agent in judged or not own.is_predecessor_wanted or own.looks >= LOOKS_MAX:
                continue  # a candidate's verdict comes first: it may end this champion
            looks += self._look_at(own, build, stopping)
        return looks

    def _build(self) -> Circumstances:
        """What all replicas in rotation have in common; empty where they differ, as during an upgrade."""
        reports = self.judging.reports.rotation()
        builds = [read_build(self.judging.replicas[report.url]) for report in reports]
        servers = {build.server(self.judging.options.image) for build in builds}
        templates = {build.template for build in builds}
        return Circumstances(
            server=servers.pop() if len(servers) == 1 else "",
            template=templates.pop() if len(templates) == 1 else "",
        )

    def _look_at(self, own: ServingChampion, build: Circumstances, stopping: threading.Event) -> bool:
        """Judge the champion again if there is a cause. Returns whether it was."""
        judging, version = self.judging, own.version
        with judging.database.read() as connection:
            now = replace(build, suite=self._suite_size(connection, own))
            agent = all_agents(connection)[version.agent]
        if agent.gate is not GateMode.CORRECTIONS:
            return False  # its conversations judge it, not its prompts
        changed = causes(own.under, now, growth=self.options.growth)
        holders = judging.reports.holders(version.model)
        if own.predecessor is not None:
            before = judging.reports.holders(own.predecessor.model)
            holders = {url: parity for url, parity in holders.items() if url in before}
        if not changed or not holders:
            return False
        try:
            kl_nats = judging.checker.check(version).kl_nats
            judging.scorers.check(agent.scorer)
        except (OSError, NewerManifest, UnknownScorer):
            return False  # the store or the scorer is away: another round
        url = judging_replica(version.model, sorted(holders))
        assert url is not None
        replica = judging.replicas[url]
        models = JudgedModels(before=model_name(replica, own.predecessor), after=version.model)
        options = replace(judging.options.asking, in_flight_max=IN_FLIGHT_MAX)
        asking = Asking(replica=replica, models=models, options=options, stopping=stopping)
        gathered = judging.scoring.gather(
            self._questions(own), asking, scorer=agent.scorer, stopping=stopping
        )
        judged = gathered.evidence(attempt=own.looks + 1, parity=holders[url], kl_nats=kl_nats)
        ruling = judge_again(judged, alpha=self.options.alpha)
        advice = (TEMPLATE_ADVICE,) if replace(own, under=own.under.updated(now)).has_other_template else ()
        evidence = evidence_of(
            judged,
            ruling,
            gathered,
            replica=url,
            redact=judging.redact,
            under=now,
        )
        if not (judged.gate or judged.suite):  # nothing was compared: the look spends no level
            evidence = replace(evidence, reasons=("no prompts to compare",), judgement=None)
        reasons = (f"judged again because {' and '.join(changed)}", *evidence.reasons, *advice)
        self._record(own, ruling.verdict, replace(evidence, reasons=reasons))
        return True

    def _questions(self, own: ServingChampion) -> Questions:
        """Its no-harm suite as it is now, and the gate prompts that arrived until its promotion.

        Later corrections are about its own wrong answers: they say nothing of how often it is right.
        """
        judging, version = self.judging, own.version
        authors_min = judging.options.limits.authors_min
        with judging.database.read() as connection:
            supporters = read_supporters(connection, version.agent, authors_min=authors_min)
            return Questions(
                gate=gate_questions(
                    connection,
                    version,
                    supporters,
                    limit=judging.options.gate_max,
                    until_s=own.promoted_s,
                ),
                suite=judging.suite(connection, version, supporters),
                taught=(),
            )

    def _suite_size(self, connection: Connection, own: ServingChampion) -> int:
        """Prompts that its suite could be drawn from; read again when the agent has a new event."""
        version, newest = own.version, decisions.newest_seq(connection, own.version.agent)
        known = self._sizes.get(version.agent)
        if known is not None and known[:2] == (version.number, newest):
            return known[2]
        supporters = read_supporters(
            connection, version.agent, authors_min=self.judging.options.limits.authors_min
        )
        size = len(self.judging.whole_suite(connection, version, supporters))
        self._sizes[version.agent] = (version.number, newest, size)
        return size

    def _record(self, own: ServingChampion, verdict: Verdict, evidence: Evidence) -> None:
        version, reasons = own.version, "; ".join(evidence.reasons)
        if verdict is Verdict.KEEP:
            keep(self.judging.database, version, evidence)
            log.info("champion judged again", agent=version.agent, version=version.name, reasons=reasons)
            return
        try:
            roll_back(
                self.judging.database,
                version.agent,
                to=version.parent,
                by=BY_GATE,
                reason=reasons,
                evidence=evidence,
                champion_is=version.number,
            )
        except FlipRefused as refusal:
            log.info("champion not rolled back", agent=version.agent, reason=str(refusal))
        else:
            log.warning("champion rolled back", agent=version.agent, version=version.name, reason=reasons)


def run_looks(judging: Judging, options: RejudgingOptions, over: threading.Event) -> None:
    """Look at every champion until `over` is set."""
    looks = ChampionLooks(judging=judging, options=options)
    while not over.wait(LOOK_EVERY_S):
        try:
            looks.look(over)
        except (LedgerUnavailable, ReplicaUnavailable, ReplicaRefused) as fault:
            log.warning("champions not judged again, the next round does", fault=str(fault)[:200])
        except Interrupted:
            return
