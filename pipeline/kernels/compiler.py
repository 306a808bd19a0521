"""How loops are compiled: kept on the disk where they can be, else anew in each process."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = {"nogil": True, "error_model": "numpy"}
"""No ``fastmath``: sums in another order, or fused with products, are other bits."""


def compiled(signature: str) -> Callable[[F], F]:
    """Compile a function for one signature at once, or load it as it was compiled before.

    numba keeps what it has compiled beside the source, or else in the user's cache folder
    (``NUMBA_CACHE_DIR``, where it is set, comes before both), by processor. Where it can write to
    neither, or what is there is damaged, the function is compiled for this process alone.

    Parameters
    ----------
    signature : str
        Types as numba writes them: ``"void(float32[::1], int64)"``.
    """

    def compile_now(function: F) -> F:
        # numba compares the source of this function alone, not of those that it calls.
        function.__qualname__ += f"-{_SOURCES}"
        try:
            made: F = numba.njit(signature, cache=True, **_OPTIONS)(function)
        except Exception:
            # Whatever there is about the cache; what there is about the function is raised again.
            made = numba.njit(signature, **_OPTIONS)(function)
        return made

    return compile_now


def inlined(function: F) -> F:
    """Make a function part of the compiled ones that call it."""
    made: F = numba.njit(forceinline=True, **_OPTIONS)(function)
    return made


def _digest() -> str:
    digest = hashlib.blake2b(digest_size=4)
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


_SOURCES = _digest()
"""Changes with any file of this folder, and so names what was compiled of them."""
