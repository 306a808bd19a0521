"""Loops that no array library has, compiled by numba; the same bits on every machine.

A module here compiles its functions as it is imported, so it is imported by what calls them, within
functions: who only plans or reads pays nothing.
"""

COMPILED = (
    "pipeline.kernels.halves",
    "pipeline.kernels.scaling",
    "pipeline.kernels.spectra",
    "pipeline.kernels.statistics",
)
"""Modules that are compiled as they are imported, once for all processes that are forked then."""
