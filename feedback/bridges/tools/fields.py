"""Reads fields of payloads and refuses those that are missing or of another kind, by their names."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from feedback.bridges.annotation import AnnotationFault, AnnotationRefused


def object_in(values: Any, name: str) -> Mapping[str, Any]:
    """The object under this name. Raises `AnnotationRefused`."""
    value = values.get(name) if isinstance(values, Mapping) else None
    if not isinstance(value, dict):
        raise AnnotationRefused(AnnotationFault.INVALID, f"{name}: no object")
    return value


def id_in(values: Mapping[str, Any], name: str) -> str:
    """The id under this name, a text or a whole number. Raises `AnnotationRefused`."""
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value):
        raise AnnotationRefused(AnnotationFault.INVALID, f"{name}: no id")
    return str(value)


def moment_in(values: Mapping[str, Any], *names: str) -> datetime:
    """The first time (ISO 8601; UTC where it has no zone) under these names. Raises `AnnotationRefused`."""
    for name in names:
        value = values.get(name)
        if not isinstance(value, str):
            continue
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            break
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    raise AnnotationRefused(AnnotationFault.INVALID, f"{names[0]}: no time")


def person_in(value: Any) -> str | None:
    """A person as tools name them: a text or a number, or an object with e-mail, user name or id."""
    if isinstance(value, dict):
        value = value.get("email") or value.get("username") or value.get("id")
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None
