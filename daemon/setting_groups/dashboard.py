"""The settings under `[dashboard]`: where the dashboard listens, and who may look at it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from daemon import setting_checks
from daemon.setting_group import SettingGroup

_Url = Annotated[str, AfterValidator(setting_checks.server_url)]
_HostName = Annotated[str, AfterValidator(setting_checks.host_name)]


class DashboardSettings(SettingGroup):
    """The web pages for operators. Whoever may look sees what people wrote; actions need a key."""

    enabled: bool = True
    """Whether `clorad run` starts the dashboard: not where the gateway's machine is for users only."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on. Beyond loopback it starts only with `access = "keys"`."""
    port: int = Field(default=8081, ge=0, le=65535)
    """Port to listen on."""
    access: Literal["open", "keys"] = "open"
    """`open`: whoever reaches the port may look. `keys`: only who has a key with the right `read`."""
    hosts: frozenset[_HostName] = frozenset()
    """Names of the dashboard in `Host`, besides localhost; checked on loopback, and where they are given."""
    url: _Url | None = None
    """Its address as people's browsers know it, for the links in notices. None: notices have none."""
