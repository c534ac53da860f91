"""The settings under `[learning]`: when an agent learns, and from which events."""

from pydantic import Field

from daemon.setting_group import SettingGroup


class LearningSettings(SettingGroup):
    """When an agent learns, and from which events."""

    events_min: int = Field(default=16, ge=1)
    """Untaught events that make an agent due."""
    events_max: int = Field(default=256, ge=1)
    """New events in one turn at most; the others wait for the next turn."""
    age_s_max: float = Field(default=3600.0, gt=0)
    """Seconds after which an agent is due with fewer events, and with too little evidence for the gate."""
    replay_max: int = Field(default=64, ge=0)
    """Taught events that a turn trains again, so that new events do not undo what was taught before."""
    anchors_max: int = Field(default=160, ge=0)
    """Replies that people approved, or did not object to, trained in a turn to keep them as they are. Without
    them a turn changes them too."""
    settle_s: float = Field(default=3600.0, ge=0)
    """Seconds people have to object to a captured reply; then it counts as right where nobody approves."""
    refusals_max: int = Field(default=3, ge=1)
    """Refused candidates that a batch may make; then it is tried in halves, to find what is bad in it."""
    gather_s: float = Field(default=2.0, ge=0, le=600)
    """Seconds that the first due agent waits for others: one pass for several costs less than one for
    each."""
