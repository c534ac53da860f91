"""What the operator decides about canaries, from the settings."""

from daemon.setting_groups.canary import CanarySettings
from daemon.settings import GateSettings, Settings
from serving.canary.steps import CanaryOptions, OutcomeOptions


def canary_options(settings: Settings) -> CanaryOptions:
    """The options of the fleet role's canaries, and of commands that say what a canary waits for."""
    return options_of_canaries(settings.canary, settings.gate)


def options_of_canaries(canary: CanarySettings, gate: GateSettings) -> CanaryOptions:
    """The same from the two groups of settings that they come from."""
    return CanaryOptions(
        share=canary.share,
        s_max=canary.s_max,
        ignored=canary.ignored,
        outcomes=OutcomeOptions(
            alpha=gate.alpha,
            authors_min=gate.authors_min,
            conversations_max=canary.outcomes_max,
            s_max=canary.outcomes_s_max,
        ),
    )
