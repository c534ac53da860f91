"""Putting adapters in front of users: replicas, gate, swap, gateway."""
