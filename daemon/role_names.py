"""The four roles, in the order of their health ports. Here so that naming them loads nothing."""

ROLES = ("intake", "learner", "fleet", "gateway")
