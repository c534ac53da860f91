"""The settings under `[rejudge]`: when a version that serves is judged again."""

from pydantic import Field

from daemon.setting_group import SettingGroup


class RejudgeSettings(SettingGroup):
    """When a version that was promoted is compared with its predecessor again."""

    growth: float = Field(default=0.25, gt=0)
    """Share by which its no-harm suite must grow until then: more prompts show harm that few did not."""
    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Chance of rolling back a version that is no worse than its predecessor, over all looks at it."""
    image: str = Field(default="", max_length=200)
    """Name or digest of the replicas' image, if vLLM's version does not tell: another one is a new server."""
