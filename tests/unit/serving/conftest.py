"""A scene of its own for every test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.serving import scene as scenery


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[scenery.Scene]:
    with scenery.scene(tmp_path) as made:
        yield made
