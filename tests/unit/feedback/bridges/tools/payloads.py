"""Webhooks of tools as their documentation has them, without fields that nobody reads here."""

from typing import Any

ASK = [{"role": "user", "content": "cancel order 1042"}]
NAMED = {"clorad.interaction": "i-1", "clorad.agent": "billing"}
TEXTS = {"prompt": "cancel order 1042", "response": "refund(1042)"}


def build_label_studio(
    *results: dict[str, Any],
    action: str = "ANNOTATION_CREATED",
    data: dict[str, Any] | None = None,
    updated_at: str = "2026-11-30T12:00:00.000000Z",
    **annotation: Any,
) -> dict[str, Any]:
    """https://labelstud.io/guide/webhook_reference"""
    return {
        "action": action,
        "annotation": {
            "id": 7,
            "completed_by": 5,
            "result": list(results) or [build_text("correction", "cancel(1042)")],
            "was_cancelled": False,
            "ground_truth": False,
            "created_at": "2026-11-30T11:59:00.000000Z",
            "updated_at": updated_at,
            "lead_time": 10.45,
            "prediction": {},
            "task": 3,
            **annotation,
        },
        "project": {"id": 1, "title": "billing"},
        "task": {"id": 3, "data": NAMED | TEXTS if data is None else data, "meta": {}},
    }


def build_text(name: str, *lines: str) -> dict[str, Any]:
    return {"id": "x", "type": "textarea", "from_name": name, "to_name": "r", "value": {"text": list(lines)}}


def build_choice(name: str, choice: str) -> dict[str, Any]:
    return {"id": "y", "type": "choices", "from_name": name, "to_name": "r", "value": {"choices": [choice]}}


def build_rating(name: str, rating: int) -> dict[str, Any]:
    return {"id": "z", "type": "rating", "from_name": name, "to_name": "r", "value": {"rating": rating}}


def build_argilla(
    values: dict[str, Any] | None = None,
    *,
    kind: str = "response.created",
    version: Any = 1,
    status: str = "submitted",
    metadata: dict[str, Any] | None = None,
    fields: dict[str, Any] | None = None,
    updated_at: str = "2026-11-30T12:00:00.344522",
) -> dict[str, Any]:
    """https://docs.argilla.io/latest/how_to_guides/webhooks_internals"""
    given = {"correction": "cancel(1042)", "comment": "not a refund"} if values is None else values
    return {
        "type": kind,
        "version": version,
        "timestamp": "2026-11-30T12:00:01.000000Z",
        "data": {
            "id": "7f1a",
            "values": {name: {"value": value} for name, value in given.items()},
            "status": status,
            "record": {
                "id": "r-1",
                "status": "pending",
                "fields": TEXTS if fields is None else fields,
                "metadata": NAMED if metadata is None else metadata,
                "external_id": None,
            },
            "user": {"id": "u-1", "first_name": "Ann", "username": "ann", "role": "annotator"},
            "inserted_at": "2026-11-30T11:59:00.000000",
            "updated_at": updated_at,
        },
    }
