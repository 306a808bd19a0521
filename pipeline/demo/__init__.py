"""A collection that is made, not found: music of which the truth is known."""
