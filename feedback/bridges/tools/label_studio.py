"""Label Studio's webhooks: https://labelstud.io/guide/webhook_reference. They have no version.

The task's data has `messages` or `prompt`, and `response`; or the interaction among its data or meta. In
the labelling configuration a TextArea named `correction` has the corrected answer, one named `comment` the
reason; Choices and Rating are opinions.
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
from feedback.bridges.traced import about_of, text_in

_WRITTEN = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")
_DELETED = "ANNOTATIONS_DELETED"
_OTHERS = ("PROJECT_", "TASKS_", "LABEL_LINK_", "START_TRAINING", "REVIEW", "ANNOTATIONS_CREATED")


def annotations_of(payload: Mapping[str, Any], options: ToolOptions) -> list[Annotation]:
    """The annotations in one webhook; none in those about other things. Raises `AnnotationRefused`."""
    action = payload.get("action")
    if action in _WRITTEN:
        return [_written(payload, options)]
    if action == _DELETED:
        deleted = payload.get("annotations")
        if not isinstance(deleted, list):
            raise AnnotationRefused(AnnotationFault.INVALID, "annotations: no list")
        return [_deleted(annotation) for annotation in deleted]
    if isinstance(action, str) and action.startswith(_OTHERS):
        return []
    raise AnnotationRefused(AnnotationFault.UNKNOWN_VERSION, "action: none that is known here")


def _written(payload: Mapping[str, Any], options: ToolOptions) -> Annotation:
    annotation, task = object_in(payload, "annotation"), object_in(payload, "task")
    data = object_in(task, "data")
    results = annotation.get("result")
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise AnnotationRefused(AnnotationFault.INVALID, "annotation.result: no list of objects")
    return Annotation(
        name=id_in(annotation, "id"),
        revised_at=moment_in(annotation, "updated_at", "created_at"),
        person=person_in(annotation.get("updated_by")) or person_in(annotation.get("completed_by")),
        about=about_of(
            (data, task.get("meta")),
            asked=data.get("messages", data.get("prompt")),
            answered=data.get("response"),
        ),
        said=None
        if annotation.get("was_cancelled") is True
        else said_together([(str(result.get("from_name")), _value(result)) for result in results], options),
    )


def _deleted(annotation: Any) -> Annotation:
    if not isinstance(annotation, dict):
        raise AnnotationRefused(AnnotationFault.INVALID, "annotations: no list of objects")
    return Annotation(name=id_in(annotation, "id"))


def _value(result: Mapping[str, Any]) -> Any:
    """The one value of a result: its text, choice or rating. None: another kind of result."""
    value = result.get("value")
    if not isinstance(value, dict):
        return None
    texts = value.get("text", value.get("choices"))
    if isinstance(texts, list):
        return "\n".join(text for text in texts if isinstance(text, str)) or None
    return text_in(texts) if texts is not None else value.get("rating", value.get("number"))
