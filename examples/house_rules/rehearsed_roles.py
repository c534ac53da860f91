"""The roles of events in a rehearsal, which has no ledger: as a ledger gives them, by a key that is known."""

from collections.abc import Mapping, Sequence

from feedback.grouping import group_of
from ledger.events import Role
from ledger.intake.prompt_roles import keyed_role

_KEY = b"rehearsal"


def role_of(agent: str, messages: Sequence[Mapping[str, str]]) -> Role:
    """The role of feedback on these messages to this agent."""
    return keyed_role(_KEY, agent, group_of(messages))
