"""Argilla's webhooks: https://docs.argilla.io/latest/how_to_guides/webhooks_internals, version 1.

The record's fields have `messages` or `prompt`, and `response`; or its metadata the interaction. A text
question named `correction` has the corrected answer, one named `comment` the reason; label and rating
questions are opinions.
"""

from collections.abc import Mapping
from typing import Any

from feedback.bridges.annotation import (
    Annotation,
    AnnotationFault,
    AnnotationRefused,
    ToolOptions,
    said_together,
)
from feedback.bridges.tools.fields import id_in, moment_in, object_in, person_in
from feedback.bridges.traced import about_of

VERSION = 1
_WRITTEN = ("response.created", "response.updated")
_OTHERS = ("dataset.", "record.", "ping")


def annotations_of(payload: Mapping[str, Any], options: ToolOptions) -> list[Annotation]:
    """The response in one webhook; none in those about other things. Raises `AnnotationRefused`."""
    if payload.get("version") != VERSION:
        raise AnnotationRefused(AnnotationFault.UNKNOWN_VERSION, f"version: {VERSION} is known here")
    kind = payload.get("type")
    if kind in _WRITTEN:
        return _written(object_in(payload, "data"), options)
    if kind == "response.deleted":
        return [Annotation(name=id_in(object_in(payload, "data"), "id"))]
    if isinstance(kind, str) and kind.startswith(_OTHERS):
        return []
    raise AnnotationRefused(AnnotationFault.UNKNOWN_VERSION, "type: none that is known here")


def _written(response: Mapping[str, Any], options: ToolOptions) -> list[Annotation]:
    name, status = id_in(response, "id"), response.get("status")
    if status == "draft":
        return []
    if status == "discarded":
        return [Annotation(name=name)]
    if status != "submitted":
        raise AnnotationRefused(AnnotationFault.INVALID, "status: none that is known here")
    record = object_in(response, "record")
    texts = object_in(record, "fields")
    return [
        Annotation(
            name=name,
            revised_at=moment_in(response, "updated_at", "inserted_at"),
            person=person_in(response.get("user")),
            about=about_of(
                (record.get("metadata"), texts),
                asked=texts.get("messages", texts.get("prompt")),
                answered=texts.get("response"),
            ),
            said=said_together(_values(response.get("values")), options),
        )
    ]


def _values(values: Any) -> list[tuple[str, Any]]:
    if values is None:
        return []
    if not isinstance(values, dict) or not all(isinstance(value, dict) for value in values.values()):
        raise AnnotationRefused(AnnotationFault.INVALID, "values: no object of objects")
    return [(name, value.get("value")) for name, value in values.items()]
