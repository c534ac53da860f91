"""Answers users with adapters (`gateway`), and decides which adapters the replicas load (`fleet`)."""
