"""A student learns from what a teacher says of clips without labels."""
