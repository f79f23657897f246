"""Two instructions that NumPy's notation cannot ask for: a cache prefetch, and a row step of sixteen models at once.

The compiler's own vectoriser runs along a row; models side by side in a vector register need no sum over its lanes,
and no remainder loop. Measured with 100 columns and 32 models, everything in cache: 9.5 GFLOP/s along rows, 42 across
models. Both are written out in LLVM's terms and have a twin in Python for runs without the compiler.
"""

from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

FUSED = ("contract",)  # a product and a sum may become one instruction
LANES = 16  # two registers of eight doubles: their two chains of sums hide the latency of an addition


def _prefetch(typingctx: Any, values: Any, index: Any) -> Any:
    """Ask for the cache line of ``values[index]`` (1-D, contiguous) ahead of its use; never faults."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        pointer = builder.bitcast(builder.gep(array.data, [arguments[1]]), byte)
        hint = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, hint, "llvm.prefetch.p0")
        # to read, data, into the second-level cache: it waits for more lines at once than the first (784 columns in
        # random order: 9.1 ms against 13.2, of which a stream takes 4.1)
        builder.call(function, [pointer, number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.void(values, types.intp), generate


def _advance_lanes(
    typingctx: Any, flat: Any, previous: Any, row: Any, p: Any, coef: Any, change: Any, scores: Any
) -> Any:
    """coef −= flat[previous:] ⊗ change, scores = flat[row:]ᵀ coef, in one pass over p rows of coef (≥ p, LANES)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, models, changes, sums = (
            context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in (0, 4, 5, 6)
        )
        before, now = builder.gep(data, [arguments[1]]), builder.gep(data, [arguments[2]])
        element = context.get_data_type(signature.args[0].dtype)
        lanes = ir.VectorType(element, LANES)
        wide = lanes.as_pointer()
        size = context.get_abi_sizeof(element)
        first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)

        def spread(pointer: Any, index: Any) -> Any:
            value = builder.load(builder.gep(pointer, [index]))
            single = builder.insert_element(ir.Constant(lanes, ir.Undefined), value, ir.IntType(32)(0))
            return builder.shuffle_vector(single, ir.Constant(lanes, ir.Undefined), first)

        change_ = builder.load(builder.bitcast(changes, wide), align=size)
        total = cgutils.alloca_once(builder, lanes)
        builder.store(ir.Constant(lanes, [0.0] * LANES), total)
        with cgutils.for_range(builder, arguments[3]) as loop:
            place = builder.bitcast(builder.gep(models, [builder.mul(loop.index, loop.index.type(LANES))]), wide)
            step = builder.fmul(change_, spread(before, loop.index), flags=FUSED)
            moved = builder.fsub(builder.load(place, align=size), step, flags=FUSED)
            builder.store(moved, place, align=size)
            product = builder.fmul(moved, spread(now, loop.index), flags=FUSED)
            builder.store(builder.fadd(builder.load(total), product, flags=FUSED), total)
        builder.store(builder.load(total), builder.bitcast(sums, wide), align=size)
        return context.get_dummy_value()

    return types.void(flat, types.intp, types.intp, types.intp, coef, change, scores), generate


def _interpreted_prefetch(values: Any, index: Any) -> None:
    """Nothing: a hint to the processor has no meaning to the interpreter."""


def _interpreted_advance(flat: Any, previous: Any, row: Any, p: Any, coef: Any, change: Any, scores: Any) -> None:
    coef[:p] -= flat[previous : previous + p, None] * change
    scores[:] = flat[row : row + p] @ coef[:p]


is_compiled = not getattr(config, "DISABLE_JIT", 0)
prefetch: Any = intrinsic(_prefetch) if is_compiled else _interpreted_prefetch
advance_lanes: Any = intrinsic(_advance_lanes) if is_compiled else _interpreted_advance
