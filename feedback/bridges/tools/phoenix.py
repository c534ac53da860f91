"""Arize Phoenix's span annotations (REST API v1 of Phoenix 20).

The span's metadata have the interaction, or its input and output the texts. An annotation with the same name
and identifier replaces the earlier one, so both name it here. Corrections stand in the explanation.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from feedback.bridges.annotation import Annotation, Statement, ToolOptions, opinion_of
from feedback.bridges.polling import PAGES_MAX
from feedback.bridges.tool_client import ToolAway, ToolClient, ToolLacks, list_in
from feedback.bridges.tools.fields import id_in, moment_in, object_in, person_in
from feedback.bridges.traced import about_of, text_in

PROJECT = "default"
_SPANS_PAGE, _ANNOTATIONS_PAGE = 100, 1000


class PhoenixAnnotations:
    """The annotations of one project's spans."""

    def __init__(self, client: ToolClient, options: ToolOptions, project: str = PROJECT) -> None:
        self._client, self._options = client, options
        self._path = f"/v1/projects/{quote(project, safe='')}"

    def items(self, since: datetime) -> Iterator[Mapping[str, Any]]:
        """Annotations of spans since then, each with its span. Raises `ToolAway`."""
        query = {"limit": _SPANS_PAGE, "start_time": since.isoformat()}
        for spans in self._pages("spans", query):
            by_id = {_span_id(span): span for span in spans}
            asked = {"span_ids": list(by_id), "limit": _ANNOTATIONS_PAGE}
            for annotations in self._pages("span_annotations", asked) if by_id else ():
                for annotation in annotations:
                    yield {"annotation": annotation, "span": by_id.get(str(annotation.get("span_id")), {})}

    def identity(self, item: Mapping[str, Any]) -> tuple[str, datetime]:
        """The annotation by what Phoenix replaces it by, and when it was changed. Raises
        `AnnotationRefused`."""
        annotation = object_in(item, "annotation")
        name = "/".join(
            (
                id_in(annotation, "span_id"),
                id_in(annotation, "name"),
                str(annotation.get("identifier") or ""),
            )
        )
        return name, moment_in(annotation, "updated_at", "created_at")

    def annotation(self, item: Mapping[str, Any]) -> Annotation:
        """What the annotation says. Raises `AnnotationRefused`."""
        name, revised_at = self.identity(item)
        annotation, span = object_in(item, "annotation"), object_in(item, "span")
        attributes = span.get("attributes")
        attributes = attributes if isinstance(attributes, dict) else {}
        metadata = annotation.get("metadata")
        return Annotation(
            name=name,
            revised_at=revised_at,
            person=person_in(annotation.get("user_id"))
            or person_in(metadata.get("author") if isinstance(metadata, dict) else None),
            about=about_of(
                (attributes,),
                asked=attributes.get("input.value"),
                answered=attributes.get("output.value"),
            ),
            said=said_by(annotation, self._options),
        )

    def _pages(self, name: str, query: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
        for _ in range(PAGES_MAX):
            try:
                answer = self._client.get(f"{self._path}/{name}", query)
            except ToolLacks:
                raise ToolAway("no such project, or another version of Phoenix") from None
            yield list_in(answer, "data")
            cursor = answer.get("next_cursor")
            if not cursor:
                return
            query = query | {"cursor": cursor}


def said_by(annotation: Mapping[str, Any], options: ToolOptions) -> Statement | None:
    """What an annotation says; None where no person said it, or nothing. Raises `AnnotationRefused`."""
    result = annotation.get("result")
    if annotation.get("annotator_kind") != "HUMAN" or not isinstance(result, dict):
        return None
    label, score, text = (result.get(name) for name in ("label", "score", "explanation"))
    explanation = text_in(text)
    use = options.use_of(str(annotation.get("name")))
    if use == "correction":
        corrected = explanation or text_in(label)
        return None if corrected is None else Statement(kind="correction", value=corrected)
    if use != "opinion":
        return None
    is_known = isinstance(label, str) and label.strip().lower() in options.good | options.bad
    value = label if is_known or score is None else score
    return None if value is None else opinion_of(value, explanation, options)


def _span_id(span: Mapping[str, Any]) -> str:
    context = span.get("context")
    return str(context.get("span_id")) if isinstance(context, dict) else ""
