"""What people told us: the wire, Kafka intake, redaction, dead letters, outbox."""
