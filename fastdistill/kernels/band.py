"""A symmetric band matrix B in tridiagonal form: B = Q T Qᵀ, by reflectors that chase its corner out of the band.

Sweep i makes zeros of column i below the subdiagonal, by a reflector H = I − τ v vᵀ of rows i + 1 … i + b. That fills
the b × b block below, whose first column the next reflector of the sweep makes zero again, b rows further down; and so
on to the end of the matrix. Blocks on the diagonal are transformed from both sides, those below from the right by one
reflector and from the left by the next (Bischof, Lang, Sun 2000, ACM Transactions on Mathematical Software 26).

====================  =====================================================================
linear algebra        here
====================  =====================================================================
B_ij, i ≥ j           ``band[j, i − j]``, (n, 2b + 8), zeros beyond the b-th: room for the corner
v, τ of a reflector   ``reflectors[k, i]`` (b,) with v_0 = 1, ``factors[k, i]``, the k-th of sweep i
Q                     the product of all reflectors, sweep by sweep
====================  =====================================================================

Cost: 6 n² b operations; 4 n² for each vector that Q multiplies. Vectors are padded with zeros to whole blocks of eight
numbers, so that loops are vector instructions to their ends: measured, n = 2000 and b = 32, 0.10 s, against 0.15 s.
"""

import numpy as np

from fastdistill.kernels._compile import jit, jit_sums

LANE = 8  # numbers of a vector instruction
VANISHING = 1e-280  # sums of squares below this may have lost digits: entries so small are taken for zeros


@jit_sums
def _reflector(x, v):
    """v with v_0 = 1, and τ, β, so that (I − τ v vᵀ) x = (β, 0, …, 0); x (m,) and v may have further entries.

    Where all entries but x_0 are below 1e-140 they are taken for zeros: in a matrix of norm 1e-100 they are far below
    its rounding errors.
    """
    total = 0.0
    for i in range(1, x.shape[0]):
        total += x[i] * x[i]
    v[0] = 1.0
    if total < VANISHING:
        v[1 : x.shape[0]] = 0.0
        return 0.0, x[0]
    beta = -np.copysign(np.sqrt(x[0] * x[0] + total), x[0])
    for i in range(1, x.shape[0]):
        v[i] = x[i] / (x[0] - beta)
    return (beta - x[0]) / beta, beta


@jit_sums
def _both_sides(block, m, v, tau, product, change):
    """D ← H D H of a block on the diagonal, `block[j, i − j]` = D_ij; v, product and change (2b + 8,) end in zeros."""
    product[:] = 0.0
    for j in range(m):
        column, below, sums, here, total = block[j], v[j:], product[j:], v[j], 0.0
        for lanes in range((m - j + LANE - 1) // LANE):
            for i in range(LANE * lanes, LANE * (lanes + 1)):
                total += column[i] * below[i]
                sums[i] += column[i] * here
        product[j] += total - column[0] * here  # the diagonal was in both
    product[m:] = 0.0
    share = 0.0
    for j in range(m):
        share += product[j] * v[j]
    for j in range(v.shape[0]):
        change[j] = tau * product[j] - 0.5 * tau * tau * share * v[j]
    for j in range(m):
        column, below, altered, here, turn = block[j], v[j:], change[j:], v[j], change[j]
        for lanes in range((m - j + LANE - 1) // LANE):
            for i in range(LANE * lanes, LANE * (lanes + 1)):
                column[i] -= below[i] * turn + altered[i] * here


@jit_sums
def _corner(block, m, height, v, tau, product, following):
    """E ← H' E H of the block below, `block[j, m − j + i]` = E_ij, (height, m), of which H' clears the first column.

    v is that of H; that of H' goes to `following`, padded with zeros, and its τ is returned.
    """
    product[:] = 0.0
    for j in range(m):
        column, here = block[j, m - j :], v[j]
        for i in range(m):
            product[i] += column[i] * here
    for i in range(m):
        product[i] *= tau
    first = block[0, m:]
    for i in range(height):
        first[i] -= product[i]
    following[:] = 0.0
    factor, beta = _reflector(first[:height], following)
    first[0] = beta
    first[1:height] = 0.0
    for j in range(1, m):
        column, here, total = block[j, m - j :], v[j], 0.0
        for i in range(m):
            column[i] -= product[i] * here
            total += column[i] * following[i]
        total *= factor
        for i in range(m):
            column[i] -= total * following[i]
    return factor


@jit
def band_to_tridiagonal(band, reflectors, factors):
    """Tridiagonal form of a symmetric band matrix, in place: T in band[:, 0] and band[:−1, 1].

    band (n, 2b + 8), the lower triangle of B by columns, with zeros in the last b + 7 of each and beyond the last row,
    and with its largest entry, if it has any, between 1e-100 and 1e100;
    reflectors (h, n, b) and factors (h, n), h = ⌈n / b⌉, are filled for `rotate_from_band`.
    """
    n, width = band.shape[0], reflectors.shape[2]
    work = np.zeros((4, band.shape[1]))
    product, change, v, following = work[0], work[1], work[2], work[3]  # rows by iteration have strides
    factors[:] = 0.0
    for i in range(n - 2):
        top, m, k = i + 1, min(width, n - 1 - i), 0
        v[:] = 0.0
        tau, beta = _reflector(band[i, 1 : 1 + m], v)
        band[i, 1] = beta
        band[i, 2 : 1 + m] = 0.0
        while True:
            reflectors[k, i] = v[:width]
            factors[k, i] = tau
            _both_sides(band[top:], m, v, tau, product, change)
            height = min(width, n - top - m)
            if height <= 0:
                break
            tau = _corner(band[top:], m, height, v, tau, product, following)
            v, following = following, v
            top, m, k = top + m, height, k + 1


@jit_sums
def rotate_from_band(reflectors, factors, transpose, vectors):
    """Q c, or Qᵀ c where `transpose` is true, of vectors c, in place; see `band_to_tridiagonal`.

    vectors (m, n + b), one a row, which ends in b zeros. Cost: 4 n² m operations; fastest where the vectors fit the
    second cache of the processor.
    """
    width = reflectors.shape[2]
    n = vectors.shape[1] - width
    for each in range(n - 2):
        i = each if transpose else n - 3 - each
        for k in range((n - 2 - i) // width + 1):
            top, v, tau = i + 1 + k * width, reflectors[k, i], factors[k, i]
            if tau == 0.0:
                continue
            for c in range(vectors.shape[0]):
                part, share = vectors[c, top : top + width], 0.0
                for j in range(width):
                    share += v[j] * part[j]
                share *= tau
                for j in range(width):
                    part[j] -= share * v[j]
