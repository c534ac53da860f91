"""How an agent's candidates are judged before they serve everybody: one setting of each agent."""

from enum import StrEnum


class GateMode(StrEnum):
    """What decides about the candidates of an agent."""

    CORRECTIONS = "corrections"  # held-out corrections, asked of both versions before users meet the new one
    OUTCOMES = "outcomes"  # how conversations with users end, while the new version has a share of them
    OFF = "off"  # nothing: each version serves at once, but only requests with an experiment's key
