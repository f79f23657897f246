"""What NumPy's notation cannot ask for: a cache prefetch, and row steps with prefetches among their products.

The compiler's vectoriser gives up at a prefetch within a loop, and a row's prefetches in one burst make the products
behind them wait: memory and arithmetic then take turns. One prefetch a vector lets them overlap. Of an epoch of
100 000 × 100 and 20 000 × 784 in random order, where a stream takes 2.7 and 3.9 ms: 10.8 and 10.4 ms in bursts, 7.7 and
6.7 one by one.

Models side by side in a vector register need no sum over its lanes and no remainder loop: with 100 columns and
everything in cache, 9.5 GFLOP/s along rows, 42 across models, 53 with two rows a pass. Tiles of rows beside outputs
make 25 products of 10 numbers loaded: with 10 rows and 10 outputs of 784 float32 columns, an epoch of 10 000 rows in
random order takes 5.1 ms, by tiles of 2 × 5 for scores and 5 × 2 for gradients 7.2.

Products of a small matrix with a panel of 32 samples side by side have each sum in a register of its own: 85 to 97
GFLOP/s with 20 to 50 terms a sum, where BLAS reaches 35 to 55.

Powers of two are made of their bits, so that a loop with an exponential has no call that would keep it from vectors.

All are written out in LLVM's terms and have a twin in Python for runs without the compiler.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils, errors
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

FUSED = ("contract",)  # a product and a sum may become one instruction
VECTOR_BYTES = 64  # of a vector along a row: a cache line, the widest register there is
TILE = 5  # rows and outputs at once: 25 sums, and 5 rows and an output to make them from, in 32 registers
FIRST_CACHE, SECOND_CACHE = 3, 2  # LLVM's degrees of locality
SHIFT = 1.5 * 2.0**52  # a small integer added to it stands in its last bits
PANEL = 32  # samples side by side: four registers of eight doubles
PANEL_ROWS = 6  # rows of a matrix times a panel at once: 24 sums, and a column of the panel, in 32 registers
LANES = 16  # two registers of eight doubles: their two chains of sums hide the latency of an addition


def _must_match(arrays: Any, dtypes: Any) -> None:
    """Numbers are read where they lie: others would be taken for what they are not."""
    for array, dtype in zip(arrays, dtypes, strict=True):
        if array.dtype != dtype or array.layout != "C":
            raise errors.TypingError(f"{array}, where C-contiguous {dtype} is needed: coefficients are of X's dtype.")


def _prefetch(locality: int) -> Callable[..., Any]:
    """Ask for the cache line of ``values[index]`` (1-D, contiguous) ahead of its use; never faults."""

    def declare(typingctx: Any, values: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            _ask(builder, builder.gep(array.data, [arguments[1]]), locality)
            return context.get_dummy_value()

        return types.void(values, types.intp), generate

    return declare


def _ask(builder: Any, pointer: Any, locality: int) -> None:
    """A prefetch of data to read.

    Lines far ahead go into the second-level cache: it waits for more of them at once than the first (784 columns in
    random order: 9.1 ms against 13.2, of which a stream takes 4.1).
    """
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    hint = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, hint, "llvm.prefetch.p0")
    builder.call(function, [builder.bitcast(pointer, byte), number(0), number(locality), number(1)])


def _advance_row(
    typingctx: Any, flat: Any, previous: Any, row: Any, soon: Any, later: Any, p: Any, coef: Any, change: Any
) -> Any:
    """coef −= change · flat[previous:], and the product of coef with flat[row:], in one pass over p of coef.

    On the way the p numbers from flat[soon:] are asked for into the first-level cache, those from flat[later:] into
    the second.
    """

    _must_match([coef], [flat.dtype])

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, model = (context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in (0, 6))
        before, now, soon_, later_ = (builder.gep(data, [arguments[i]]) for i in (1, 2, 3, 4))
        columns, element = arguments[5], context.get_data_type(signature.args[0].dtype)
        vector = _Vector(context, builder, element)
        change_ = vector.spread(arguments[7])

        def step(j: Any, load: Any, store: Any, total: Any) -> None:
            _ask(builder, builder.gep(soon_, [j]), FIRST_CACHE)
            _ask(builder, builder.gep(later_, [j]), SECOND_CACHE)
            place = builder.gep(model, [j])
            moved = builder.fmul(change_, load(builder.gep(before, [j])), flags=FUSED)
            moved = builder.fsub(load(place), moved, flags=FUSED)
            store(moved, place)
            product = builder.fmul(moved, load(builder.gep(now, [j])), flags=FUSED)
            builder.store(builder.fadd(builder.load(total), product, flags=FUSED), total)

        width = ir.Constant(columns.type, vector.width)
        pair = ir.Constant(columns.type, 2 * vector.width)
        paired = builder.sub(columns, builder.srem(columns, pair))
        one, two = vector.zeros(), vector.zeros()
        with cgutils.for_range_slice(builder, ir.Constant(columns.type, 0), paired, pair) as (j, _):
            step(j, vector.load, vector.store, one)
            step(builder.add(j, width), vector.load, vector.store, two)
        with cgutils.for_range_slice(builder, paired, columns, width) as (j, _):
            mask = vector.before(builder.sub(columns, j))
            step(j, partial(vector.load_some, mask), partial(vector.store_some, mask), one)
        last = builder.sub(columns, ir.Constant(columns.type, 1))
        _ask(builder, builder.gep(later_, [last]), SECOND_CACHE)
        _ask(builder, builder.gep(soon_, [last]), FIRST_CACHE)
        return vector.sum(builder.fadd(builder.load(one), builder.load(two)))

    return flat.dtype(flat, types.intp, types.intp, types.intp, types.intp, types.intp, coef, flat.dtype), generate


class _Vector:
    """Instructions on vectors of one element type that fill `VECTOR_BYTES`."""

    def __init__(self, context: Any, builder: Any, element: Any) -> None:
        self.builder, self.element, self.size = builder, element, context.get_abi_sizeof(element)
        self.width = VECTOR_BYTES // self.size
        self.type = ir.VectorType(element, self.width)
        self.mask = ir.VectorType(ir.IntType(1), self.width)

    def zeros(self) -> Any:
        """A variable, zero at first."""
        variable = cgutils.alloca_once(self.builder, self.type)
        self.builder.store(ir.Constant(self.type, [0.0] * self.width), variable)
        return variable

    def spread(self, value: Any) -> Any:
        return _spread(self.builder, self.type, value)

    def load(self, pointer: Any) -> Any:
        return self.builder.load(self.builder.bitcast(pointer, self.type.as_pointer()), align=self.size)

    def store(self, value: Any, pointer: Any) -> None:
        self.builder.store(value, self.builder.bitcast(pointer, self.type.as_pointer()), align=self.size)

    def before(self, count: Any) -> Any:
        """The mask of the first `count` entries."""
        places = ir.VectorType(count.type, self.width)
        first = ir.Constant(places, list(range(self.width)))
        return self.builder.icmp_signed("<", first, _spread(self.builder, places, count))

    def load_some(self, mask: Any, pointer: Any) -> Any:
        """Entries of the mask, the others zero and not read."""
        wide, align = self.type.as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(self.type, [wide, align, self.mask, self.type])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.load.{self._name}.p0")
        others = ir.Constant(self.type, [0.0] * self.width)
        return self.builder.call(function, [self.builder.bitcast(pointer, wide), align(self.size), mask, others])

    def store_some(self, mask: Any, value: Any, pointer: Any) -> None:
        """Entries of the mask, the others not written."""
        wide, align = self.type.as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [self.type, wide, align, self.mask])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.store.{self._name}.p0")
        self.builder.call(function, [value, self.builder.bitcast(pointer, wide), align(self.size), mask])

    def sum(self, value: Any) -> Any:
        """The sum of all entries, by halves."""
        width = self.width
        while width > 1:
            width //= 2
            halves = [[start + i for i in range(width)] for start in (0, width)]
            low, high = (
                self.builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(ir.IntType(32), width), half))
                for half in halves
            )
            value = self.builder.fadd(low, high)
        return self.builder.extract_element(value, ir.IntType(32)(0))

    @property
    def _name(self) -> str:
        return f"v{self.width}f{8 * self.size}"


def _spread(builder: Any, lanes: Any, value: Any) -> Any:
    """A value in every entry of a vector."""
    single = builder.insert_element(ir.Constant(lanes, ir.Undefined), value, ir.IntType(32)(0))
    first = ir.Constant(ir.VectorType(ir.IntType(32), lanes.count), [0] * lanes.count)
    return builder.shuffle_vector(single, ir.Constant(lanes, ir.Undefined), first)


def _advance_lanes(
    typingctx: Any, flat: Any, previous: Any, rows: Any, p: Any, coef: Any, first: Any, work: Any, slot: Any
) -> Any:
    """coef −= Σ_i flat[previous_i:] ⊗ change_i, score_i = flat[rows_i:]ᵀ coef for i = 0, 1, in one pass over coef.

    previous, rows (2,): where rows of p numbers begin in `flat`; coef: p times LANES numbers from `first` on. The
    changes are read at work[slot:] (2, LANES), the scores follow them, and then the product of the two rows of
    `rows`. Two rows at once halve the loads and stores of coef.
    """

    _must_match([coef, work, previous, rows], [flat.dtype, types.float64, types.intp, types.intp])

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, before, now, models, numbers = (
            context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in (0, 1, 2, 4, 6)
        )
        element, double = context.get_data_type(signature.args[0].dtype), ir.VectorType(ir.DoubleType(), LANES)
        lanes = ir.VectorType(element, LANES)
        size, place = context.get_abi_sizeof(element), arguments[7].type

        def starts(table: Any) -> list[Any]:
            return [builder.gep(data, [builder.load(builder.gep(table, [place(i)]))]) for i in range(2)]

        def at(i: int) -> Any:
            pointer = builder.gep(numbers, [builder.add(arguments[7], place(i * LANES))])
            return builder.bitcast(pointer, double.as_pointer())

        def entry(pointer: Any, index: Any) -> Any:
            return builder.load(builder.gep(pointer, [index]))

        changes = [builder.load(at(i), align=8) for i in range(2)]
        if size < 8:
            changes = [builder.fptrunc(change, lanes) for change in changes]
        totals = [cgutils.alloca_once(builder, lanes) for _ in range(2)]
        for total in totals:
            builder.store(ir.Constant(lanes, [0.0] * LANES), total)
        shared = cgutils.alloca_once(builder, ir.DoubleType())
        builder.store(ir.Constant(ir.DoubleType(), 0.0), shared)
        sources, targets = starts(before), starts(now)
        with cgutils.for_range(builder, arguments[3]) as loop:
            number = builder.add(arguments[5], builder.mul(loop.index, place(LANES)))
            model = builder.bitcast(builder.gep(models, [number]), lanes.as_pointer())
            moved = builder.load(model, align=size)
            for change, source in zip(changes, sources, strict=True):
                step = builder.fmul(change, _spread(builder, lanes, entry(source, loop.index)), flags=FUSED)
                moved = builder.fsub(moved, step, flags=FUSED)
            builder.store(moved, model, align=size)
            values = [entry(target, loop.index) for target in targets]
            for total, value in zip(totals, values, strict=True):
                product = builder.fmul(moved, _spread(builder, lanes, value), flags=FUSED)
                builder.store(builder.fadd(builder.load(total), product, flags=FUSED), total)
            product = builder.fmul(*values, flags=FUSED)
            product = product if size == 8 else builder.fpext(product, ir.DoubleType())
            builder.store(builder.fadd(builder.load(shared), product, flags=FUSED), shared)
        for i, total in enumerate(totals):
            score = builder.load(total)
            builder.store(score if size == 8 else builder.fpext(score, double), at(2 + i), align=8)
        builder.store(builder.load(shared), builder.gep(numbers, [builder.add(arguments[7], place(4 * LANES))]))
        return context.get_dummy_value()

    return types.void(flat, previous, rows, types.intp, coef, types.intp, work, types.intp), generate


def _tile_scores(n_rows: int, n_outputs: int) -> Callable[..., Any]:
    """Products of rows b, b + 1, … of a batch with outputs c, c + 1, …, each number loaded serving several sums.

    flat (n p,); numbers of rows and following (size,); coef (C, p or p + 1), scores (size, C). Where it
    `asks`, the following rows are asked for on the way.
    """

    def declare(
        typingctx: Any, flat: Any, p: Any, rows: Any, b: Any, coef: Any, c: Any, scores: Any, following: Any, asks: Any
    ) -> Any:
        _must_match([coef, scores, rows, following], [flat.dtype, flat.dtype, types.intp, types.intp])

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            tile = _Tile(context, builder, signature, arguments, n_rows, n_outputs)
            out, later = tile.array(6), [tile.row(7, i) for i in range(n_rows)]
            totals = [[tile.vector.zeros() for _ in range(n_outputs)] for _ in range(n_rows)]

            def step(j: Any, load: Any, store: Any) -> None:
                with builder.if_then(arguments[8]):
                    for start in later:
                        _ask(builder, builder.gep(start, [j]), SECOND_CACHE)
                values = [load(builder.gep(start, [j])) for start in tile.rows]
                for k, output in enumerate(tile.outputs):
                    factors = load(builder.gep(output, [j]))
                    for i, value in enumerate(values):
                        product = builder.fmul(value, factors, flags=FUSED)
                        builder.store(builder.fadd(builder.load(totals[i][k]), product, flags=FUSED), totals[i][k])

            tile.run(step)
            for i in range(n_rows):
                for k in range(n_outputs):
                    place = tile.place(out, tile.sum(arguments[3], i), tile.sum(arguments[5], k), tile.columns(6))
                    builder.store(tile.vector.sum(builder.load(totals[i][k])), place)
            return context.get_dummy_value()

        arguments = (flat, types.intp, rows, types.intp, coef, types.intp, scores, following, types.boolean)
        return types.void(*arguments), generate

    return declare


def _subtract_tile(n_rows: int, n_outputs: int) -> Callable[..., Any]:
    """coef_c −= Σ factors_cb row_b for rows b, b + 1, … of a batch and outputs c, c + 1, …; factors (C, width)."""

    def declare(typingctx: Any, flat: Any, p: Any, rows: Any, b: Any, coef: Any, c: Any, factors: Any) -> Any:
        _must_match([coef, factors, rows], [flat.dtype, flat.dtype, types.intp])

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            tile = _Tile(context, builder, signature, arguments, n_rows, n_outputs)
            table, width = tile.array(6), tile.columns(6)
            spread = []
            for k in range(n_outputs):
                places = [
                    tile.place(table, tile.sum(arguments[5], k), tile.sum(arguments[3], i), width)
                    for i in range(n_rows)
                ]
                spread.append([tile.vector.spread(builder.load(place)) for place in places])

            def step(j: Any, load: Any, store: Any) -> None:
                values = [load(builder.gep(start, [j])) for start in tile.rows]
                for k, output in enumerate(tile.outputs):
                    moved = load(builder.gep(output, [j]))
                    for value, factor in zip(values, spread[k], strict=True):
                        product = builder.fmul(value, factor, flags=FUSED)
                        moved = builder.fsub(moved, product, flags=FUSED)
                    store(moved, builder.gep(output, [j]))

            tile.run(step)
            return context.get_dummy_value()

        return types.void(flat, types.intp, rows, types.intp, coef, types.intp, factors), generate

    return declare


class _Tile:
    """Rows of a batch beside outputs, from arguments (flat, p, rows, b, coef, c, …)."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any, n_rows: int, n_outputs: int) -> None:
        self.context, self.builder, self.signature, self.arguments = context, builder, signature, arguments
        self.vector = _Vector(context, builder, context.get_data_type(signature.args[0].dtype))
        self.rows = [self.row(2, i) for i in range(n_rows)]
        coef, zero = self.array(4), arguments[5].type(0)
        self.outputs = [self.place(coef, self.sum(arguments[5], k), zero, self.columns(4)) for k in range(n_outputs)]

    def array(self, argument: int) -> Any:
        return self.context.make_array(self.signature.args[argument])(
            self.context, self.builder, self.arguments[argument]
        )

    def columns(self, argument: int) -> Any:
        """Columns of a matrix."""
        return self.builder.extract_value(self.array(argument).shape, 1)

    def sum(self, value: Any, more: int) -> Any:
        return self.builder.add(value, value.type(more))

    def row(self, argument: int, i: int) -> Any:
        """Where row b + i of the batch begins, its number from an array of numbers."""
        numbers = self.array(argument).data
        number = self.builder.load(self.builder.gep(numbers, [self.sum(self.arguments[3], i)]))
        return self.builder.gep(self.array(0).data, [self.builder.mul(number, self.arguments[1])])

    def place(self, matrix: Any, row: Any, column: Any, width: Any) -> Any:
        return self.builder.gep(matrix.data, [self.builder.add(self.builder.mul(row, width), column)])

    def run(self, step: Callable[[Any, Any, Any], None]) -> None:
        """`step` on all whole vectors of p columns, then on what is left of them."""
        builder, columns, vector = self.builder, self.arguments[1], self.vector
        width = columns.type(vector.width)
        whole = builder.sub(columns, builder.srem(columns, width))
        with cgutils.for_range_slice(builder, columns.type(0), whole, width) as (j, _):
            step(j, vector.load, vector.store)
        with builder.if_then(builder.icmp_signed("<", whole, columns)):
            mask = vector.before(builder.sub(columns, whole))
            step(whole, partial(vector.load_some, mask), partial(vector.store_some, mask))


def _panel_product(n_rows: int) -> Callable[..., Any]:
    """Rows i, i + 1, ... of factorsᵀ panel: factors (K, R) -> out (R, PANEL).

    panel (K or more, c + PANEL or more) is taken from column c on.
    """
    # with half as many registers of half the width, the sums of one vector of samples fill them
    at_once = PANEL // (VECTOR_BYTES // 8) if "+avx512f" in get_host_cpu_features() else 1

    def declare(typingctx: Any, factors: Any, i: Any, panel: Any, c: Any, out: Any) -> Any:
        _must_match([factors, panel, out], [types.float64] * 3)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            matrix, values, sums = (
                context.make_array(signature.args[k])(context, builder, arguments[k]) for k in (0, 2, 4)
            )
            terms, outputs = (builder.extract_value(matrix.shape, axis) for axis in (0, 1))
            vector, width = _Vector(context, builder, ir.DoubleType()), builder.extract_value(values.shape, 1)
            for first in range(0, PANEL, at_once * vector.width):
                totals = [[vector.zeros() for _ in range(at_once)] for _ in range(n_rows)]
                columns = [first + k * vector.width for k in range(at_once)]
                with cgutils.for_range(builder, terms) as loop:
                    start = builder.gep(values.data, [builder.add(builder.mul(loop.index, width), arguments[3])])
                    samples = [vector.load(builder.gep(start, [width.type(column)])) for column in columns]
                    here = builder.gep(matrix.data, [builder.add(builder.mul(loop.index, outputs), arguments[1])])
                    for k, of_row in enumerate(totals):
                        factor = vector.spread(builder.load(builder.gep(here, [width.type(k)])))
                        for sample, total in zip(samples, of_row, strict=True):
                            product = builder.fmul(factor, sample, flags=FUSED)
                            builder.store(builder.fadd(builder.load(total), product, flags=FUSED), total)
                for k, of_row in enumerate(totals):
                    row = builder.add(arguments[1], width.type(k))
                    start = builder.gep(sums.data, [builder.mul(row, width.type(PANEL))])
                    for column, total in zip(columns, of_row, strict=True):
                        vector.store(builder.load(total), builder.gep(start, [width.type(column)]))
            return context.get_dummy_value()

        return types.void(factors, types.intp, panel, types.intp, out), generate

    return declare


def _power_of_two(typingctx: Any, shifted: Any) -> Any:
    """2^k of the float64 k + SHIFT, −1022 ≤ k ≤ 1023: the last bits, which hold k, in the place of the exponent."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer = ir.IntType(64)
        exponent = builder.shl(builder.bitcast(arguments[0], integer), integer(52))
        return builder.bitcast(builder.add(exponent, integer(1023 << 52)), ir.DoubleType())

    return types.float64(types.float64), generate


def _interpreted_power_of_two(shifted: float) -> float:
    return float(2.0 ** (shifted - SHIFT))


def _interpreted_prefetch(values: Any, index: Any) -> None:
    """Nothing: a hint to the processor has no meaning to the interpreter."""


def _interpreted_row(flat: Any, previous: Any, row: Any, soon: Any, later: Any, p: Any, coef: Any, change: Any) -> Any:
    coef[:p] -= change * flat[previous : previous + p]
    return flat[row : row + p] @ coef[:p]


def _interpreted_lanes(
    flat: Any, previous: Any, rows: Any, p: Any, coef: Any, first: Any, work: Any, slot: Any
) -> None:
    model = coef[first : first + p * LANES].reshape(p, LANES)
    change, score = work[slot : slot + 4 * LANES].reshape(2, 2, LANES)
    for i in range(2):
        model -= flat[previous[i] : previous[i] + p, None] * change[i].astype(flat.dtype)
    targets = [flat[start : start + p] for start in rows]
    for i in range(2):
        score[i] = targets[i] @ model
    work[slot + 4 * LANES] = targets[0] @ targets[1]


def _interpreted_panel(n_rows: int) -> Callable[..., None]:
    def product(factors: Any, i: Any, panel: Any, c: Any, out: Any) -> None:
        out[i : i + n_rows] = factors[:, i : i + n_rows].T @ panel[: len(factors), c : c + PANEL]

    return product


def _interpreted_scores(n_rows: int, n_outputs: int) -> Callable[..., None]:
    def scores(flat: Any, p: Any, rows: Any, b: Any, coef: Any, c: Any, out: Any, following: Any, asks: Any) -> None:
        X = flat.reshape(-1, p)[rows[b : b + n_rows]]
        out[b : b + n_rows, c : c + n_outputs] = X @ coef[c : c + n_outputs, :p].T

    return scores


def _interpreted_subtract(n_rows: int, n_outputs: int) -> Callable[..., None]:
    def subtract(flat: Any, p: Any, rows: Any, b: Any, coef: Any, c: Any, factors: Any) -> None:
        X = flat.reshape(-1, p)[rows[b : b + n_rows]]
        coef[c : c + n_outputs, :p] -= factors[c : c + n_outputs, b : b + n_rows] @ X

    return subtract


is_compiled = not getattr(config, "DISABLE_JIT", 0)
prefetch: Any = intrinsic(_prefetch(SECOND_CACHE)) if is_compiled else _interpreted_prefetch
prefetch_soon: Any = intrinsic(_prefetch(FIRST_CACHE)) if is_compiled else _interpreted_prefetch
power_of_two: Any = intrinsic(_power_of_two) if is_compiled else _interpreted_power_of_two
advance_row: Any = intrinsic(_advance_row) if is_compiled else _interpreted_row
advance_lanes: Any = intrinsic(_advance_lanes) if is_compiled else _interpreted_lanes


def _panel_products(n_rows: int) -> Any:
    return intrinsic(_panel_product(n_rows)) if is_compiled else _interpreted_panel(n_rows)


def _tiles(compiled: Callable[..., Any], interpreted: Callable[..., Any]) -> list[Any]:
    """For TILE rows and TILE outputs, TILE rows and one, one row and TILE, one and one."""
    shapes = [(rows, outputs) for rows in (TILE, 1) for outputs in (TILE, 1)]
    return [intrinsic(compiled(*shape)) if is_compiled else interpreted(*shape) for shape in shapes]


tile_scores, rows_scores, outputs_scores, one_score = _tiles(_tile_scores, _interpreted_scores)
subtract_tile, subtract_rows, subtract_outputs, subtract_one = _tiles(_subtract_tile, _interpreted_subtract)
panel_products, panel_pair, panel_row = (_panel_products(n_rows) for n_rows in (PANEL_ROWS, 2, 1))
