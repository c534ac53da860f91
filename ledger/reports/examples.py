"""Prompts by which a version was judged, with its own answers and those of its parent."""

from dataclasses import dataclass, replace
from typing import Any

from ledger.versions.evidence import Evidence, Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One prompt: the parent's answer (before) and the version's (after), with their scores."""

    uid: str  # of the event that the prompt comes from
    suite: bool  # part of the no-harm suite; otherwise evidence of learning
    before: float
    after: float
    before_text: str | None
    after_text: str | None
    by: str = ""  # the comparison that gave the scores
    verdicts: tuple[str, ...] = ()  # of a judge: before, after or tie
    agreement: float | None = None  # share of the champion's samples that say what it said; None: not sampled
    unscored: str | None = None  # why the prompt has no score; both are 0 then

    def to_json(self) -> dict[str, Any]:
        """The example for programs."""
        return {
            "event": self.uid,
            "score_before": self.before if self.unscored is None else None,
            "score_after": self.after if self.unscored is None else None,
            "before": self.before_text,
            "after": self.after_text,
            "by": self.by,
            "verdicts": list(self.verdicts),
            "unscored": self.unscored,
        }


def examples_of(evidence: Evidence) -> tuple[Example, ...]:
    """Every prompt in a decision's evidence: of gate events, of the suite, and those without a score."""
    unscored = (
        replace(_example(evidence, Pair(event=uid, before=0.0, after=0.0), suite=False), unscored=why)
        for uid, why in evidence.unscored.items()
    )
    return (
        *(_example(evidence, pair, suite=False) for pair in evidence.gate),
        *(_example(evidence, pair, suite=True) for pair in evidence.suite),
        *unscored,
    )


def changed_examples(evidence: Evidence) -> tuple[Example, ...]:
    """Prompts whose score changed, most improved first."""
    changed = [example for example in examples_of(evidence) if example.before != example.after]
    return tuple(sorted(changed, key=lambda example: example.before - example.after))


def _example(evidence: Evidence, pair: Pair, *, suite: bool) -> Example:
    answers = evidence.answers.get(pair.event)
    return Example(
        uid=pair.event,
        suite=suite,
        before=pair.before,
        after=pair.after,
        before_text=None if answers is None else answers.before,
        after_text=None if answers is None else answers.after,
        by=pair.by,
        verdicts=evidence.verdicts.get(pair.event, ()),
        agreement=pair.agreement,
    )
