"""What one annotation in another tool says, in the same form for all tools, and the event it becomes."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from feedback.bridges.names import USES, Use
from feedback.bridges.traced import TracedAnswer
from feedback.sending.event import FeedbackRefused, OutgoingEvent, build_outgoing_event

_REVISIONS_FROM_S = 1_577_836_800  # 2020-01-01: seconds since then fit into a revision until 2088
_NAME_CHARS_MAX = 160
_DIGEST_CHARS = 16


class AnnotationFault(StrEnum):
    """Why an annotation cannot be used."""

    UNKNOWN_VERSION = "unknown_version"  # a payload in a form that is not known here
    INVALID = "invalid"  # a field is missing, or of another kind
    NO_AGENT = "no_agent"
    NO_AUTHOR = "no_author"
    NO_INTERACTION = "no_interaction"  # and no texts either
    UNKNOWN_LABEL = "unknown_label"  # neither good nor bad
    OUT_OF_RANGE = "out_of_range"  # a score outside `score_min` and `score_max`
    REFUSED = "refused"  # by the checks of all feedback: too large, no JSON


class AnnotationRefused(Exception):
    """The annotation cannot be used. The text quotes nothing that people wrote."""

    def __init__(self, fault: AnnotationFault, detail: str) -> None:
        super().__init__(f"{fault.value}: {detail}")
        self.fault = fault


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOptions:
    """What the operator says about one tool."""

    name: str
    agent: str | None  # where the trace names none
    author: str | None  # where the annotation names none
    people: Mapping[str, str]  # authors, by the tool's names for them
    names: Mapping[str, Use]
    good: frozenset[str]
    bad: frozenset[str]
    score_min: float
    score_max: float

    def use_of(self, name: str) -> Use:
        """What a field, question or score of this name holds."""
        return self.names.get(name) or USES.get(name.lower()) or "opinion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a person says about an answer: one event's kind and own fields."""

    kind: Literal["correction", "approve", "reject", "outcome"]
    value: str | float | None = None  # the corrected text, or the outcome
    comment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One annotation as it is now. `said` is None where it was withdrawn, or says nothing any more."""

    name: str  # of the annotation in its tool; it stays the same when the annotation is changed
    revised_at: datetime | None = None
    person: str | None = None  # who wrote it, by the tool's name for them
    about: TracedAnswer = field(default_factory=TracedAnswer)
    said: Statement | None = None


def said_together(values: Iterable[tuple[str, Any]], options: ToolOptions) -> Statement | None:
    """What named values say together: a correction before an opinion, with the comment beside it.

    None where they say nothing. Raises `AnnotationRefused`.
    """
    by_use: dict[Use, list[Any]] = defaultdict(list)
    for name, value in values:
        if value is not None and value != "":
            by_use[options.use_of(name)].append(value)
    comment = "\n".join(text for text in by_use["comment"] if isinstance(text, str)) or None
    if by_use["correction"]:
        corrected = by_use["correction"][0]
        if not isinstance(corrected, str):
            raise AnnotationRefused(AnnotationFault.INVALID, "a correction is a text")
        return Statement(kind="correction", value=corrected, comment=comment)
    return opinion_of(by_use["opinion"][0], comment, options) if by_use["opinion"] else None


def opinion_of(value: Any, comment: str | None, options: ToolOptions) -> Statement:
    """What a boolean, a label or a number says. Raises `AnnotationRefused`."""
    if isinstance(value, str) and value.strip().lower() in options.good | options.bad:
        value = value.strip().lower() in options.good
    if isinstance(value, bool):
        return Statement(kind="approve" if value else "reject", comment=comment)
    if not isinstance(value, int | float):
        raise AnnotationRefused(AnnotationFault.UNKNOWN_LABEL, "neither good nor bad (settings good, bad)")
    if not options.score_min <= value <= options.score_max:
        limits = f"{options.score_min:g} to {options.score_max:g}"
        raise AnnotationRefused(AnnotationFault.OUT_OF_RANGE, f"scores are from {limits}")
    share = (value - options.score_min) / (options.score_max - options.score_min)
    return Statement(kind="outcome", value=2.0 * share - 1.0, comment=comment)


def event_of(annotation: Annotation, options: ToolOptions) -> OutgoingEvent:
    """The event of an annotation that says something. The same annotation gives the same id.

    Its key is the annotation's name and its revision the time of the change, so what a person changes in the
    tool replaces what it said before. Raises `AnnotationRefused`.
    """
    said = annotation.said
    revised_at = annotation.revised_at
    assert said is not None, "what was withdrawn is retracted"
    assert revised_at is not None, "a tool says when an annotation was changed"
    kind = "intervention" if said.kind in ("approve", "reject") else said.kind
    common = {
        "agent": annotation.about.agent or options.agent or _absent(AnnotationFault.NO_AGENT, "agent"),
        "author": _author_of(annotation, options),
        "key": key_of(annotation.name),
        "revision": max(1, int(revised_at.timestamp()) - _REVISIONS_FROM_S),
    }
    data = {**common, **_about(annotation, said), **_own(said)}
    canonical = json.dumps([revised_at.isoformat(), kind, data], sort_keys=True, default=str)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:_DIGEST_CHARS]
    try:
        return build_outgoing_event(
            kind,
            data,
            source=source_of(options.name),
            event_id=f"{common['key']}-{digest}",
            at=revised_at,
        )
    except FeedbackRefused as refusal:
        raise AnnotationRefused(AnnotationFault.REFUSED, refusal.reason) from None


def source_of(tool: str) -> str:
    """The source of all events of one tool, by the name that the operator gave it."""
    return f"bridge/{tool}"


def key_of(name: str) -> str:
    """The annotation's name as the key of its events."""
    if len(name) <= _NAME_CHARS_MAX and name.isprintable():
        return name
    return hashlib.sha256(name.encode()).hexdigest()


def _author_of(annotation: Annotation, options: ToolOptions) -> str:
    person = annotation.person
    if person is None:
        return options.author or _absent(AnnotationFault.NO_AUTHOR, "author")
    return options.people.get(person, person)


def _absent(fault: AnnotationFault, setting: str) -> str:
    raise AnnotationRefused(fault, f"the annotation names none, nor does the setting {setting}")


def _about(annotation: Annotation, said: Statement) -> dict[str, Any]:
    about = annotation.about
    if about.interaction is not None:
        return {"interaction": about.interaction}
    if about.messages is None or (about.said is None and said.kind != "correction"):
        raise AnnotationRefused(
            AnnotationFault.NO_INTERACTION,
            "its trace names no interaction (clorad.interaction) and has no texts of prompt and answer",
        )
    name = "rejected" if said.kind == "correction" else "said"
    return {"messages": list(about.messages), "tools": about.tools, name: about.said}


def _own(said: Statement) -> dict[str, Any]:
    match said.kind:
        case "correction":
            return {"corrected": said.value, "comment": said.comment}
        case "outcome":
            return {"value": said.value, "comment": said.comment}
        case _:
            return {"action": said.kind, "reason": said.comment}
