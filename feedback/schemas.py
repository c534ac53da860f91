"""Makes JSON Schemas, with which producers can check their events, from the models that check them here."""

from typing import Any

from feedback.wire import TYPES

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def names() -> tuple[str, ...]:
    """The CloudEvent types that have a schema."""
    return tuple(TYPES)


def schema(name: str) -> dict[str, Any]:
    """The schema of one type's `data`; `correction` stands for `clorad.correction.v1`.

    Raises `ValueError` for a type that is not known.
    """
    full = name if name in TYPES else f"clorad.{name}.v1"
    if full not in TYPES:
        raise ValueError(f"unknown type; known: {', '.join(TYPES)}")
    return {"$schema": DIALECT} | TYPES[full].model_json_schema() | {"title": full}
