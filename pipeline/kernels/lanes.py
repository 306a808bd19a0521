"""Four numbers side by side, computed with as one: a type for compiled functions.

numba leaves it to LLVM to find out which loops can be done four at a time, and LLVM cannot tell
that two parts of an array do not overlap. Written with these, nothing is left to find out.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

WIDTH = 4
"""Of AVX's registers, in double precision; elsewhere LLVM takes several for one."""

Lanes = Any
"""Four numbers in double precision; has ``+``, ``-`` and ``*``."""

_DOUBLES = ir.VectorType(ir.DoubleType(), WIDTH)
_SINGLES = ir.VectorType(ir.FloatType(), WIDTH)
_INDEX = ir.IntType(32)


class LanesType(types.Type):
    """numba's name for `Lanes`."""

    def __init__(self) -> None:
        super().__init__("Lanes")


lanes = LanesType()


@register_model(LanesType)
class LanesModel(models.PrimitiveModel):
    """What LLVM takes for them: one register."""

    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _DOUBLES)


def _declare(operation: Any, instruction: str) -> None:
    class Operation(ConcreteTemplate):
        cases = [signature(lanes, lanes, lanes)]  # noqa: RUF012

    infer_global(operation)(Operation)

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)

    lower_builtin(operation, lanes, lanes)(lower)


_declare(operator.add, "fadd")
_declare(operator.sub, "fsub")
_declare(operator.mul, "fmul")


def _generated(function: Callable[..., Any]) -> Any:
    """Have LLVM's code for calls of it generated, within compiled functions."""
    return intrinsic(function)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, at: Any, to: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), to.as_pointer())


@_generated
def load(typing: Any, array: Any, at: Any) -> Any:
    """Four numbers of a contiguous array, float64 or float32, from a place on."""
    kept = _SINGLES if array.dtype == types.float32 else _DOUBLES

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1], kept)
        loaded = builder.load(pointer, align=array.dtype.bitwidth // 8)
        return loaded if kept is _DOUBLES else builder.fpext(loaded, _DOUBLES)

    return lanes(array, types.intp), generate


@_generated
def store(typing: Any, array: Any, at: Any, value: Any) -> Any:
    """Put four numbers into a contiguous array, float64 or float32, from a place on."""
    kept = _SINGLES if array.dtype == types.float32 else _DOUBLES

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1], kept)
        value = args[2] if kept is _DOUBLES else builder.fptrunc(args[2], _SINGLES)
        builder.store(value, pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@_generated
def splat(typing: Any, number: Any) -> Any:
    """The same number four times."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = builder.insert_element(ir.Constant(_DOUBLES, ir.Undefined), args[0], _INDEX(0))
        mask = ir.Constant(ir.VectorType(_INDEX, WIDTH), [0] * WIDTH)
        return builder.shuffle_vector(first, first, mask)

    return lanes(types.float64), generate


@_generated
def transposed(typing: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """The first numbers of four, the second ones, the third and the fourth ones."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def mixed(one: Any, other: Any, *places: int) -> Any:
            mask = ir.Constant(ir.VectorType(_INDEX, WIDTH), places)
            return builder.shuffle_vector(one, other, mask)

        a, b, c, d = args
        even_ab, odd_ab = mixed(a, b, 0, 4, 2, 6), mixed(a, b, 1, 5, 3, 7)
        even_cd, odd_cd = mixed(c, d, 0, 4, 2, 6), mixed(c, d, 1, 5, 3, 7)
        rows = (
            mixed(even_ab, even_cd, 0, 1, 4, 5),
            mixed(odd_ab, odd_cd, 0, 1, 4, 5),
            mixed(even_ab, even_cd, 2, 3, 6, 7),
            mixed(odd_ab, odd_cd, 2, 3, 6, 7),
        )
        return context.make_tuple(builder, signature.return_type, rows)

    return types.UniTuple(lanes, WIDTH)(lanes, lanes, lanes, lanes), generate
