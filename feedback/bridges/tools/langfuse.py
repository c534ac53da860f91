"""Langfuse's scores: https://langfuse.com/docs/api-and-data-platform/features/scores-api, version 3.

A score of type CORRECTION has the corrected output; others are opinions, where people gave them. The trace,
or the observation, has the interaction in its metadata, or input and output.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from feedback.bridges.annotation import (
    Annotation,
    AnnotationFault,
    AnnotationRefused,
    Statement,
    ToolOptions,
    opinion_of,
)
from feedback.bridges.polling import PAGES_MAX
from feedback.bridges.tool_client import ToolClient, ToolLacks, list_in
from feedback.bridges.tools.fields import id_in, moment_in, object_in, person_in
from feedback.bridges.traced import TracedAnswer, about_of, text_in

SCORES = "/api/public/v3/scores"
_PAGE = 100


class LangfuseScores:
    """The scores of one project."""

    def __init__(self, client: ToolClient, options: ToolOptions) -> None:
        self._client, self._options = client, options

    def items(self, since: datetime) -> Iterator[Mapping[str, Any]]:
        """The scores since then. Raises `ToolAway`."""
        query = {
            "limit": _PAGE,
            "fields": "details,subject,annotation",
            "fromTimestamp": since.isoformat().replace("+00:00", "Z"),
        }
        for _ in range(PAGES_MAX):
            answer = self._client.get(SCORES, query)
            yield from list_in(answer, "data")
            meta = answer.get("meta")
            cursor = meta.get("cursor") if isinstance(meta, dict) else None
            if not cursor:
                return
            query["cursor"] = cursor

    def identity(self, item: Mapping[str, Any]) -> tuple[str, datetime]:
        """The score's id, and when it was changed. Raises `AnnotationRefused`."""
        return id_in(item, "id"), moment_in(item, "updatedAt", "timestamp")

    def annotation(self, item: Mapping[str, Any]) -> Annotation:
        """What the score says. Raises `AnnotationRefused`, `ToolAway`."""
        name, revised_at = self.identity(item)
        said = said_by(item, self._options)
        if said is None:
            return Annotation(name=name, revised_at=revised_at)
        subject = object_in(item, "subject")
        kind, id = subject.get("kind"), subject.get("id")
        observation = self._known("observations", id) if kind == "observation" else {}
        trace_id = id if kind == "trace" else subject.get("traceId") or observation.get("traceId")
        trace = self._known("traces", trace_id)
        return Annotation(
            name=name,
            revised_at=revised_at,
            person=person_of(item, trace),
            about=about_score(trace, observation),
            said=said,
        )

    def _known(self, path: str, id: Any) -> dict[str, Any]:
        """The trace or observation of this id; empty where there is none."""
        if not isinstance(id, str) or not id:
            return {}
        try:
            return self._client.get(f"/api/public/{path}/{quote(id, safe='')}")
        except ToolLacks:
            return {}


def said_by(score: Mapping[str, Any], options: ToolOptions) -> Statement | None:
    """What a score says; None where no person said it, or nothing that is feedback. Raises
    `AnnotationRefused`."""
    kind, value, name = score.get("dataType"), score.get("value"), str(score.get("name"))
    comment = text_in(_detail(score, "details", "comment"))
    if score.get("source") == "EVAL":
        return None
    if kind == "CORRECTION":
        text = text_in(value)
        return None if text is None else Statement(kind="correction", value=text, comment=comment)
    use = options.use_of(name)
    if kind == "TEXT":
        text = text_in(value) if use == "correction" else None
        return None if text is None else Statement(kind="correction", value=text, comment=comment)
    if kind not in ("NUMERIC", "BOOLEAN", "CATEGORICAL"):
        raise AnnotationRefused(AnnotationFault.UNKNOWN_VERSION, "dataType: none that is known here")
    return opinion_of(value, comment, options) if use == "opinion" else None


def about_score(trace: Mapping[str, Any], observation: Mapping[str, Any]) -> TracedAnswer:
    """What a score is about: its observation before its trace."""
    nearest = observation or trace
    return about_of(
        (observation.get("metadata"), trace.get("metadata")),
        asked=nearest.get("input"),
        answered=nearest.get("output"),
    )


def person_of(score: Mapping[str, Any], trace: Mapping[str, Any]) -> str | None:
    """Who scored: the user of Langfuse; of what a program sent, whom it names, else the trace's user."""
    metadata = _detail(score, "details", "metadata")
    named = metadata.get("author") if isinstance(metadata, dict) else None
    user = trace.get("userId") if score.get("source") == "API" else None
    return person_in(_detail(score, "annotation", "authorUserId")) or person_in(named) or person_in(user)


def _detail(score: Mapping[str, Any], group: str, name: str) -> Any:
    """A field of a group; in some releases it stands in the score itself."""
    inner = score.get(group)
    return inner.get(name) if isinstance(inner, dict) else score.get(name)
