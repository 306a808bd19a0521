"""From a catalog to a store: what is missing, in tasks, by workers."""
