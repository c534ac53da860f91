"""A pretrained base that a package index carries, and worlds in natural language to teach it."""
