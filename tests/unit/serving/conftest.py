"""An environment of its own for every test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.serving.serving_environment import ServingEnvironment, build_environment


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[ServingEnvironment]:
    with build_environment(tmp_path) as built:
        yield built
