"""Many trainings, and their comparison."""
