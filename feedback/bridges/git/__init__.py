"""The bridge from git: what people change in an agent's committed lines becomes feedback."""
