"""Bytes under a root: files, the lock, the journal, atomic writes."""
