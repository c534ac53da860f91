"""Builds the options of canaries: the defaults of the settings, with changes."""

from dataclasses import replace
from typing import Any

from daemon.roles.canaries import options_of_canaries
from daemon.setting_groups.canary import CanarySettings
from daemon.settings import GateSettings
from serving.canary.steps import CanaryOptions


def build_canary_options(**changes: Any) -> CanaryOptions:
    return replace(options_of_canaries(CanarySettings(), GateSettings()), **changes)
