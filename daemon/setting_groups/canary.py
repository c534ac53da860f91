"""The settings under `[canary]`: how a version that passed the gate reaches the users."""

from pydantic import Field

from daemon.setting_group import SettingGroup
from ledger.events import Signal


class CanarySettings(SettingGroup):
    """How a version that passed the gate reaches the users."""

    share: float = Field(default=0.0, ge=0, le=0.5)
    """Share of the conversations that a new version answers first, then 25 %, then all. 0: all at once."""
    s_max: float = Field(default=1800.0, gt=0)
    """Seconds of one step at most, and for which a promoted version is watched: most users come within."""
    ignored: frozenset[Signal] = frozenset()
    """Signals that withdraw no version, such as `refusal` where agents are taught to refuse."""
    outcomes_max: int = Field(default=2000, ge=20)
    """Conversations with an outcome after which a candidate that outcomes judge is given up undecided."""
    outcomes_s_max: float = Field(default=604_800.0, gt=0)
    """Seconds after which it is given up too: the champion has changed little, users may have changed."""
