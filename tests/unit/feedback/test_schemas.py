"""Producers can check every event type with a JSON Schema."""

import pytest

from feedback.schemas import names, schema


def test_every_type_has_a_schema_with_its_fields_described() -> None:
    for name in names():
        made = schema(name)
        assert made["title"] == name
        assert made["properties"]["agent"]["description"]
    assert schema("correction") == schema("clorad.correction.v1")
    with pytest.raises(ValueError, match="unknown type"):
        schema("praise")
