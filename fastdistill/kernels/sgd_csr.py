"""Stochastic gradient descent with a teacher over the rows of a sparse matrix: the cost is per stored value.

The steps, settings and samples are those of `fastdistill.kernels.sgd_dense`, without momentum and compression::

    x ← x − γ (∇f_B(x) − κ ∇f_B(θ) + κ g)

What moves every coefficient is kept in numbers instead: x = α w + σ push, where l2 shrinks α and σ, and the constant
part of the step adds to σ. The sum of all iterates is Σ_t x_t = A w − u + S push with A = Σ α_t, S = Σ σ_t, and u
correcting, where w changes, for the part of A that came before. Every so many steps the numbers are multiplied out.

Rows are given by `data`, `indices` (int32 or int64) and `indptr` of the CSR format. Coefficients are stored feature by
feature, the outputs of one side by side: (p or p + 1, C). Cost: O(C) per stored value. Arguments are trusted.
"""

import numpy as np

from fastdistill.kernels._compile import jit
from fastdistill.kernels._intrinsics import prefetch, prefetch_soon

SQUARED, LOGISTIC, SOFTMAX = 0, 1, 2
STEP, WEIGHT, PENALTY, TEMPERATURE = 0, 1, 2, 3
COEF, PUSH, TOTAL, LATE = 0, 1, 2, 3
ALPHA, SIGMA, SUM_ALPHA, SUM_SIGMA = 0, 1, 2, 3

# Steps between the request for a row and its use: into the first-level cache, into the second, for its first lines (so
# that their addresses are translated by then); its place is asked for earlier still. Requests among the products let
# memory and arithmetic overlap: an epoch of 200 000 × 10 000 with 1 % stored takes 35 ms, reading alone 13, products
# alone 26; with all requests of a row in one burst 58.
SOON = 2
AHEAD = 16
FAR_AHEAD = 32
SECOND_BYTES = 2**18  # of all rows on their way: a quarter of a usual second-level cache
LINE = 64  # bytes of a cache line
# α and σ are multiplied out, a pass over the coefficients, after so many steps or while α = (1 − γ l2)^steps > 1e-6.
SETTLE_STEPS = 4096


@jit
def residual(score, label, imitated, loss, kappa, temperature):
    """∂ℓ/∂score of one output, distilled: by the mixed target, or by soft labels at a temperature other than one."""
    mixed = (1.0 - kappa) * label + kappa * imitated
    if loss == SQUARED:
        return score - mixed
    if temperature == 1.0:
        return 1.0 / (1.0 + np.exp(-score)) - mixed
    soft = 1.0 / (1.0 + np.exp(-score / temperature)) - imitated
    return (1.0 - kappa) * (1.0 / (1.0 + np.exp(-score)) - label) + kappa * temperature * soft


@jit
def _largest(values):
    """Of numbers; `max` of an array takes half a second to compile."""
    largest = values[0]
    for value in values:
        largest = max(largest, value)
    return largest


@jit
def _softmax(scores, temperature, out):
    largest, total = _largest(scores), 0.0
    for c in range(scores.shape[0]):
        out[c] = np.exp((scores[c] - largest) / temperature)
        total += out[c]
    for c in range(scores.shape[0]):
        out[c] /= total


@jit
def residuals(scores, sample, loss, setting, workspace):
    """`residual` of every output (C,) times the sample's weight, in place; workspace (2, C)."""
    n_outputs, kappa, temperature = scores.shape[0], setting[WEIGHT], setting[TEMPERATURE]
    if loss == SOFTMAX:
        _softmax(scores, 1.0, workspace[0])
        _softmax(scores, temperature, workspace[1])
    for c in range(n_outputs):
        label, imitated = sample[c], sample[n_outputs + c]
        if loss != SOFTMAX:
            slope = residual(scores[c], label, imitated, loss, kappa, temperature)
        elif temperature == 1.0:
            slope = workspace[0, c] - ((1.0 - kappa) * label + kappa * imitated)
        else:
            soft = temperature * (workspace[1, c] - imitated)
            slope = (1.0 - kappa) * (workspace[0, c] - label) + kappa * soft
        scores[c] = sample[2 * n_outputs] * slope


@jit
def settle_interval(shrinkage):
    """Steps after which α = (1 − shrinkage)^steps is still above 1e-6, at most SETTLE_STEPS."""
    if shrinkage >= 0.5:
        return 1
    return int(min(SETTLE_STEPS, np.log(1e-6) / np.log1p(-shrinkage))) if shrinkage > 0.0 else SETTLE_STEPS


@jit
def _product(values, places, coef, data, indices, soon, later):
    """Σ values[k] coef[places[k]], while the rows that start at `soon` and `later` are asked for.

    Unsigned places need no test for negative ones: 25 ms against 30 for 20 million values in cache.
    """
    one = two = three = four = 0.0
    whole = values.shape[0] // 8 * 8
    for k in range(0, whole, 8):
        prefetch_soon(data, soon + k)
        prefetch_soon(indices, soon + k)
        prefetch(data, later + k)
        prefetch(indices, later + k)
        one += values[k] * coef[np.uintp(places[k])] + values[k + 4] * coef[np.uintp(places[k + 4])]
        two += values[k + 1] * coef[np.uintp(places[k + 1])] + values[k + 5] * coef[np.uintp(places[k + 5])]
        three += values[k + 2] * coef[np.uintp(places[k + 2])] + values[k + 6] * coef[np.uintp(places[k + 6])]
        four += values[k + 3] * coef[np.uintp(places[k + 3])] + values[k + 7] * coef[np.uintp(places[k + 7])]
    for k in range(whole, values.shape[0]):
        one += values[k] * coef[np.uintp(places[k])]
    return (one + two) + (three + four)


@jit
def _ask(data, indices, start, stop):
    """What a product of whole groups of values left to be asked for: ends of rows, and rows longer than its own."""
    for k in range(start, stop, LINE // data.itemsize):
        prefetch(data, k)
        prefetch(indices, k)


@jit
def _settle(state, p, lazy):
    """Multiply α, σ and their sums out of the coefficients, and of the total where there is one: state (2 or 4, …)."""
    coef, push = state[COEF], state[PUSH]
    for j in range(p):
        for c in range(coef.shape[1]):
            if state.shape[0] > TOTAL:
                sums = lazy[SUM_ALPHA] * coef[j, c] - state[LATE, j, c] + lazy[SUM_SIGMA] * push[j, c]
                state[TOTAL, j, c] += sums
                state[LATE, j, c] = 0.0
            coef[j, c] = lazy[ALPHA] * coef[j, c] + lazy[SIGMA] * push[j, c]
    lazy[ALPHA], lazy[SIGMA], lazy[SUM_ALPHA], lazy[SUM_SIGMA] = 1.0, 0.0, 0.0, 0.0


@jit
def csr_rows(data, indices, indptr, order, samples, loss, setting, scale, state):
    """Steps of one row each for one output: order (steps,), samples (n, 4), state (2, p or p + 1, 1); `csr_batches`
    serves what else there is. `setting` has the number of columns p as its last entry. Samples (n, 1) are targets
    already mixed, of weight 1, without push; (n, 2) have ⟨a_n, push⟩ beside them.
    """
    p, n, kappa = int(setting[-1]), order.shape[0], setting[WEIGHT]
    single = state.reshape((state.shape[0], state.shape[1]))  # whose rows are known to be contiguous
    coef, push, intercept = single[COEF], single[PUSH, p:], state.shape[1] > p
    interval = settle_interval(setting[STEP] * setting[PENALTY] * _largest(scale))
    shrunk, pushed, left = 1.0, 0.0, interval
    records, record = samples.reshape(-1), samples.shape[1]
    lazy = np.zeros(4)
    row_bytes = (data.itemsize + indices.itemsize) * (1 + data.shape[0] // samples.shape[0])
    ahead = max(1, min(AHEAD, SECOND_BYTES // row_bytes))
    for t in range(n):
        row, far = order[t], order[min(t + FAR_AHEAD, n - 1)]
        soon, later = order[min(t + SOON, n - 1)], order[min(t + ahead, n - 1)]
        prefetch(indptr, order[min(t + 2 * FAR_AHEAD, n - 1)])
        prefetch(records, far * record)
        prefetch(data, indptr[far])
        prefetch(indices, indptr[far])
        stored = slice(indptr[row], indptr[row + 1])
        values, places = data[stored], indices[stored]
        # as in ``sgd_dense.py``: compiled code calls its own file only, or the cache on disk would miss a change
        label = records[row * record]
        imitated, weight, mixing, push_score = label, 1.0, 0.0, 0.0
        if record > 1:
            push_score = records[(row + 1) * record - 1]
        if record > 2:
            imitated, weight, mixing = records[row * record + 1], records[row * record + 2], kappa
        product = _product(values, places, coef, data, indices, np.intp(indptr[soon]), np.intp(indptr[later]))
        _ask(data, indices, indptr[later] + values.shape[0] // 8 * 8, indptr[later + 1] + 7)
        prefetch_soon(data, indptr[soon + 1] - 1)
        prefetch_soon(indices, indptr[soon + 1] - 1)
        score = shrunk * product + pushed * push_score
        if intercept:
            score += coef[p]
        rate = setting[STEP] * scale[t]
        slope = weight * residual(score, label, imitated, loss, mixing, setting[TEMPERATURE])
        if intercept:
            coef[p] -= rate * (slope + kappa * push[0])
        decay = 1.0 - rate * setting[PENALTY]
        shrunk, pushed, left = decay * shrunk, decay * pushed - rate * kappa, left - 1
        if left == 0:
            lazy[ALPHA], lazy[SIGMA] = shrunk, pushed
            _settle(state, p, lazy)
            shrunk, pushed, left = 1.0, 0.0, interval
        change = rate * slope / shrunk if shrunk != 1.0 else rate * slope
        for k in range(values.shape[0]):
            coef[np.uintp(places[k])] -= change * values[k]
    lazy[ALPHA], lazy[SIGMA] = shrunk, pushed
    _settle(state, p, lazy)


@jit
def _batch_slopes(data, indices, indptr, rows, samples, loss, setting, lazy, state, slopes):
    """Distilled residuals (batch, C) of the rows of a batch."""
    p, n_outputs = int(setting[-1]), slopes.shape[1]
    coef, workspace = state[COEF], np.zeros((2, n_outputs))
    for b in range(rows.shape[0]):
        total = slopes[b]
        total[:] = 0.0
        for k in range(indptr[rows[b]], indptr[rows[b] + 1]):
            for c in range(n_outputs):
                total[c] += data[k] * coef[indices[k], c]
        for c in range(n_outputs):
            total[c] = lazy[ALPHA] * total[c] + lazy[SIGMA] * samples[rows[b], 2 * n_outputs + 1 + c]
            if coef.shape[0] > p:
                total[c] += coef[p, c]
        residuals(total, samples[rows[b]], loss, setting, workspace)


@jit
def csr_batches(data, indices, indptr, order, samples, loss, setting, scale, state):
    """Steps of a batch each, any number of outputs, with the sum of all iterates.

    order (steps, batch) with −1 where a batch is shorter, samples (n, 3 C + 1), state (2 or 4, p or p + 1, C):
    coefficients, push and, for the sum, the total and a workspace of zeros. `setting` ends with p.
    """
    p, averages, weight = int(setting[-1]), state.shape[0] > TOTAL, setting[WEIGHT]
    coef, slopes = state[COEF], np.zeros((order.shape[1], state.shape[2]))
    interval = settle_interval(setting[STEP] * setting[PENALTY] * _largest(scale))
    if averages:  # A w − u loses the digits that α has: α > 1e-2
        interval = (interval + 2) // 3
    lazy = np.zeros(4)
    lazy[ALPHA] = 1.0
    for t in range(order.shape[0]):
        size = order.shape[1]
        while size > 0 and order[t, size - 1] < 0:
            size -= 1
        rows = order[t, :size]
        _batch_slopes(data, indices, indptr, rows, samples, loss, setting, lazy, state, slopes)
        rate = setting[STEP] * scale[t]
        decay = 1.0 - rate * setting[PENALTY]
        lazy[ALPHA] *= decay
        lazy[SIGMA] = decay * lazy[SIGMA] - rate * weight
        if t % interval == interval - 1:
            _settle(state, p, lazy)
        change = rate / (rows.shape[0] * lazy[ALPHA])
        for b in range(rows.shape[0]):
            for k in range(indptr[rows[b]], indptr[rows[b] + 1]):
                for c in range(coef.shape[1]):
                    moved = change * slopes[b, c] * data[k]
                    coef[indices[k], c] -= moved
                    if averages:
                        state[LATE, indices[k], c] -= lazy[SUM_ALPHA] * moved
        if coef.shape[0] > p:
            _step_intercept(state, slopes[: rows.shape[0]], rate, weight)
        lazy[SUM_ALPHA] += lazy[ALPHA]
        lazy[SUM_SIGMA] += lazy[SIGMA]
    _settle(state, p, lazy)


@jit
def _step_intercept(state, slopes, rate, weight):
    last = state.shape[1] - 1
    for c in range(slopes.shape[1]):
        total = 0.0
        for b in range(slopes.shape[0]):
            total += slopes[b, c]
        state[COEF, last, c] -= rate * (total / slopes.shape[0] + weight * state[PUSH, last, c])
        if state.shape[0] > TOTAL:
            state[TOTAL, last, c] += state[COEF, last, c]
