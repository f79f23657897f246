"""Stochastic gradient descent with a teacher: steps over the rows of a dense matrix.

One loop serves plain SGD, distillation, unbiased distillation, SVRG and repeated distillation::

    x ← C( x − γ (∇f_B(x) − κ ∇f_B(θ) + κ g) ),     f_n(x) = ℓ(⟨a_n, x⟩, b_n) + (l2 / 2) ‖x‖²

For losses of linear scores the teacher θ enters a step as one number per sample and output, its prediction s_n: the
gradient ∇f_n(x) − κ ∇f_n(θ) is that of the mixed target (1 − κ) b_n + κ s_n. What is left is a constant vector,
κ · push with push = g − l2 θ. Where steps take one row each it costs one number per sample more: x is kept as
α w + σ push, with l2 in the factor α and the scores ⟨a_n, push⟩ given.

==========================  ==================================================================================
paper                       here
==========================  ==================================================================================
S: step γ, weight λ = κ     ``setting = (γ, κ, l2, temperature, momentum, compressor's parameter)``
S: ξ, the sample of a step  ``order``: the rows to visit, drawn by the caller
label, teacher's output     ``samples[n] = (b_1, …, b_C, s_1, …, s_C, weight, ⟨a_n, push_1⟩, …, ⟨a_n, push_C⟩)``
==========================  ==================================================================================

Coefficients may carry an intercept as an additional last entry, which neither l2 nor compressors touch. Arrays are
C-contiguous; those of coefficients have the dtype of X, `order` is intp, all others float64. A call does the steps of
`order`, an epoch or a piece of one, with `scale` the factor of the step size at each; the state is in the arrays.
Cost: O(p C) per row. Arguments are trusted.
"""

import numpy as np

from fastdistill.kernels._compile import jit, jit_sums
from fastdistill.kernels._intrinsics import (
    LANES,
    TILE,
    advance_lanes,
    advance_row,
    one_score,
    outputs_scores,
    prefetch,
    rows_scores,
    subtract_one,
    subtract_outputs,
    subtract_rows,
    subtract_tile,
    tile_scores,
)

SQUARED, LOGISTIC, SOFTMAX = 0, 1, 2
STEP, WEIGHT, PENALTY, TEMPERATURE, MOMENTUM, PARAMETER = 0, 1, 2, 3, 4, 5
UNCOMPRESSED, SCALED, TOP, ROUNDED = 0, 1, 2, 3
COEF, PUSH, VELOCITY, TOTAL = 0, 1, 2, 3
# behind the settings of a lane: α, σ and, for two rows each, γ ∂ℓ/∂score and ⟨row, w⟩; the product of the rows
SHRUNK, PUSHED, CHANGES, SCORES, SHARED, SLOTS = 6, 7, 8, 10, 12, 13
NOT, AT_ONCE, LAZILY = 0, 1, 2  # how α and σ of a group move

# Steps between the request for a row and its use: into the first-level cache, into the second, and for its first line
# and its sample, so that their addresses are translated by then. An epoch of 100 000 × 100 in random order takes 7.7
# ms, without the requests into the first-level cache 8.5; requests alone take 4.7, those and reading the rows 5.5.
SOON = 3
AHEAD = 32
FAR_AHEAD = 64
FIRST_BYTES, SECOND_BYTES = 2**14, 2**18  # of all rows on their way: half and a quarter of usual caches
SOON_ROWS = 8  # of batches, rows between the request for one and its use
LINE = 64  # bytes of a cache line
# α and σ are multiplied out before they lose digits: after so many steps, or while α = (1 − γ l2)^steps > 1e-6.
SETTLE_STEPS = 256


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
def _fetch(flat, width, row):
    for j in range(0, width, LINE // flat.itemsize):
        prefetch(flat, row * width + j)


@jit_sums
def _settle(coef, push, shrunk, pushed):
    """coef ← α coef + σ push; the intercept, stepped directly, stays."""
    for j in range(push.shape[0]):
        coef[j] = shrunk * coef[j] + pushed * push[j]


@jit
def settle_interval(shrinkage):
    """Steps after which α = (1 − shrinkage)^steps is still above 1e-6, at most SETTLE_STEPS."""
    if shrinkage >= 0.5:
        return 1
    return int(min(SETTLE_STEPS, np.log(1e-6) / np.log1p(-shrinkage))) if shrinkage > 0.0 else SETTLE_STEPS


@jit
def _largest(values):
    """Of numbers; `max` of an array takes half a second to compile."""
    largest = values[0]
    for value in values:
        largest = max(largest, value)
    return largest


@jit
def dense_rows(X, order, samples, loss, setting, scale, coef, push):
    """Steps of one row each for one output: X (n, p), order (steps,), samples (n, 4), coef and push (p or p + 1,).

    Samples (n, 1) are targets already mixed, of weight 1, without push; (n, 2) have ⟨a_n, push⟩ beside them.
    """
    n, p, intercept = order.shape[0], X.shape[1], coef.shape[0] > X.shape[1]
    flat, records, record, kappa = X.reshape(-1), samples.reshape(-1), samples.shape[1], setting[WEIGHT]
    interval = settle_interval(setting[STEP] * setting[PENALTY] * _largest(scale))
    shrunk, pushed, left, change = 1.0, 0.0, interval, 0.0
    soon, later = _distances(p * X.itemsize)
    row = order[0]
    for t in range(n):
        far = order[min(t + FAR_AHEAD, n - 1)]
        prefetch(flat, far * p)
        prefetch(records, far * record)
        previous, row = row, order[t]
        label = records[row * record]
        imitated, weight, mixing, push_score = label, 1.0, 0.0, 0.0
        if record > 1:
            push_score = records[(row + 1) * record - 1]
        if record > 2:
            imitated, weight, mixing = records[row * record + 1], records[row * record + 2], kappa
        near, next_ = order[min(t + later, n - 1)] * p, order[min(t + soon, n - 1)] * p
        product = advance_row(flat, previous * p, row * p, next_, near, p, coef, X.dtype.type(change))
        score = shrunk * product + pushed * push_score
        if intercept:
            score += coef[p]
        rate = setting[STEP] * scale[t]
        slope = weight * residual(score, label, imitated, loss, mixing, setting[TEMPERATURE])
        if intercept:
            coef[p] -= rate * (slope + kappa * push[p])
        decay = 1.0 - rate * setting[PENALTY]
        shrunk, pushed, left = decay * shrunk, decay * pushed - rate * kappa, left - 1
        if left == 0:
            _settle(coef, push[:p], shrunk, pushed)
            shrunk, pushed, left = 1.0, 0.0, interval
        change = rate * slope / shrunk if shrunk != 1.0 else rate * slope
    _add(X[row], X.dtype.type(change), coef[:p])
    _settle(coef, push[:p], shrunk, pushed)


@jit
def _distances(row_bytes):
    """Steps ahead of which a row is asked for into the first- and into the second-level cache."""
    return min(SOON, FIRST_BYTES // row_bytes), max(1, min(AHEAD, SECOND_BYTES // row_bytes))


@jit
def dense_lanes(X, order, samples, loss, settings, scale, coef, push):
    """`dense_rows` of many configurations that share rows and teacher, one beside the other in vector registers.

    settings (G, 6, LANES), coef (G, p or p + 1, LANES) in groups of LANES configurations; push (p or p + 1,).

    Two rows go together: the second's score, ⟨row, w⟩ before the first's step, is mended by the product of the rows.
    """
    n, p, n_groups = order.shape[0], X.shape[1], coef.shape[0]
    flat, records, models, per_group = X.reshape(-1), samples.reshape(-1), coef.reshape(-1), coef.shape[1] * LANES
    # of each group: what it rounds must not depend on the others
    intervals, moves, largest = np.zeros(n_groups, np.intp), np.zeros(n_groups, np.intp), _largest(scale)
    for g in range(n_groups):
        shrinkage = 0.0
        for lane in range(LANES):
            shrinkage = max(shrinkage, settings[g, STEP, lane] * settings[g, PENALTY, lane])
        interval = settle_interval(shrinkage * largest)
        intervals[g] = interval if interval == 1 else interval - interval % 2
        if _is_used(settings[g, PENALTY]) or _is_used(push[:p]):
            moves[g] = AT_ONCE if interval == 1 else LAZILY
    # per group, side by side: settings, α, σ, changes, scores; numbers of one array are known not to overlap
    work = np.zeros((n_groups, SLOTS * LANES))
    for g in range(n_groups):
        for i in range(SHRUNK * LANES):
            work[g, i] = settings[g, i // LANES, i % LANES]
        for lane in range(LANES):
            work[g, SHRUNK * LANES + lane] = 1.0
    numbers = work.reshape(-1)
    previous, rows = np.full(2, order[0] * p), np.zeros(2, np.intp)
    first, second = np.zeros(2, np.intp), np.zeros(2, np.intp)
    for t in range(0, n, 2):
        is_pair = t + 1 < n
        for ahead in range(t + AHEAD, t + AHEAD + 2):
            _fetch(flat, p, order[min(ahead, n - 1)])
            _fetch(records, samples.shape[1], order[min(ahead, n - 1)])
        one, two = order[t], order[min(t + 1, n - 1)]
        rows[0], rows[1], first[:], second[:] = one * p, two * p, one * p, two * p
        for g in range(n_groups):
            place, slot, divides = g * per_group, (g * SLOTS + CHANGES) * LANES, intervals[g] > 1
            if is_pair and divides:
                advance_lanes(flat, previous, rows, p, models, place, numbers, slot)
                _lane_steps(work, g, samples, one, loss, scale[t], coef, push, p, moves[g])
                _next_of_pair(work, g)
                _lane_steps(work, g, samples, two, loss, scale[t + 1], coef, push, p, moves[g])
            else:
                advance_lanes(flat, previous, first, p, models, place, numbers, slot)
                _lane_steps(work, g, samples, one, loss, scale[t], coef, push, p, moves[g])
                work[g, CHANGES * LANES : (CHANGES + 1) * LANES] = 0.0
                if is_pair:
                    _settle_lanes(coef, g, push, p, work, divides)
                    advance_lanes(flat, first, second, p, models, place, numbers, slot)
                    _lane_steps(work, g, samples, two, loss, scale[t + 1], coef, push, p, moves[g])
            if (t + 2) % intervals[g] == 0:
                _settle_lanes(coef, g, push, p, work, divides)
        previous[0], previous[1] = rows[0], rows[1]
    for g in range(n_groups):
        slot = (g * SLOTS + CHANGES) * LANES
        advance_lanes(flat, previous, rows, p, models, g * per_group, numbers, slot)
        _settle_lanes(coef, g, push, p, work, intervals[g] > 1)


@jit_sums
def _lane_steps(work, g, samples, row, loss, factor, coef, push, p, moves):
    """From ⟨row, w⟩ to what each lane subtracts of the row, γ ∂ℓ/∂score / α; α, σ and the intercept move on.

    Where α and σ move AT_ONCE, settled before the row is subtracted, α may be zero, and nothing is divided by it.
    """
    label, imitated, weight, push_score = samples[row, 0], samples[row, 1], samples[row, 2], samples[row, 3]
    if moves != NOT:
        for lane in range(LANES):
            product, known = work[g, SCORES * LANES + lane], work[g, PUSHED * LANES + lane] * push_score
            work[g, SCORES * LANES + lane] = work[g, SHRUNK * LANES + lane] * product + known
    if coef.shape[1] > p:
        for lane in range(LANES):
            work[g, SCORES * LANES + lane] += coef[g, p, lane]
    for lane in range(LANES):
        kappa, temperature = work[g, WEIGHT * LANES + lane], work[g, TEMPERATURE * LANES + lane]
        slope = residual(work[g, SCORES * LANES + lane], label, imitated, loss, kappa, temperature)
        work[g, (CHANGES + 1) * LANES + lane] = factor * work[g, STEP * LANES + lane] * weight * slope
    if coef.shape[1] > p:
        for lane in range(LANES):
            pull = factor * work[g, STEP * LANES + lane] * work[g, WEIGHT * LANES + lane] * push[p]
            coef[g, p, lane] -= work[g, (CHANGES + 1) * LANES + lane] + pull
    if moves != NOT:
        for lane in range(LANES):
            rate = factor * work[g, STEP * LANES + lane]
            decay = 1.0 - rate * work[g, PENALTY * LANES + lane]
            pushed = decay * work[g, PUSHED * LANES + lane] - rate * work[g, WEIGHT * LANES + lane]
            work[g, SHRUNK * LANES + lane] *= decay
            work[g, PUSHED * LANES + lane] = pushed
    if moves == LAZILY:
        for lane in range(LANES):
            work[g, (CHANGES + 1) * LANES + lane] /= work[g, SHRUNK * LANES + lane]


@jit_sums
def _next_of_pair(work, g):
    """The second row's score becomes the next, without what the first's change, not yet in w, has of it."""
    shared = work[g, SHARED * LANES]
    for lane in range(LANES):
        change = work[g, (CHANGES + 1) * LANES + lane]
        work[g, CHANGES * LANES + lane] = change
        work[g, SCORES * LANES + lane] = work[g, (SCORES + 1) * LANES + lane] - shared * change


@jit_sums
def _settle_lanes(coef, g, push, p, work, is_divided):
    """w ← α w + σ push, and with it what is still to be subtracted of rows, where it was divided by α."""
    for j in range(p):
        for lane in range(LANES):
            shrunk, pushed = work[g, SHRUNK * LANES + lane], work[g, PUSHED * LANES + lane]
            coef[g, j, lane] = shrunk * coef[g, j, lane] + pushed * push[j]
    for lane in range(LANES if is_divided else 0):
        work[g, CHANGES * LANES + lane] *= work[g, SHRUNK * LANES + lane]
        work[g, (CHANGES + 1) * LANES + lane] *= work[g, SHRUNK * LANES + lane]
    for lane in range(LANES):
        work[g, SHRUNK * LANES + lane], work[g, PUSHED * LANES + lane] = 1.0, 0.0


@jit_sums
def _add(row, factor, out):
    for j in range(row.shape[0]):
        out[j] -= factor * row[j]


@jit
def _batch_scores(flat, p, rows, size, following, coef, out):
    """Scores (size, C) of the rows, while the following ones are asked for; intercepts are the last column of coef."""
    n_outputs = coef.shape[0]
    whole, outputs = size - size % TILE, n_outputs - n_outputs % TILE
    for b in range(0, whole, TILE):
        for c in range(0, outputs, TILE):
            tile_scores(flat, p, rows, b, coef, c, out, following, c == 0)
        for c in range(outputs, n_outputs):
            rows_scores(flat, p, rows, b, coef, c, out, following, c == 0)
    for b in range(whole, size):
        for c in range(0, outputs, TILE):
            outputs_scores(flat, p, rows, b, coef, c, out, following, c == 0)
        for c in range(outputs, n_outputs):
            one_score(flat, p, rows, b, coef, c, out, following, c == 0)
    for b in range(size if coef.shape[1] > p else 0):
        for c in range(n_outputs):
            out[b, c] += coef[c, p]


@jit
def _subtract_gradient(flat, p, rows, size, factors, out):
    """out −= Σ_i factors_i ⊗ (row_i, 1): factors (C, size or more), out (C, p or p + 1)."""
    n_outputs = out.shape[0]
    whole, outputs = size - size % TILE, n_outputs - n_outputs % TILE
    for b in range(0, whole, TILE):
        for c in range(0, outputs, TILE):
            subtract_tile(flat, p, rows, b, out, c, factors)
        for c in range(outputs, n_outputs):
            subtract_rows(flat, p, rows, b, out, c, factors)
    for b in range(whole, size):
        for c in range(0, outputs, TILE):
            subtract_outputs(flat, p, rows, b, out, c, factors)
        for c in range(outputs, n_outputs):
            subtract_one(flat, p, rows, b, out, c, factors)
    for c in range(n_outputs if out.shape[1] > p else 0):
        for b in range(size):
            out[c, p] -= factors[c, b]


@jit
def _batch_factors(scores, rows, size, samples, loss, setting, share, soft, out):
    """share · weight · ∂ℓ/∂score of every output, from scores and a workspace, (size, C) -> out (C, size or more)."""
    n_outputs, temperature, is_mixed = scores.shape[1], setting[TEMPERATURE], samples.shape[1] == scores.shape[1]
    kappa, second = (0.0, 0) if is_mixed else (setting[WEIGHT], n_outputs)
    for b in range(size):
        n, factor = rows[b], share
        if not is_mixed:
            factor *= samples[n, 2 * n_outputs]
        if loss == SOFTMAX and temperature != 1.0:
            _softmax(scores, b, temperature, soft)
            for c in range(n_outputs):
                out[c, b] = kappa * temperature * (soft[b, c] - samples[n, n_outputs + c])
        if loss == SOFTMAX:
            _softmax(scores, b, 1.0, scores)
        for c in range(n_outputs):
            label, imitated = samples[n, c], samples[n, second + c]
            if loss != SOFTMAX:
                slope = residual(scores[b, c], label, imitated, loss, kappa, temperature)
            elif temperature != 1.0:
                slope = (1.0 - kappa) * (scores[b, c] - label) + out[c, b]
            else:
                slope = scores[b, c] - ((1.0 - kappa) * label + kappa * imitated)
            out[c, b] = factor * slope


@jit
def _softmax(scores, b, temperature, out):
    """Probabilities of a row b of scores (size, C), in that of out (size, C)."""
    largest, total = scores[b, 0], scores.dtype.type(0)
    for c in range(1, scores.shape[1]):
        largest = max(largest, scores[b, c])
    for c in range(scores.shape[1]):
        below = scores[b, c] - largest
        out[b, c] = np.exp(scores.dtype.type(below / temperature) if temperature != 1.0 else below)
        total += out[b, c]
    for c in range(scores.shape[1]):
        out[b, c] /= total


@jit
def dense_batches(X, order, samples, loss, setting, scale, state, compressor, draws):
    """Steps of a batch each, any number of outputs, with momentum, compression and the sum of all iterates.

    X (n, p), order (steps, batch) with −1 where a batch is shorter, samples (n, 3 C + 1) or, mixed and of weight 1,
    (n, C), state (3 or 4, C, p or p + 1): coefficients, push, velocity and, where there is a fourth, the running sum.
    `compress` says what draws are; where they are None nothing is compressed, and the code for it not compiled. With
    momentum m the velocity v ← m v + gradient, and x ← x − γ v.
    """
    p, n_outputs, width, last = X.shape[1], state.shape[1], order.shape[1], order.shape[0] - 1
    flat, coef, velocity, push, momentum = X.reshape(-1), state[COEF], state[VELOCITY], state[PUSH], setting[MOMENTUM]
    scores, factors = np.zeros((width, n_outputs), X.dtype), np.zeros((n_outputs, width), X.dtype)
    soft, moved = np.zeros((width, n_outputs), X.dtype), coef if momentum == 0.0 else velocity
    rows, following, lead = np.zeros(width, np.intp), np.zeros(width, np.intp), 1 + SOON_ROWS // width
    weight, records = setting[WEIGHT] if _is_used(push.reshape(-1)) else 0.0, samples.reshape(-1)
    for t in range(order.shape[0]):
        size = 0
        while size < width and order[t, size] >= 0:
            rows[size], following[size] = order[t, size], max(0, order[min(t + lead, last), size])
            _fetch(records, samples.shape[1], following[size])
            size += 1
        _batch_scores(flat, p, rows, size, following, coef, scores)
        rate = setting[STEP] * scale[t]
        if momentum == 0.0:
            taken, kept, pull, kept_intercept = rate, 1.0 - rate * setting[PENALTY], 0.0, 1.0
        else:  # the velocity is kept with its sign turned, as gradients are subtracted
            taken, kept, pull, kept_intercept = 1.0, momentum, -setting[PENALTY], momentum
        # one call of each for both cases: every call would be compiled anew
        _batch_factors(scores, rows, size, samples, loss, setting, taken / size, soft, factors)
        _shrink(moved, coef, p, push, kept, pull, -taken * weight, kept_intercept)
        _subtract_gradient(flat, p, rows, size, factors, moved)
        if momentum != 0.0:
            _accumulate(velocity, rate, coef)
        if draws is not None and compressor != UNCOMPRESSED:
            compress(coef, p, compressor, setting[PARAMETER], draws[t % draws.shape[0]])
        if state.shape[0] > TOTAL:
            _accumulate(coef, 1.0, state[TOTAL])


@jit
def _is_used(values):
    used = False
    for value in values:
        used |= value != 0.0
    return used


@jit_sums
def _accumulate(values, factor, out):
    for c in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[c, j] += factor * values[c, j]


@jit
def _shrink(out, coef, p, push, kept, penalty, weight, kept_intercept):
    """out ← kept · out + penalty · coef + weight · push; an intercept has no penalty, and a factor of its own."""
    for c in range(out.shape[0]):
        if kept != 1.0 or penalty != 0.0 or weight != 0.0:
            for j in range(p):
                out[c, j] = kept * out[c, j] + penalty * coef[c, j] + weight * push[c, j]
        if out.shape[1] > p:
            out[c, p] = kept_intercept * out[c, p] + weight * push[c, p]


@jit
def compress(coef, p, compressor, parameter, draws):
    """x ← C(x) for the first p coefficients of every output (C, p or p + 1). SCALED multiplies by draws (C, p); TOP
    keeps the `parameter` largest, of equals the first; ROUNDED rounds |x| / ‖x‖ up or down to multiples of
    1 / `parameter`, by uniform draws (C, p).
    """
    for c in range(coef.shape[0]):
        x, drawn = coef[c, :p], draws[c]
        if compressor == SCALED:
            for j in range(p):
                x[j] *= drawn[j]
        elif compressor == TOP:
            _keep_largest(x, int(parameter))
        else:
            _round(x, parameter, drawn)


@jit
def _keep_largest(x, kept):
    sizes = np.empty(x.shape[0], x.dtype)
    for j in range(x.shape[0]):
        sizes[j] = abs(x[j])
    sizes.sort()
    threshold = sizes[x.shape[0] - kept]
    equal = kept
    for j in range(x.shape[0]):
        equal -= sizes[j] > threshold
    for j in range(x.shape[0]):
        if abs(x[j]) < threshold or (abs(x[j]) == threshold and equal == 0):
            x[j] = 0.0
        elif abs(x[j]) == threshold:
            equal -= 1


@jit
def _round(x, levels, draws):
    norm = 0.0
    for j in range(x.shape[0]):
        norm += float(x[j]) * float(x[j])
    norm = np.sqrt(norm)
    for j in range(x.shape[0] if norm > 0.0 else 0):
        level = levels * abs(x[j]) / norm
        below = np.floor(level)
        x[j] = np.sign(x[j]) * norm * (below + (draws[j] < level - below)) / levels
