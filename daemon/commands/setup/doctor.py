"""`clorad doctor`: examines the installation and prints what is wrong, where, and what to do about it."""

import logging
from collections.abc import Callable
from pathlib import Path

from rich.text import Text

from daemon.commands.broker import log_to_stderr
from daemon.console import CommandFailed, console, count, harmless, show_json
from daemon.doctor.examination import Examination, examine, groups_of
from daemon.doctor.faults import Severity
from daemon.roles.startup import cluster_of
from daemon.settings import Settings
from daemon.terminal.progress import counting
from feedback.connection import Cluster

_STYLES = {Severity.ERROR: ("✗", "red"), Severity.WARNING: ("!", "yellow")}


def show(settings: Settings, config: Path | None, *, quick: bool, test_notice: bool, as_json: bool) -> None:
    """Examine the installation and print the findings. Raises `CommandFailed` if there is an error."""
    log_to_stderr()
    logging.getLogger("kafka").addHandler(logging.NullHandler())  # a finding says why nobody answers
    report(
        settings,
        lambda: cluster_of(settings),
        config,
        quick=quick,
        test_notice=test_notice,
        as_json=as_json,
    )


def report(
    settings: Settings,
    kafka: Callable[[], Cluster],
    config: Path | None,
    *,
    quick: bool,
    test_notice: bool = False,
    as_json: bool,
) -> None:
    """The same, with the cluster that `kafka` gives."""
    groups = groups_of(settings, kafka, config=config, quick=quick, test_notice=test_notice)
    with counting("examining", sum(len(group.checks) for group in groups)) as began:
        examination = examine(groups, began=began)
    if as_json:
        show_json(examination.to_json())
    else:
        _render(examination)
    if errors := examination.count(Severity.ERROR):
        them = "it" if errors == 1 else "them"
        raise CommandFailed(f"{count(errors, 'error')} in this installation: repair {them}, and ask again")


def _render(examination: Examination) -> None:
    out = console()
    for finding in examination.findings:
        mark, style = _STYLES[finding.severity]
        out.print(
            Text(f"{mark} {harmless(finding.what)} ", style=style).append(f"({finding.where})", style="dim")
        )
        out.print(f"  → {finding.remedy}  [{finding.name}]")
    reasons = sorted({f"{result.group}, {result.name}: {result.why}" for result in examination.skipped})
    for reason in reasons:
        out.print(Text(f"– not checked: {reason}", style="dim"))
    out.print(
        f"{count(len(examination.results), 'check')}:"
        f" {count(examination.count(Severity.ERROR), 'error')},"
        f" {count(examination.count(Severity.WARNING), 'warning')},"
        f" {len(examination.skipped)} not made"
    )
