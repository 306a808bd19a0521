"""Stored values back to sound."""
