"""Measured promises: each script is one command, and prints ratios from one run beside the aim."""
