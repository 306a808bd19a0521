"""Which settings train best: trials of them, by Optuna, in a file that survives kills."""
