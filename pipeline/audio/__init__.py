"""A track, from its bytes to the clip that becomes a row."""
