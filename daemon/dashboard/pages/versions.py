"""The page of one version: what it was taught and by whom, every verdict, and each answer side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from daemon.commands.documents.version_document import (
    VersionDocument,
    parse_reference,
    prompt_texts,
    read_version,
)
from daemon.commands.receipts import gist
from daemon.commands.versions import training_line, tries_line
from daemon.console import judgement, live_test
from daemon.dashboard.changed_words import MarkedPassage, changed_words
from daemon.dashboard.visit import Visit
from ledger.reports.examples import Example, examples_of
from ledger.versions.canary import CanaryStep, steps_of
from ledger.versions.decisions import SETTLED, Decision, last_verdict

TAUGHT_SHOWN_MAX = 200
SHOWN = ("changed", "all", "won", "lost", "suite")
"""Which answers are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedAnswers:
    """One prompt with both answers, the words that differ marked."""

    example: Example
    prompt: str
    before: tuple[MarkedPassage, ...]
    after: tuple[MarkedPassage, ...]

    @property
    def result(self) -> str:
        """Which answer was better."""
        if self.example.unscored is not None:
            return "unscored"
        if self.example.after == self.example.before:
            return "tie"
        return "won" if self.example.after > self.example.before else "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPage:
    """What the page shows of one version."""

    document: VersionDocument
    judged_by: Decision | None  # the decision whose answers are shown
    answers: Sequence[ComparedAnswers]
    steps: Sequence[CanaryStep]


def show_version(visit: Visit) -> Response:
    """One version. Raises `CommandFailed` where there is none."""
    reference = visit.request.path_params["reference"]
    agent, _, _ = parse_reference(reference)
    visit.viewer.require_see(agent)
    page = visit.reports.cache.get("version", lambda: _read(visit, reference), reference)
    last = last_verdict(page.document.origin.decisions)
    shown = visit.asked("answers", "changed")
    return visit.page(
        "version.html",
        page=page,
        document=page.document,
        origin=page.document.origin,
        is_open=last is None or last.verdict not in SETTLED,
        now_s=visit.reports.status().state.now_s,
        training=training_line(None if page.document.manifest is None else page.document.manifest.metrics),
        tries=tries_line(() if page.document.manifest is None else page.document.manifest.tries),
        answers=[answer for answer in page.answers if _is_shown(answer, shown)],
        counts={name: sum(_is_shown(answer, name) for answer in page.answers) for name in SHOWN},
        shown=shown,
        taught=[(taught, gist(taught.kept)) for taught in page.document.origin.taught[:TAUGHT_SHOWN_MAX]],
        judgement=judgement,
        live_test=live_test,
    )


def _read(visit: Visit, reference: str) -> VersionPage:
    database = visit.reports.database
    document = read_version(visit.settings, database, reference)
    version = document.origin.version
    judging = [decision for decision in document.origin.decisions if decision.evidence.judged_events()]
    examples = examples_of(judging[-1].evidence) if judging else ()
    with database.read() as connection:
        prompts = prompt_texts(connection, [example.uid for example in examples])
        steps = steps_of(connection, version.agent, version.number)
    return VersionPage(
        document=document,
        judged_by=judging[-1] if judging else None,
        answers=[_compared(example, prompts.get(example.uid, "")) for example in examples],
        steps=steps,
    )


def _compared(example: Example, prompt: str) -> ComparedAnswers:
    before, after = changed_words(example.before_text or "", example.after_text or "")
    return ComparedAnswers(example=example, prompt=prompt, before=before, after=after)


def _is_shown(answer: ComparedAnswers, shown: str) -> bool:
    match shown:
        case "all":
            return True
        case "won" | "lost":
            return answer.result == shown
        case "suite":
            return answer.example.suite
        case _:
            return answer.result != "tie"
