"""Loads the warm engine that the settings describe, after telling torch how its threads wait."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.settings import EngineSettings
from engine.threads import WAITS

if TYPE_CHECKING:
    from engine.warm_engine import WarmEngine


_NEEDED = ("torch", "transformers", "peft", "safetensors")


class EngineRefused(Exception):
    """The engine cannot run here. The text says what a person has to change."""


def prepare_torch(base: Path) -> None:
    """Set how torch's threads wait, as `engine.threads` says, unless the environment says otherwise.

    Call it before any import that loads torch: torch reads the environment once, when it is loaded. Raises
    `EngineRefused` if the base is missing, or if clorad was installed without the engine.
    """
    os.environ.update(WAITS | os.environ)
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise EngineRefused(f"no {', no '.join(missing)} here: install clorad[engine]")
    if not base.is_dir():  # transformers would look for it on the internet
        raise EngineRefused(f"engine.base: no directory {base}")


def load_engine(settings: EngineSettings) -> "WarmEngine":
    """Load and measure the configured base, which may take minutes. Raises `EngineRefused`.

    Import modules that load torch only after this call.
    """
    prepare_torch(settings.base)
    from engine.warm_engine import WarmEngine

    try:
        return WarmEngine.load(
            settings.base,
            device=settings.device,
            dtype=settings.dtype,
            slots=settings.slots,
            rank=settings.rank_max,
            threads=settings.threads,
            token_budget=settings.tokens_max,
            mixing=settings.mixing,
        )
    except (ValueError, OSError) as refusal:  # `BaseRefused`, or what transformers raises for broken files
        raise EngineRefused(f"engine.base: {refusal}") from None
