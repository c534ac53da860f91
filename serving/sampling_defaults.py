"""Reads the sampling parameters that replicas take from the base where a request gives none.

vLLM reads them from the `generation_config.json` of its model (its option `--generation-config auto`;
vLLM 0.32, vllm/config/model.py, `get_diff_sampling_param`). Replies cut so are captured as restricted.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

GENERATION_CONFIG = "generation_config.json"

PARAMETERS = ("top_p", "top_k", "min_p", "repetition_penalty")
"""Those that keep tokens from being sampled, or change their probabilities beside the temperature."""


def read_sampling_defaults(base: Path) -> Mapping[str, Any]:
    """The base's own values of `PARAMETERS`; empty where it has no such file, or one that cannot be read."""
    try:
        content = json.loads((base / GENERATION_CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: content[name] for name in PARAMETERS if isinstance(content.get(name), int | float)}
