"""Options of a tool as the settings give them, with what a test changes."""

from typing import Any

from daemon.roles.bridge import tool_options
from daemon.setting_groups.bridges import ToolSettings
from feedback.bridges.annotation import ToolOptions


def build_tool_options(name: str, **changes: Any) -> ToolOptions:
    return tool_options(name, ToolSettings.model_construct(**changes))
