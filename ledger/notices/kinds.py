"""The kinds of notices that people get from webhooks. Nothing heavy is imported here: settings name them."""

from enum import StrEnum


class NoticeKind(StrEnum):
    """Why a person is needed."""

    CONFIRM = "confirm"  # a version passed the gate, and a person lets it serve or refuses it
    CONTESTED = "contested"  # people disagree, or an event made its turn fail
    ABSTAINED = "abstained"  # the gate could not judge several versions of an agent, one after the other
    DEAD_LETTERS = "dead-letters"  # more of them wait than the settings allow
    ROLLED_BACK = "rolled-back"  # a version that served everybody was withdrawn, and no person did it
    CANARY_WITHDRAWN = "canary-withdrawn"
    NO_EVIDENCE = "no-evidence"  # an agent has had feedback for long, and lacks what it is judged by


TEST = "test"
"""The kind of the message by which `clorad doctor --test-notice` tries a receiver."""
