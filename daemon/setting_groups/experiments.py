"""The settings under `[experiments]`: where `clorad experiment` stores results, and what it waits for."""

from pathlib import Path

from pydantic import Field, field_validator

from daemon.setting_group import SettingGroup


class ExperimentSettings(SettingGroup):
    """Experiments that this machine runs."""

    path: Path = Path("experiments")
    """Directory of their results: one file of JSON lines for each experiment, and a page with all curves."""
    rollouts_s_max: float = Field(default=900.0, gt=0)
    """Seconds that the outcomes of one step may take; then it goes on with those that came."""
    update_s_max: float = Field(default=1800.0, gt=0)
    """Seconds from the last outcome of a step until the new version serves; then the experiment ends."""
    restarts_max: int = Field(default=3, ge=0)
    """Times that an environment which died is started again; then its experiments end."""

    @field_validator("path")
    @classmethod
    def _is_absolute(cls, path: Path) -> Path:
        return path.expanduser().resolve()
