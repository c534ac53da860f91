"""What replicas take from the base's own file restricts what they sample."""

from pathlib import Path
from typing import Any

import pytest

from serving.gateway.captured_parts import restrictions_of
from serving.sampling_defaults import GENERATION_CONFIG, read_sampling_defaults

QWEN = '{"do_sample": true, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}'


def test_the_parameters_of_the_base_restrict_what_a_request_leaves_open(tmp_path: Path) -> None:
    (tmp_path / GENERATION_CONFIG).write_text(QWEN)
    defaults = read_sampling_defaults(tmp_path)
    assert defaults == {"top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}
    assert restrictions_of({"temperature": 1.0}, defaults) == ["top_p", "top_k", "repetition_penalty"]
    assert restrictions_of({"top_p": None}, defaults) == ["top_p", "top_k", "repetition_penalty"]
    free: dict[str, Any] = {"top_p": 1, "top_k": -1, "repetition_penalty": 1.0}
    assert restrictions_of(free, defaults) == []


@pytest.mark.parametrize("content", [None, "", "[]", "{", '{"top_p": "0.8", "top_k": null}', '{"top_p": []}'])
def test_a_base_without_a_readable_file_restricts_nothing(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / GENERATION_CONFIG).write_text(content)
    assert read_sampling_defaults(tmp_path) == {}
    assert read_sampling_defaults(tmp_path / "nowhere") == {}


def test_values_that_change_nothing_restrict_nothing(tmp_path: Path) -> None:
    (tmp_path / GENERATION_CONFIG).write_text('{"top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0}')
    assert restrictions_of({}, read_sampling_defaults(tmp_path)) == []
