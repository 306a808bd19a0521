"""Loops that no array library has, compiled by numba; of the same numbers, the same bits anywhere.

A module here compiles its functions as it is imported, or loads what was compiled before, so it is
imported by what calls them, within functions: who only plans or reads pays nothing.
"""

import importlib

OF_AUDIO = ("chain", "memory")
OF_FEATURES = ("halves", "scaling", "spectra", "statistics")
OF_PERTURBATIONS = ("angles", "loudness", "vocoder")
"""Modules that are needed to read files, to make features of them, and to perturb them."""

COMPILED = tuple(f"{__name__}.{name}" for name in (*OF_AUDIO, *OF_FEATURES))
"""What every file needs: for processes to import once, before others are forked from them."""


def load(*names: str) -> None:
    """Import modules of this folder now: before a clip's time is counted."""
    for name in names:
        importlib.import_module(f"{__name__}.{name}")
