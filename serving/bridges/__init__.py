"""Receives webhooks of other tools."""
