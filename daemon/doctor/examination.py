"""Examines a whole installation: builds the checks of every part, makes them, and gathers the results."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.doctor.access_checks import access_checks
from daemon.doctor.agent_checks import agent_checks, known_agents
from daemon.doctor.base_checks import LocalBase, base_checks
from daemon.doctor.broker_checks import broker_checks
from daemon.doctor.checking import CheckGroup, CheckResult, CheckState, run_checks
from daemon.doctor.engine_checks import engine_checks
from daemon.doctor.faults import FoundFault, Severity
from daemon.doctor.ledger_checks import ledger_checks
from daemon.doctor.outside.bridge_checks import bridge_checks
from daemon.doctor.outside.notice_checks import notice_checks
from daemon.doctor.replica_checks import replica_checks
from daemon.doctor.store_checks import store_checks
from daemon.settings import Settings
from feedback.connection import Cluster
from feedback.topics import Topics

FORM = 1
"""The form of the JSON document. It rises when a field goes or changes its meaning; new fields may come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """The results of all checks."""

    results: Sequence[CheckResult]

    @property
    def findings(self) -> list[FoundFault]:
        """Every fault, errors first."""
        findings = [finding for result in self.results for finding in result.findings]
        return sorted(findings, key=lambda finding: finding.severity is not Severity.ERROR)

    def count(self, severity: Severity) -> int:
        """How many faults are as bad as that."""
        return sum(finding.severity is severity for finding in self.findings)

    @property
    def skipped(self) -> list[CheckResult]:
        """The checks that could not be made."""
        return [result for result in self.results if result.state is CheckState.SKIPPED]

    def to_json(self) -> dict[str, Any]:
        """The document of `clorad doctor --json`; deploy/RUNBOOK.md describes it."""
        return {
            "form": FORM,
            "errors": self.count(Severity.ERROR),
            "warnings": self.count(Severity.WARNING),
            "findings": [
                {
                    "name": finding.name,
                    "severity": finding.severity.value,
                    "where": finding.where,
                    "what": finding.what,
                    "remedy": finding.remedy,
                }
                for finding in self.findings
            ],
            "checks": [
                {
                    "group": result.group,
                    "name": result.name,
                    "state": result.state.value,
                    "why": result.why,
                    "seconds": round(result.seconds, 3),
                }
                for result in self.results
            ],
        }


def examine(groups: Sequence[CheckGroup], *, began: Callable[[str], None] = lambda _: None) -> Examination:
    """Make the checks. `began` hears the name of each when it begins."""
    return Examination(results=run_checks(groups, began=began))


def groups_of(
    settings: Settings,
    kafka: Callable[[], Cluster],
    *,
    config: Path | None,
    quick: bool,
    test_notice: bool = False,
    now_s: float | None = None,
) -> list[CheckGroup]:
    """The checks of an installation. `kafka` gives its cluster, or raises `RoleRefused`.

    `quick` leaves out the engine's self-test, which takes a minute and more. With `test_notice` each webhook
    that tells people gets a test message.
    """
    now_s = time.time() if now_s is None else now_s
    base = LocalBase(settings, now_s)
    agents = len(settings.agents.keys() | known_agents(settings).keys())
    return [
        broker_checks(settings, kafka, Topics()),
        ledger_checks(settings),
        store_checks(settings),
        base_checks(settings, base),
        *(replica_checks(settings, url, base=base, agents=agents) for url in settings.fleet.replicas),
        access_checks(settings, now_s=now_s),
        agent_checks(settings),
        *bridge_checks(settings),
        *notice_checks(settings, posts=test_notice),
        *([] if quick else [engine_checks(settings, config)]),
    ]
