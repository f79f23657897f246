"""Likelihoods and posterior means of the members of a mixture of two normal signals, one target at a time.

A member (κ, π, λ) says of the squared coordinates q_j = z_j² of a target, with noise g and signal s_j = d_j / λ::

    z_j ~ π N(0, g (1 + s_j)) + (1 − π) N(0, g (1 + κ s_j))
    W_j = 1 / (1 + e^x_j),   x_j = log((1 − π) / π) − ½ log((1 + κ s_j) / (1 + s_j)) − q_j c_j / (2 g)

with c_j = 1 / (1 + κ s_j) − 1 / (1 + s_j). `fastdistill.selection.evidence` has the model and what it is for.

The exponentials are nearly all of the work: the library's take 5 ns each, and keep the compiler from using vectors.
Those below take 1 ns, to one unit in the last place.

Cost: O(updates · members · r) a target: 0.2 ms for 272 members and r = 100.
"""

import numpy as np

from fastdistill.kernels._compile import jit, jit_fused, jit_sums
from fastdistill.kernels._intrinsics import SHIFT, power_of_two

_LARGEST_EXPONENT = 300.0  # of the odds against the wide signal: the product of two is within float64
_NEGLIGIBLE = 1e-20  # share of the likelihood below which a member changes no digit of the means
_FACTORS = 512  # numbers from 1 to 2 whose product stays within float64
_INVERSE_LN2 = 1.4426950408889634


@jit_fused
def _exp(x):
    """e^x for |x| ≤ 700 without a branch or a call: 2^k times a polynomial that is 2^f at Chebyshev points."""
    shifted = x * _INVERSE_LN2 + SHIFT
    f = x * _INVERSE_LN2 - (shifted - SHIFT)
    power = 4.4558179083360645e-10
    power = power * f + 7.074194297288521e-09
    power = power * f + 1.0178057087733941e-07
    power = power * f + 1.3215432535912375e-06
    power = power * f + 1.5252733841556773e-05
    power = power * f + 0.00015403530463724353
    power = power * f + 0.001333355814640647
    power = power * f + 0.009618129107587256
    power = power * f + 0.055504108664821625
    power = power * f + 0.24022650695910158
    power = power * f + 0.6931471805599453
    power = power * f + 1.0
    return power * power_of_two(shifted)


@jit_fused
def _odds(closer, tilt, log_odds, half):
    """e^x, the odds against the wide signal, where any beyond e^300 are as good as none."""
    x = log_odds + tilt - half * closer
    x = x if x < _LARGEST_EXPONENT else _LARGEST_EXPONENT
    return _exp(x if x > -_LARGEST_EXPONENT else -_LARGEST_EXPONENT)


@jit_fused
def _even_odds(closer, tilt, half, out):
    """e^x at even odds of both components: in the first update shares differ in odds alone."""
    for j in range(closer.shape[0]):
        out[j] = _odds(closer[j], tilt[j], 0.0, half)


@jit_sums
def _closer_of_odds(closer, even, against_wide):
    """Σ W closer, W = 1 / (1 + against_wide e^x); a division for two of them."""
    total, half_way = 0.0, closer.shape[0] // 2
    for j in range(half_way):
        first, second = 1.0 + against_wide * even[j], 1.0 + against_wide * even[j + half_way]
        total += (closer[j] * second + closer[j + half_way] * first) / (first * second)
    return total


@jit_sums
def _expected_closer(closer, tilt, log_odds, half):
    """Σ W closer."""
    total, half_way = 0.0, closer.shape[0] // 2
    for j in range(half_way):
        first = 1.0 + _odds(closer[j], tilt[j], log_odds, half)
        second = 1.0 + _odds(closer[j + half_way], tilt[j + half_way], log_odds, half)
        total += (closer[j] * second + closer[j + half_way] * first) / (first * second)
    return total


@jit_sums
def _last_update(closer, tilt, log_odds, half, wide, odds):
    """W (B,), e^−|x| in `odds`, and the sum of the positive x."""
    total = 0.0
    for j in range(closer.shape[0]):
        x = log_odds + tilt[j] - half * closer[j]
        x = x if x < _LARGEST_EXPONENT else _LARGEST_EXPONENT
        distance = abs(x)
        small = _exp(-(distance if distance < _LARGEST_EXPONENT else _LARGEST_EXPONENT))
        odds[j] = small
        wide[j] = (small if x > 0.0 else 1.0) / (1.0 + small)
        total += x if x > 0.0 else 0.0
    return total


@jit_sums
def _dot(a, b):
    total = 0.0
    for j in range(a.shape[0]):
        total += a[j] * b[j]
    return total


@jit_sums
def _product_of_one_and(odds, start, stop):
    product = 1.0
    for j in range(start, stop):
        product *= 1.0 + odds[j]
    return product


@jit
def _sum_of_logs(odds):
    """Σ log(1 + odds)."""
    total = 0.0
    for start in range(0, odds.shape[0], _FACTORS):
        total += np.log(_product_of_one_and(odds, start, min(start + _FACTORS, odds.shape[0])))
    return total


@jit
def _gathered(squares, thin, wide, block, out):
    """Σ q c, c = thin − wide, over the directions of each block."""
    for j in range(out.shape[0]):
        out[j] = 0.0
    for j in range(squares.shape[0]):
        out[block[j]] += squares[j] * (thin[j] - wide[j])


@jit
def concentrated_members(squares, outside, start, floor, n, updates, model, log_likelihood, noise, belongs):
    """Log likelihood and noise (C, S, L) of every member for one target, and W (C, S, L, B) in `belongs`.

    squares (r,) = z²; outside the squared norm outside the range; start (L,) the noise from which g is updated
    `updates` − 1 times (EM), at least `floor`; n degrees of freedom. `model` is a tuple of wide (L, r) = 1 / (1 + s),
    thin (C, L, r) = 1 / (1 + κ s), log_wide (L,) = Σ log(1 + s), shares (S,) = π, block (r,) the group of equal
    eigenvalues of each direction, and tilt (C, L, B) = −½ Σ log((1 + κ s) / (1 + s)) over each group; groups beyond
    the last one fill whole vectors and have a tilt so negative that they change nothing.
    """
    wide, thin, log_wide, shares, block, tilt = model
    closer, even, odds = np.empty(tilt.shape[2]), np.empty(tilt.shape[2]), np.empty(tilt.shape[2])
    for i in range(start.shape[0]):
        of_wide = _dot(squares, wide[i])
        for c in range(thin.shape[0]):
            of_thin = _dot(squares, thin[c, i])
            _gathered(squares, thin[c, i], wide[i], block, closer)
            _even_odds(closer, tilt[c, i], 0.5 / max(start[i], floor), even)
            for s in range(shares.shape[0]):
                against_wide, g = (1.0 - shares[s]) / shares[s], max(start[i], floor)
                log_odds = np.log(against_wide)
                for update in range(updates - 1):
                    if update == 0:
                        near = _closer_of_odds(closer, even, against_wide)
                    else:
                        near = _expected_closer(closer, tilt[c, i], log_odds, 0.5 / g)
                    g = max((of_thin - near + outside) / n, floor)
                against = _last_update(closer, tilt[c, i], log_odds, 0.5 / g, belongs[c, s, i], odds)
                against += (block[-1] + 1) * np.log(shares[s]) + _sum_of_logs(odds)
                noise[c, s, i] = g
                log_likelihood[c, s, i] = against - 0.5 * (log_wide[i] + (of_wide + outside) / g + n * np.log(g))


@jit_fused
def _add_filter(share, wide_probability, of_wide, of_thin, mean):
    for j in range(mean.shape[0]):
        mean[j] += share * (of_thin[j] + wide_probability[j] * (of_wide[j] - of_thin[j]))


@jit_fused
def _add_slope(share, wide_probability, of_wide, of_thin, mean, slope):
    for j in range(mean.shape[0]):
        w, change = wide_probability[j], of_wide[j] - of_thin[j]
        off = of_thin[j] + w * change - mean[j]
        slope[j] += share * (w * (1.0 - w) * change * change + off * off)


@jit
def _weights(log_likelihood, noise):
    """Turn log likelihoods (C, S, L) into weights that sum to 1: the log of their mean, and the mean noise."""
    logs, noises = log_likelihood.reshape(-1), noise.reshape(-1)
    largest, total, mean_noise = -np.inf, 0.0, 0.0
    for k in range(logs.shape[0]):
        largest = logs[k] if logs[k] > largest else largest
    for k in range(logs.shape[0]):
        logs[k] = np.exp(logs[k] - largest)
        total += logs[k]
    for k in range(logs.shape[0]):
        logs[k] /= total
        mean_noise += logs[k] * noises[k]
    return largest + np.log(total / logs.shape[0]), mean_noise


@jit
def _likeliest(weight):
    """The last index (of λ) of the largest weight (C, S, L), the first of equal ones."""
    found, largest = 0, -1.0
    for c in range(weight.shape[0]):
        for s in range(weight.shape[1]):
            for i in range(weight.shape[2]):
                if weight[c, s, i] > largest:
                    found, largest = i, weight[c, s, i]
    return found


@jit
def mean_filter(weight, belongs, of_wide, of_thin, block, mean, slope):
    """The mean F (r,) of the filters f = b + W (a − b) of all members, and that of W (1 − W) (a − b)² + (f − F)².

    weight (C, S, L) sums to 1; W (C, S, L, B); a = of_wide (L, r), b = of_thin (C, L, r); block (r,).
    """
    each = np.empty(mean.shape[0])  # W of each direction
    for j in range(mean.shape[0]):
        mean[j] = slope[j] = 0.0
    for turn in range(2):
        for c in range(weight.shape[0]):
            for s in range(weight.shape[1]):
                for i in range(weight.shape[2]):
                    if weight[c, s, i] > _NEGLIGIBLE:
                        for j in range(each.shape[0]):
                            each[j] = belongs[c, s, i, block[j]]
                        if turn == 0:
                            _add_filter(weight[c, s, i], each, of_wide[i], of_thin[c, i], mean)
                        else:
                            _add_slope(weight[c, s, i], each, of_wide[i], of_thin[c, i], mean, slope)


@jit
def concentrated_signals(squares, outside, start, floor, n, updates, model, filters, numbers, curves):
    """The posterior over all members for m targets, each alone: squares (m, r), outside (m,), start (m, L), floor (m,).

    n, updates, model as of `concentrated_members`, filters = (a, b) as of `mean_filter` -> numbers (3, m), the log of
    the mean likelihood, the number of the λ of the likeliest member, and the mean noise; curves (2, m, r), the mean
    filter and its slope.
    """
    _, thin, log_wide, shares, block, tilt = model
    weight = np.empty((thin.shape[0], shares.shape[0], log_wide.shape[0]))
    noise = np.empty((thin.shape[0], shares.shape[0], log_wide.shape[0]))
    belongs = np.empty((thin.shape[0], shares.shape[0], log_wide.shape[0], tilt.shape[2]))
    for t in range(squares.shape[0]):
        concentrated_members(squares[t], outside[t], start[t], floor[t], n, updates, model, weight, noise, belongs)
        numbers[0, t], numbers[2, t] = _weights(weight, noise)
        numbers[1, t] = _likeliest(weight)
        mean_filter(weight, belongs, filters[0], filters[1], block, curves[0, t], curves[1, t])
