"""Single precision rounded to half precision: to the nearest, ties to even, as NumPy does it."""

import platform
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from pipeline.kernels.compiler import compiled

_AT_ONCE = 8
"""Numbers that processors with instructions for it round at a time."""

_HAS_INSTRUCTION = platform.machine() in ("aarch64", "arm64") or bool(
    binding.get_host_cpu_features().get("f16c")
)

# Sums with this leave of a number below half's normal ones what half keeps of it, rounded.
_SUBNORMAL = np.int32(((127 - 15) + (23 - 10) + 1) << 23)


def halves(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Values in half precision."""
    rounded = np.empty(values.shape, np.uint16)
    known = np.ascontiguousarray(values).reshape(-1)
    n_done = len(known) - len(known) % _AT_ONCE if _HAS_INSTRUCTION else 0
    if n_done:
        _by_instruction(known[:n_done], rounded.reshape(-1)[:n_done])
    _by_bits(known[n_done:], rounded.reshape(-1)[n_done:])
    return rounded.view(np.float16)


def _halve(typing: Any, values: Any, at: Any, rounded: Any) -> Any:
    singles, halves, words = (
        ir.VectorType(kind, _AT_ONCE) for kind in (ir.FloatType(), ir.HalfType(), ir.IntType(16))
    )

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, target = (
            builder.gep(context.make_array(array)(context, builder, value).data, [args[1]])
            for array, value in ((values, args[0]), (rounded, args[2]))
        )
        loaded = builder.load(builder.bitcast(source, singles.as_pointer()), align=4)
        made = builder.bitcast(builder.fptrunc(loaded, halves), words)
        builder.store(made, builder.bitcast(target, words.as_pointer()), align=2)
        return context.get_dummy_value()

    return types.void(values, types.intp, rounded), generate


_halve_at: Any = intrinsic(_halve)


if _HAS_INSTRUCTION:  # else LLVM would call a function that is not there

    @compiled("void(Array(float32, 1, 'C', readonly=True), uint16[::1])")
    def _by_instruction(values: Any, rounded: Any) -> None:
        for at in range(0, len(values), _AT_ONCE):
            _halve_at(values, at, rounded)


@compiled("void(Array(float32, 1, 'C', readonly=True), uint16[::1])")
def _by_bits(values: Any, rounded: Any) -> None:
    magic = np.int32(_SUBNORMAL).view(np.float32)
    for i in range(len(rounded)):
        bits = np.float32(values[i]).view(np.int32)
        size = np.int32(bits & 0x7FFFFFFF)
        odd = np.int32(np.int32(size >> 13) & 1)
        normal = np.int32(size + ((15 - 127) << 23) + 0xFFF + odd) >> 13
        small = np.float32(np.int32(size).view(np.float32) + magic).view(np.int32) - _SUBNORMAL
        half: Any = small if size < (113 << 23) else normal
        half = half if size < ((127 + 16) << 23) else 0x7C00
        half = half if size <= (255 << 23) else 0x7E00
        rounded[i] = half | ((bits >> 16) & 0x8000)
