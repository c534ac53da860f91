"""Feedback on Kafka: reads, checks and redacts it, and sends events and the outbox."""
