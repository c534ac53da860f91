"""Sends feedback from programs of others: builds events, tries again, over HTTP or Kafka."""
