"""Bridges: they turn what people do in other tools into events of feedback."""
