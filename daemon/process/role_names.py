"""The names of the five roles and their health ports, in a module that is cheap to import."""

ROLES = ("intake", "learner", "fleet", "gateway", "dashboard")
"""In the order of their health ports."""

BRIDGE = "bridge"
"""What `clorad bridge run` runs. `clorad run` does not start it: few installations have other tools."""


def health_port(first: int, role: str) -> int:
    """The role's health port, also if it runs alone: one settings file serves all roles. 0: it has none."""
    return first + (*ROLES, BRIDGE).index(role) if first else 0
