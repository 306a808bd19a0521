"""A synthesised, labelled corpus."""
