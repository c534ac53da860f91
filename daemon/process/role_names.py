"""The four roles, and on which port each shows its health. Here so that naming them loads nothing."""

ROLES = ("intake", "learner", "fleet", "gateway")
"""In the order of their health ports."""


def health_port(first: int, role: str) -> int:
    """The role's own, under `run` and alone alike: one settings file serves all roles. 0: none is wanted."""
    return first + ROLES.index(role) if first else 0
