"""The neural tangent kernel of a fully connected ReLU network of infinite width, in closed form.

With L hidden layers, variances ω of the weights and β of the biases, and θ_l the angle between two inputs as layer l
sees them (cos θ_l = Σ_l(x, z) / √(Σ_l(x, x) Σ_l(z, z)))::

    Θ_0 = Σ_0 = xᵀz + β
    Σ_l = (ω/2) √(Σ_{l−1}(x, x) Σ_{l−1}(z, z)) κ_1(θ_{l−1}) + β,    κ_1(θ) = (sin θ + (π − θ) cos θ) / π
    Θ_l = Σ_l + (ω/2) κ_0(θ_{l−1}) Θ_{l−1},                         κ_0(θ) = (π − θ) / π

and the kernel is Θ_L. Near θ = 0 it has a kink, as the Laplacian kernel: there an angle taken from a cosine holds only
half of the digits. So angles are what is carried from layer to layer: the first from differences of the rows where
these are nearly parallel, the others from 1 − cos θ, which the layers give without cancellation::

    1 − κ_1(θ) = 2 sin²(θ/2) − (sin θ − θ cos θ) / π

=====================================  ==================================
paper                                  here
=====================================  ==================================
Jacot et al.: Σ^(l), Θ^(l)             the kernel of layer l, ``ntk``
Jacot et al.: β²                       ``bias_variance``
Arora et al.: c_σ = 2                  ``weight_variance``
Cho and Saul: J_1(θ), J_0(θ)           π κ_1, π κ_0
=====================================  ==================================

Cost: O(n m (p + depth)), some 60 ns for each value and layer; half of that for one set of samples. Blocks of rows keep
the memory beside the result at 64 MiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, diags_array, hstack, issparse

from fastdistill.base import validation

BLOCK = 2**20  # values that are computed at once
CHUNK = 2**18  # numbers that are gathered at once for nearly parallel rows
PARALLEL = 1e-4  # of 1 − |cos θ|: above it an angle from a cosine keeps 14 digits
LARGEST_DEPTH = 10_000


class Network(NamedTuple):
    """Hidden layers, and the variances of weights and biases."""

    depth: int = 3
    weight_variance: float = 2.0
    bias_variance: float = 0.0

    def checked(self) -> Network:
        """The same as plain numbers; raises where one is of the wrong kind or out of range."""
        depth = validation.integer(self.depth, "depth", minimum=1)
        if depth > LARGEST_DEPTH:
            raise ValueError(f"depth must be at most {LARGEST_DEPTH}, got {depth}.")
        return Network(
            depth,
            validation.scalar(self.weight_variance, "weight_variance", minimum=0.0, strict=True, largest=1e100),
            validation.scalar(self.bias_variance, "bias_variance", minimum=0.0, largest=1e100),
        )


def ntk_kernel(
    X: Any, Z: Any = None, depth: int = 3, weight_variance: float = 2.0, bias_variance: float = 0.0
) -> np.ndarray:
    """Neural tangent kernel of a fully connected ReLU network, Θ_L = Σ_L + (ω/2) κ_0 Θ_{L−1}, in closed form [1]_.

    The network has L = `depth` hidden layers whose width goes to infinity, and one output,

        h_0 = W_0 x + √β b_0,    h_l = √(ω/width) W_l max(h_{l−1}, 0) + √β b_l,    f(x) = h_L,

    with independent standard normal W and b. The kernel is the product of the gradients of f(x) and f(z) by all W and
    b. Kernel ridge with it is what training the network by gradient descent on squared errors comes to [1]_.

    Parameters
    ----------
    X : {array-like, sparse matrix, sparse array} (n, p)
        Samples.
    Z : {array-like, sparse matrix, sparse array} (m, p), optional
        More samples; by default those of `X`, with an exactly symmetric result.
    depth : int
        Number L of hidden layers, at least 1; the network has L + 1 layers of weights.
    weight_variance : float
        ω, above 0; 2 keeps the size of the signal from layer to layer.
    bias_variance : float
        β, at least 0. Without biases the kernel is homogeneous: ntk(a x, z) = a ntk(x, z) for a > 0.

    Returns
    -------
    ndarray (n, m)
        Kernel values; float32 only if `X` and `Z` are.

    Raises
    ------
    ValueError
        NaN or inf, another number of features in `Z`, a parameter out of range, values that overflow.
    TypeError
        Samples that are no numbers, parameters of the wrong kind.

    Notes
    -----
    Σ_0 = Θ_0 = xᵀz + β, and the next layers follow from the angle θ between the two inputs as the layer before sees
    them, cos θ = Σ(x, z) / √(Σ(x, x) Σ(z, z)):

        Σ_l = (ω/2) √(Σ_{l−1}(x, x) Σ_{l−1}(z, z)) κ_1(θ) + β,    Θ_l = Σ_l + (ω/2) κ_0(θ) Θ_{l−1},
        κ_1(θ) = (sin θ + (π − θ) cos θ) / π,    κ_0(θ) = (π − θ) / π,

    the arc-cosine kernels of degree 1 and 0 [2]_. With ω = 2 and β = 0 the scale is that of [3]_, and
    ntk(x, x) = (L + 1) ‖x‖². The first layer is not divided by the number of features: divide X by √p for the scale
    of [1]_. Values are accurate to rounding, also of nearly parallel and of repeated samples.

    O(n m (p + L)); the memory beside the result is bounded.

    References
    ----------
    .. [1] A. Jacot, F. Gabriel and C. Hongler, "Neural tangent kernel: Convergence and generalization in neural
       networks", NeurIPS 2018, arXiv:1806.07572.
    .. [2] Y. Cho and L. K. Saul, "Kernel methods for deep learning", NIPS 2009.
    .. [3] S. Arora, S. S. Du, W. Hu, Z. Li, R. Salakhutdinov and R. Wang, "On exact computation with an infinitely
       wide neural net", NeurIPS 2019, arXiv:1904.11955.

    Examples
    --------
    >>> import fastdistill as fd
    >>> X = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    >>> fd.ntk_kernel(X, depth=1).round(4)  # 1/π between the first two: κ_1 = 1/π, and xᵀz = 0
    array([[2.    , 0.3183, 1.8183],
           [0.3183, 2.    , 1.8183],
           [1.8183, 1.8183, 4.    ]])
    >>> K = fd.ntk_kernel(X)
    >>> path = fd.Spectrum.from_kernel(K).path([1.0, 2.0, 3.0], lam=0.1, xi=1.0, n_steps=2)
    >>> path.predict(fd.ntk_kernel([[2.0, 0.0]], X))[-1].round(3)
    array([2.022])
    """
    network = Network(depth, weight_variance, bias_variance).checked()
    dtype = validation.result_dtype(X) if Z is None else validation.result_dtype(X, Z)
    X = validation.design(X, "X")
    Z = None if Z is None else validation.design(Z, "Z")
    if Z is not None and Z.shape[1] != X.shape[1]:
        raise ValueError(f"Z has {Z.shape[1]} features, but X has {X.shape[1]}.")
    with np.errstate(over="ignore", invalid="ignore"):
        values = kernel_values(X, Z, network).astype(dtype, copy=False)
    if not np.isfinite(values).all():
        raise ValueError(
            f"The values of the neural tangent kernel overflow in {dtype}: X, depth or a variance is too large. "
            f"Rescale X, for example by dividing it by its largest entry, or set weight_variance=2."
        )
    return values


def kernel_values(X: Any, Z: Any, network: Network) -> np.ndarray:
    """The kernel (n, m) of checked samples; of X alone where Z is None."""
    left = _Directions.of(X, network.bias_variance)
    right = left if Z is None else _Directions.of(Z, network.bias_variance)
    n, m = len(left.lengths), len(right.lengths)
    values = np.empty((n, m))
    height = max(1, BLOCK // m)
    for start in range(0, n, height):
        rows = slice(start, min(start + height, n))
        columns = slice(start, None) if Z is None else slice(None)
        values[rows, columns] = _block(left.at(rows), right.at(columns), network)
        if Z is None:
            square = values[rows, rows]
            square[:] = np.triu(square) + np.triu(square, 1).T
            values[rows.stop :, rows] = values[rows, rows.stop :].T
    return values


class _Directions(NamedTuple):
    """Rows, with the bias as one more feature, as lengths (n,) and unit vectors (n, p[ + 1]); zero rows stay zero."""

    lengths: np.ndarray
    units: Any

    @classmethod
    def of(cls, X: Any, bias_variance: float) -> _Directions:
        largest = validation.largest_entry(X.data if issparse(X) else X)
        if bias_variance:
            column = np.full((X.shape[0], 1), np.sqrt(bias_variance))
            X = hstack([X, csr_array(column)], format="csr") if issparse(X) else np.hstack([X, column])
            largest = max(largest, float(column[0, 0]))
        X = X / (largest or 1.0)  # whose squares neither overflow nor vanish
        lengths = np.sqrt(X.power(2).sum(axis=1) if issparse(X) else np.einsum("ij,ij->i", X, X))
        inverse = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        units = (diags_array(inverse) @ X).tocsr() if issparse(X) else X * inverse[:, np.newaxis]
        return cls(lengths * (largest or 1.0), units)

    def at(self, rows: slice) -> _Directions:
        return _Directions(self.lengths[rows], self.units[rows])


def _block(left: _Directions, right: _Directions, network: Network) -> np.ndarray:
    """Kernel values (h, m) of some rows."""
    half, bias = network.weight_variance / 2, network.bias_variance
    x, z = left.lengths[:, np.newaxis], right.lengths
    angle = _angles(left.units, right.units)
    values = x * z * np.cos(angle)
    for layer in range(1, network.depth + 1):
        x, z = np.sqrt(half) * x, np.sqrt(half) * z
        product, sine, cosine = x * z, np.sin(angle), np.cos(angle)
        values *= half * (1 - angle / np.pi)
        values += product * ((sine + (np.pi - angle) * cosine) / np.pi) + bias
        if layer < network.depth:
            gap = 2 * np.square(np.sin(angle / 2)) - (sine - angle * cosine) / np.pi  # 1 − κ_1
            if bias:
                size = np.sqrt(x * x + bias) * np.sqrt(z * z + bias)
                gap = (product * gap + bias * np.square(x - z) / (size + product + bias)) / size
                x, z = np.sqrt(x * x + bias), np.sqrt(z * z + bias)
            angle = 2 * np.arcsin(np.sqrt(np.clip(gap / 2, 0.0, 0.5)))
    return values


def _angles(left: Any, right: Any) -> np.ndarray:
    """Angles (h, m) between unit rows."""
    cosine = left @ right.T
    cosine = np.clip(cosine.toarray() if issparse(cosine) else cosine, -1.0, 1.0)
    angle = np.arccos(cosine)
    for i, j in _pairs(np.abs(cosine) > 1 - PARALLEL, left.shape[1]):
        one, other = (rows.toarray() if issparse(rows) else rows for rows in (left[i], right[j]))
        apart, together = (np.linalg.norm(rows, axis=1) for rows in (one - other, one + other))
        angle[i, j] = 2 * np.arctan2(apart, together)
    return angle


def _pairs(chosen: np.ndarray, width: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of the chosen entries, so many at once that their rows fill a chunk."""
    i, j = np.nonzero(chosen)
    size = max(1, CHUNK // width)
    for start in range(0, len(i), size):
        yield i[start : start + size], j[start : start + size]
