"""Environments for `clorad experiment`: tasks with a reward that can be computed."""
