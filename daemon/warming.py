"""The warm engine as the settings describe it, and what must be said to torch before it is loaded."""

import os
from typing import TYPE_CHECKING

from daemon.settings import EngineSettings
from engine.threads import WAITS

if TYPE_CHECKING:
    from engine.warm_engine import WarmEngine


class EngineRefused(Exception):
    """The base cannot be taught here; the text names the setting. A person has to change something."""


def prepare_torch() -> None:
    """Its threads wait as `engine.threads` says, unless the environment says otherwise.

    To be called before any import that loads torch: it reads the environment once, then.
    """
    os.environ.update(WAITS | os.environ)


def warm_engine(settings: EngineSettings) -> "WarmEngine":
    """The configured base, loaded and measured, which may take minutes. Raises `EngineRefused`.

    Import what itself loads torch only after this.
    """
    if not settings.base.is_dir():  # transformers would look for it on the internet
        raise EngineRefused(f"engine.base: no directory {settings.base}")
    prepare_torch()
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
