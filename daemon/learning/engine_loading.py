"""The warm engine as the settings describe it, and what must be said to torch before it is loaded."""

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
    """The engine cannot do this here; the text says what a person has to change."""


def prepare_torch(base: Path) -> None:
    """To be called before any import that loads torch, which reads the environment once, then.

    Its threads wait as `engine.threads` says, unless the environment says otherwise. Raises `EngineRefused`
    where there is no base, or only the roles that need no engine were installed.
    """
    os.environ.update(WAITS | os.environ)
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise EngineRefused(f"no {', no '.join(missing)} here: install clorad[engine]")
    if not base.is_dir():  # transformers would look for it on the internet
        raise EngineRefused(f"engine.base: no directory {base}")


def load_engine(settings: EngineSettings) -> "WarmEngine":
    """The configured base, loaded and measured, which may take minutes. Raises `EngineRefused`.

    Import what itself loads torch only after this.
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
    except (ValueError, OSError) as refusal:  # `BaseRefused`, or what transformers says of broken files
        raise EngineRefused(f"engine.base: {refusal}") from None
