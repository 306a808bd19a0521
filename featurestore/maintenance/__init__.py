"""Whether a store is sound, and what to do if it is not."""
