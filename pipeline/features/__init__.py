"""Samples to values."""
