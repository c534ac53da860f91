"""Joins the stages: settings, roles, supervisor, command line."""

__version__ = "0.1.0"
