"""What all groups of settings share: values never change, and a name that is no setting is refused."""

from pydantic import BaseModel, ConfigDict


class SettingGroup(BaseModel):
    """A section of the settings, or a table inside one."""

    # Defaults are checked too: a relative path would be one folder here and another on a replica.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,  # training would cost an agent of infinite weight nothing
    )
