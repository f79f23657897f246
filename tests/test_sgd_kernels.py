"""Compressors, many configurations at once, threads, layouts and precision of `run_sgd`, and its kernels by hand."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from scipy.sparse import csr_array

import fastdistill as fd
from fastdistill import kernels
from fastdistill.kernels._intrinsics import is_compiled
from fastdistill.sgd import steps
from tests.oracle_sgd_loop import NaiveSGD, draw_orders
from tests.test_sgd import LAYOUTS, LOSSES, P, laid_out, problem, public, relative, sparse

# --- compressors ---------------------------------------------------------------------------------


def naive_compression(compressor, x, draws):
    """C(x) of one output (p,), from its definition and the draws of one step."""
    p = len(x)
    if isinstance(compressor, fd.RandK):
        return x * draws
    if isinstance(compressor, fd.Bernoulli):
        return x * draws
    if isinstance(compressor, fd.Mask):
        return np.array([x[j] if compressor.mask[j] else 0.0 for j in range(p)])
    if isinstance(compressor, fd.TopK):
        kept = sorted(range(p), key=lambda j: (-abs(x[j]), j))[: compressor.k]
        return np.array([x[j] if j in kept else 0.0 for j in range(p)])
    norm, s = np.linalg.norm(x), compressor.levels
    out = np.zeros(p)
    for j in range(p if norm > 0 else 0):
        whole, part = divmod(s * abs(x[j]) / norm, 1.0)
        out[j] = np.sign(x[j]) * norm * (whole + (draws[j] < part)) / s
    return out


COMPRESSORS = [
    fd.RandK(2),
    fd.RandK(P),
    fd.Bernoulli(0.6),
    fd.Bernoulli(1.0),
    fd.Mask([1, 0, 1, 1]),
    fd.TopK(1),
    fd.TopK(3),
    fd.RandomRounding(1),
    fd.RandomRounding(4),
]


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("loss", ["squared", "softmax"])
@pytest.mark.parametrize("compressor", COMPRESSORS, ids=repr)
def test_compressed_runs_are_the_loop(compressor, loss, layout):
    X, y, targets, teacher, start = problem(loss, fit_intercept=True)
    n, n_outputs = targets.shape
    options = {"kd_weight": 0.6, "step_size": 0.05, "batch_size": 3}
    run = fd.run_sgd(
        laid_out(X, layout),
        y,
        loss,
        teacher=public(teacher, loss),
        coef_init=public(start, loss),
        compressor=compressor,
        fit_intercept=True,
        random_state=8,
        n_epochs=2,
        **options,
    )
    orders, seeds = draw_orders("shuffle", n, 8, 2, compressed=True)
    draws = [compressor.draws(np.random.default_rng(seed), (-(-n // 3), n_outputs, P)) for seed in seeds]

    def compress(x, epoch, step):
        now = draws[epoch][step % len(draws[epoch])]
        x[:P] = np.transpose([naive_compression(compressor, x[:P, c], now[c]) for c in range(n_outputs)])
        return x

    iterates, *_ = NaiveSGD(X, targets, loss, fit_intercept=True).run(
        start, orders, teacher=teacher, compress=compress, **options
    )
    assert relative(run.coef.reshape(P, -1), iterates[-1][:P]) < 1e-10
    np.testing.assert_allclose(np.ravel(run.intercept), iterates[-1][P], rtol=1e-10)


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=repr)
def test_noise_and_bias_of_compressors(compressor, rng):
    n_draws, names = 2000, {"SCALED": kernels.SCALED, "TOP": kernels.TOP, "ROUNDED": kernels.ROUNDED}
    omega = compressor.omega(P)
    worst = 0.0
    for x in (rng.standard_normal(P), np.ones(P), np.eye(P)[1], np.array([0.0, -3.0, 0.1, 2.0])):
        coef = np.tile(x, (n_draws, 1))
        draws = compressor.draws(rng, (n_draws, 1, P))
        for t in range(n_draws):
            kernels.compress(
                coef[t : t + 1],
                P,
                names[compressor.kind],
                compressor.parameter,
                np.ascontiguousarray(draws[t % len(draws)]),
            )
        errors = np.square(coef - x).sum(axis=1)
        spread = 4.0 * errors.std() / np.sqrt(n_draws) + 1e-12
        assert errors.mean() <= omega * (x @ x) + spread
        worst = max(worst, (errors.mean() + spread) / (x @ x))
        if compressor.unbiased:
            assert np.all(np.abs(coef.mean(axis=0) - x) <= 4.5 * coef.std(axis=0) / np.sqrt(n_draws) + 1e-12)
    if not isinstance(compressor, fd.RandomRounding):  # its ω is a bound, theirs are reached
        assert worst >= omega
    if isinstance(compressor, fd.RandK):
        assert set(np.count_nonzero(draws, axis=2).ravel()) == {compressor.k}


def test_equal_coefficients_the_first_are_kept():
    coef = np.array([[1.0, -1.0, 1.0, 1.0]])
    kernels.compress(coef, 4, kernels.TOP, 2.0, np.zeros((1, 1)))
    np.testing.assert_array_equal(coef, [[1.0, -1.0, 0.0, 0.0]])


# --- many configurations -------------------------------------------------------------------------

SHARED = {
    "plain": {},
    "intercept": {"fit_intercept": True, "l2": 0.1},
    "unbiased": {"variant": "kd_unbiased", "l2": 0.4, "fit_intercept": True},
    "strong": {"variant": "kd_unbiased", "l2": 4.0, "order": "replace"},
    "logistic": {"loss": "logistic", "l2": 0.1, "fit_intercept": True},
    "soft": {"loss": "logistic", "variant": "soft_labels", "temperature": 2.0},
    "softmax": {"loss": "softmax", "batch_size": 3, "average": True},
    "batches": {"batch_size": 4, "momentum": 0.5, "average": True},
    "svrg": {"variant": "svrg", "teacher_every": 2},
    "repeated": {"variant": "repeated", "fit_intercept": True},
    "compressed": {"compressor": fd.RandK(3), "fit_intercept": True},
    "rounded": {"compressor": fd.RandomRounding(8), "batch_size": 2},
}


def several(Q, kind, layout, **more):
    """A run of Q configurations, and the function that runs one of them alone."""
    options = {"loss": "squared", "n_epochs": 3, "record_every": 3, **SHARED[kind], **more}
    X, y, _, teacher, start = problem(options["loss"], n=23, fit_intercept=options.get("fit_intercept", False))
    if options.get("variant") != "svrg":
        options["teacher"] = public(teacher, options["loss"])
    options["coef_init"] = public(start, options["loss"])
    step_size, kd_weight = np.linspace(0.02, 0.12, Q), np.linspace(0.0, 1.2, Q)[::-1].copy()
    if options.get("variant") == "svrg":
        kd_weight = np.ones(Q)
    X = laid_out(X, layout)

    def all_of_them(**others):
        return fd.run_sgd(X, y, **{"step_size": step_size, "kd_weight": kd_weight, **options, **others})

    def alone(q, **others):
        return fd.run_sgd(X, y, **{"step_size": step_size[q], "kd_weight": kd_weight[q], **options, **others})

    return all_of_them, alone


def assert_same_runs(found, wanted, **tolerance):
    for name in ("coef", "intercept"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), **tolerance)
    for name in wanted.trace:
        np.testing.assert_allclose(found.trace[name], wanted.trace[name], rtol=1e-9)


def of(run, q):
    """Configuration q of a run as a run."""
    trace = {name: values[q] for name, values in run.trace.items()}
    return fd.SGDRun(
        run.coef[q], run.intercept[q], trace, run.n_epochs, run.status[q], run.kd_weight[q], run.step_size[q]
    )


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("kind", SHARED)
@pytest.mark.parametrize("Q", [1, 3, 5])
def test_configurations_at_once_are_those_one_by_one(Q, kind, layout):
    all_of_them, alone = several(Q, kind, layout)
    together = all_of_them(random_state=4)
    assert together.coef.shape[0] == len(together.status) == Q
    for q in range(Q):
        assert_same_runs(of(together, q), alone(q, random_state=4), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["plain", "unbiased", "strong", "logistic", "soft"])
@pytest.mark.parametrize("Q", [4, 16, 17, 33])
def test_configurations_in_lanes_are_those_one_by_one(Q, kind):
    all_of_them, alone = several(Q, kind, "dense", n_epochs=2, record_every=0)
    together = all_of_them(random_state=4)
    for q in {0, Q // 2, Q - 2, Q - 1}:
        assert_same_runs(of(together, q), alone(q, random_state=4), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("kind", ["plain", "softmax", "compressed", "svrg"])
def test_seeds_at_once_are_those_one_by_one(kind, layout):
    all_of_them, alone = several(3, kind, layout)
    seeds = [5, 0, 5]
    together = all_of_them(random_state=seeds)
    for q, seed in enumerate(seeds):
        assert_same_runs(of(together, q), alone(q, random_state=seed), rtol=1e-12, atol=1e-14)
    alike = all_of_them(random_state=seeds, step_size=0.05, kd_weight=1.0)
    np.testing.assert_allclose(alike.coef[0], alike.coef[2], rtol=1e-12)
    assert not np.allclose(alike.coef[0], alike.coef[1], rtol=1e-6)


def test_a_list_of_one_is_an_axis_of_one():
    X, y, *_ = problem("squared")
    wanted = fd.run_sgd(X, y, step_size=0.1, random_state=3).coef
    for one in ({"step_size": [0.1]}, {"kd_weight": [0.0]}, {"random_state": [3]}):
        run = fd.run_sgd(X, y, **{"step_size": 0.1, "random_state": 3, **one})
        np.testing.assert_allclose(run.coef, wanted[None], rtol=1e-12)
        assert run.trace["loss"].shape == (1, 11)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("kind", SHARED)
def test_results_do_not_depend_on_the_number_of_threads(kind, layout, monkeypatch):
    monkeypatch.setattr(steps, "PIECE_BYTES", 7 * 8 * P)  # several pieces to an epoch
    for Q, seeds in ((3, 0), (3, [0, 1, 2]), (35, 0)):
        if Q == 35 and (layout != "dense" or kind not in ("plain", "unbiased", "strong", "logistic")):
            continue
        all_of_them, _ = several(Q, kind, layout, n_epochs=2, record_every=0)
        runs = [all_of_them(random_state=seeds, n_jobs=n_jobs) for n_jobs in (1, 2, 3)]
        for run in runs[1:]:
            np.testing.assert_array_equal(run.coef, runs[0].coef)
            np.testing.assert_array_equal(run.intercept, runs[0].intercept)


def test_a_generator_goes_on_where_it_was():
    X, y, *_ = problem("squared")
    generator = np.random.default_rng(3)
    first, second = (fd.run_sgd(X, y, step_size=0.1, random_state=generator).coef for _ in range(2))
    np.testing.assert_array_equal(first, fd.run_sgd(X, y, step_size=0.1, random_state=3).coef)
    assert not np.array_equal(first, second)
    older = [fd.run_sgd(X, y, step_size=0.1, random_state=np.random.RandomState(1)).coef for _ in range(2)]
    np.testing.assert_array_equal(*older)


# --- layouts and precision -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_any_memory_gives_the_same_numbers(dtype, batch_size, tmp_path):
    X, y, _, teacher, _ = problem("squared")
    X = X.astype(dtype)
    mapped = np.memmap(tmp_path / "X", dtype=dtype, mode="w+", shape=X.shape)
    mapped[:] = X
    mapped.flush()
    strided = np.zeros((2 * len(X), 3 * P), dtype=dtype)
    strided[::2, ::3] = X
    readonly = X.copy()
    readonly.flags.writeable = False
    forms = [
        np.memmap(tmp_path / "X", dtype=dtype, mode="r", shape=X.shape),
        strided[::2, ::3],
        readonly,
        np.asfortranarray(X),
        X[::-1][::-1],
        X.astype(np.dtype(dtype).newbyteorder()),
    ]
    options = {"teacher": teacher[:, 0], "kd_weight": 0.5, "step_size": 0.1, "batch_size": batch_size}
    wanted = fd.run_sgd(X, y, random_state=0, **options)
    for form in forms:
        run = fd.run_sgd(form, y, random_state=0, **options)
        assert run.coef.dtype == wanted.coef.dtype == dtype
        # losses of a trace are products of X, which BLAS adds up in another order where its memory is another
        np.testing.assert_allclose(run.coef, wanted.coef, rtol=1e3 * np.finfo(dtype).eps)
        np.testing.assert_allclose(run.trace["loss"], wanted.trace["loss"], rtol=1e3 * np.finfo(dtype).eps)


def test_lists_frames_and_integers_are_arrays():
    pandas = pytest.importorskip("pandas")
    X, y, *_ = problem("squared")
    wanted = fd.run_sgd(X, y, step_size=0.1, random_state=0).coef
    for form, target in ((X.tolist(), y.tolist()), (pandas.DataFrame(X), pandas.Series(y, index=range(9, 9 + len(y))))):
        np.testing.assert_array_equal(fd.run_sgd(form, target, step_size=0.1, random_state=0).coef, wanted)
    whole = np.round(3 * X).astype(int)
    np.testing.assert_array_equal(
        fd.run_sgd(whole, y, step_size=0.01, random_state=0).coef,
        fd.run_sgd(whole.astype(float), y, step_size=0.01, random_state=0).coef,
    )
    frame = pandas.DataFrame(X.astype(np.float32))
    assert fd.run_sgd(frame, y, step_size=0.1, random_state=0).coef.dtype == np.float32


def test_masked_entries_are_refused():
    X, y, *_ = problem("squared")
    with pytest.raises(ValueError, match="masked"):
        fd.run_sgd(np.ma.masked_array(X, mask=X > 1.0), y, step_size=0.1)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("more", [{}, {"momentum": 0.5, "batch_size": 3}, {"average": True, "l2": 0.5}], ids=str)
def test_single_precision_stays_close(more, loss, layout):
    X, y, _, teacher, start = problem(loss, fit_intercept=True)
    options = {"teacher": public(teacher, loss), "coef_init": public(start, loss), "variant": "kd_unbiased"}
    options |= {"kd_weight": 0.7, "step_size": 0.1, "fit_intercept": True, "random_state": 0, **more}
    double = fd.run_sgd(laid_out(X, layout), y, loss, **options)
    single = fd.run_sgd(laid_out(X.astype(np.float32), layout), y, loss, **options)
    assert (single.coef.dtype, np.asarray(single.intercept).dtype) == (np.float32, np.float32)
    assert relative(single.coef, double.coef) < 1e-5
    np.testing.assert_allclose(single.trace["loss"], double.trace["loss"], rtol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize(("step", "n_epochs"), [(0.2, 3), (0.04, 8)])
def test_single_precision_means_under_strong_penalties(step, n_epochs, layout):
    X, y, *_ = problem("squared", n=400)
    y = y + 5.0 * X.sum(axis=1)
    options = {"step_size": step, "l2": 1.0, "n_epochs": n_epochs, "average": True, "random_state": 0}
    double = fd.run_sgd(laid_out(X, layout), y, **options)
    single = fd.run_sgd(laid_out(X.astype(np.float32), layout), y, **options)
    assert relative(single.coef, double.coef) < 1e-6


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_single_precision_means_do_not_drift(layout, monkeypatch):
    X = laid_out(np.zeros((3000, 1), np.float32), layout)  # no step moves
    options = {"step_size": 0.1, "n_epochs": 4, "coef_init": [0.1], "average": True, "record_every": 0}
    monkeypatch.setattr(steps, "SUMMED_STEPS", 64)
    run = fd.run_sgd(X, np.zeros(3000), **options)
    assert run.coef == pytest.approx([0.1], rel=1e-6)  # 2e-5 off where an epoch is summed in single precision


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize(("batch_size", "n_outputs"), [(1, 1), (3, 1), (2, 2)])
def test_inputs_are_never_written_to(layout, batch_size, n_outputs):
    X, y, _, teacher, start = problem("squared", n_outputs, fit_intercept=True)
    X = laid_out(X, layout)
    arrays = {"teacher": public(teacher, "squared", n_outputs), "coef_init": public(start, "squared", n_outputs)}
    arrays |= {"reference": arrays["teacher"].copy(), "sample_weight": np.linspace(0.5, 1.5, len(y)), "y": y}
    arrays |= {"kd_weight": np.array([0.5, 1.0]), "step_size": np.array([0.1, 0.2])}
    parts = [X] if layout == "dense" else [X.data, X.indices, X.indptr]
    inputs = [*arrays.values(), *parts]
    before = [a.copy() for a in inputs]
    for variant in ("kd", "kd_unbiased", "svrg"):
        run = fd.run_sgd(X, **arrays, variant=variant, fit_intercept=True, l2=0.1, batch_size=batch_size)
        run.coef[:] = np.nan
        run.kd_weight[:] = run.step_size[:] = np.nan
    for now, then in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(now, then)
        assert now.flags.writeable


# --- kernels by hand -----------------------------------------------------------------------------


@numba.njit
def own_epochs(X, order, samples, setting, coef, push):
    """Three epochs of plain SGD in a loop of one's own."""
    scale = np.ones(order.shape[1])
    for epoch in range(order.shape[0]):
        kernels.dense_rows(X, order[epoch], samples, kernels.SQUARED, setting, scale, coef, push)


@numba.njit
def own_batches(X, data, indices, indptr, order, samples, setting, state, lazy):
    scale = np.ones(order.shape[0])
    kernels.dense_batches(X, order, samples, kernels.SQUARED, setting, scale, state, kernels.UNCOMPRESSED, None)
    sparse_setting = np.append(setting, float(X.shape[1]))
    kernels.csr_batches(data, indices, indptr, order, samples, kernels.SQUARED, sparse_setting, scale, lazy)


def test_kernels_serve_compiled_code_of_others():
    X, y, _, teacher, _ = problem("squared")
    n, S = len(X), sparse(X)
    for array in (X, S.data, S.indices, S.indptr):
        array.flags.writeable = False  # as in `run_sgd`, for which these versions are compiled already
    samples = np.column_stack([y, X @ teacher[:, 0], np.ones(n), np.zeros(n)])
    setting = np.zeros(6)
    setting[[kernels.STEP, kernels.WEIGHT, kernels.TEMPERATURE]] = 0.1, 0.5, 1.0
    orders = np.array(draw_orders("shuffle", n, 0, 3)[0], dtype=np.intp)
    coef, push = np.zeros(P), np.zeros(P)
    own_epochs(X, orders, samples, setting, coef, push)
    options = {"teacher": teacher[:, 0], "kd_weight": 0.5, "step_size": 0.1, "random_state": 0}
    np.testing.assert_allclose(coef, fd.run_sgd(X, y, n_epochs=3, **options).coef, rtol=1e-13)

    state, lazy = np.zeros((4, 1, P)), np.zeros((4, P, 1))
    order = np.append(orders[0], -1).reshape(-1, 2)
    own_batches(X, S.data, S.indices, S.indptr, order, samples, setting, state, lazy)
    options |= {"n_epochs": 1, "batch_size": 2}
    np.testing.assert_allclose(state[kernels.COEF, 0], fd.run_sgd(X, y, **options).coef, rtol=1e-13)
    np.testing.assert_allclose(lazy[kernels.COEF, :, 0], state[kernels.COEF, 0], rtol=1e-12)
    mean = fd.run_sgd(X, y, average=True, **options).coef
    np.testing.assert_allclose(state[kernels.TOTAL, 0] / len(order), mean, rtol=1e-12)
    np.testing.assert_allclose(lazy[2, :, 0] / len(order), mean, rtol=1e-12)


@pytest.mark.skipif(not is_compiled, reason="the interpreter knows the types of its arrays")
@pytest.mark.parametrize("coef", [np.zeros(8, np.float32), np.zeros((8, 2))[:, 0]])
def test_kernels_refuse_arrays_that_they_would_misread(coef):
    X, order, samples, scale = np.ones((6, 8)), np.arange(6), np.ones((6, 1)), np.ones(6)
    with pytest.raises(numba.TypingError, match="where C-contiguous float64 is needed"):
        kernels.dense_rows(X, order, samples, kernels.SQUARED, np.zeros(6), scale, coef, np.zeros_like(coef))


@pytest.mark.filterwarnings("ignore:Stochastic gradient descent diverged. after")  # steps far above those that are safe
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_lanes_whose_penalty_removes_all_of_the_last_iterate(loss):
    X, y, _, _, _ = problem(loss, fit_intercept=True)
    steps = [0.5, 0.4, 0.5, 0.2, 0.499999999]  # times l2: one, and next to it
    options = {"l2": 2.0, "n_epochs": 2, "random_state": 0, "fit_intercept": True}
    together = fd.run_sgd(X, y, loss, step_size=steps, **options)
    for q, step in enumerate(steps):
        alone = fd.run_sgd(X, y, loss, step_size=step, **options)
        np.testing.assert_allclose(together.coef[q], alone.coef, rtol=1e-12)


def test_rows_of_matrices_too_large_for_32_bit_indices():
    X, y, _, _, _ = problem("squared")
    n, S = len(X), sparse(X)
    for array in (S.data, S.indices, S.indptr):
        array.flags.writeable = False  # as in `run_sgd`, for which the version of 32 bits is compiled already
    samples, setting = np.column_stack([y, y, np.ones(n), np.zeros(n)]), np.zeros(7)
    setting[[kernels.STEP, kernels.TEMPERATURE, -1]] = 0.1, 1.0, P
    states = np.zeros((2, 2, P, 1))
    for state, index in zip(states, (np.int32, np.int64), strict=True):
        rows = (S.data, S.indices.astype(index, copy=False), S.indptr.astype(index, copy=False))
        kernels.csr_rows(*rows, np.arange(n), samples, kernels.SQUARED, setting, np.ones(n), state)
    assert states[0].any()
    np.testing.assert_allclose(states[0], states[1], rtol=1e-12)  # two compiled versions of one kernel


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("p", [*range(1, 36), 63, 64, 65, 100, 5000, 70_000])
def test_rows_of_any_length_leave_their_neighbours_alone(p, dtype):
    """Whole vectors, pairs of them and what is left of a row, rows larger than the caches' share; nothing beyond p."""
    rng = np.random.default_rng(p)
    X = rng.standard_normal((4, p)).astype(dtype)
    samples, push = rng.standard_normal((4, 1)), np.zeros(p + 1, dtype)
    order, setting = np.array([2, 0, 2, 3, 1, 1]), np.array([0.3 / p, 0, 0, 1, 0, 0])
    coef = np.append(rng.standard_normal(p), 0.0).astype(dtype)
    expected = coef.astype(np.float64)
    for i in order:
        slope = X[i].astype(np.float64) @ expected[:p] + expected[p] - samples[i, 0]
        expected -= setting[0] * slope * np.append(X[i], 1.0)
    kernels.dense_rows(X, order, samples, kernels.SQUARED, setting, np.ones(len(order)), coef, push)
    np.testing.assert_allclose(coef, expected, rtol=0, atol=1e3 * np.finfo(dtype).eps)


@pytest.mark.parametrize("intercept", [0, 1])
@pytest.mark.parametrize("n_outputs", [1, 4, 5, 6, 11])
@pytest.mark.parametrize("size", [1, 4, 5, 7, 10])
def test_batches_of_any_size_and_number_of_outputs(size, n_outputs, intercept):
    """Whole tiles, rows and outputs beside them, a last batch that is shorter; with targets already mixed and not."""
    for p, dtype in ((1, np.float64), (21, np.float64), (21, np.float32), (32, np.float32)):
        rng = np.random.default_rng(p)
        X = rng.standard_normal((23, p)).astype(dtype)
        labels, outputs = rng.random((2, 23, n_outputs))
        order = np.append(rng.permutation(23), np.full(-23 % size, -1)).reshape(-1, size)
        setting, ones = np.array([0.1 / p, 0.3, 0, 1, 0, 0]), np.ones((23, 1))
        mixed = 0.7 * labels + 0.3 * outputs
        expected, rows = np.zeros((n_outputs, p + intercept)), np.column_stack([X, ones])[:, : p + intercept]
        for batch in order:
            a, b = rows[batch[batch >= 0]], mixed[batch[batch >= 0]]
            expected -= setting[0] * (a @ expected.T - b).T @ a / len(a)
        for samples in (mixed, np.column_stack([labels, outputs, ones, np.zeros_like(labels)])):
            state = np.zeros((3, n_outputs, p + intercept), dtype)
            arguments = (kernels.SQUARED, setting, np.ones(len(order)), state, kernels.UNCOMPRESSED)
            kernels.dense_batches(X, order, samples, *arguments, None)
            np.testing.assert_allclose(state[0], expected, rtol=0, atol=1e3 * np.finfo(dtype).eps)


def test_sparse_rows_of_any_length():
    """Whole groups of values, what is left of a row, empty rows, rows much longer than those before them."""
    rng = np.random.default_rng(0)
    X = np.zeros((60, 90))
    for i in range(60):
        X[i, rng.permutation(90)[: i if i < 40 else 90 - i]] = rng.standard_normal(i if i < 40 else 90 - i)
    y, order = rng.standard_normal(60), rng.permutation(np.repeat(np.arange(60), 3))
    expected = np.zeros(90)
    for i in order:
        expected -= 0.01 * (X[i] @ expected - y[i]) * X[i]
    rows, state = csr_array(X), np.zeros((2, 90, 1))
    setting = np.array([0.01, 0, 0, 1, 0, 0, 90])
    arrays = (rows.data, rows.indices, rows.indptr)
    kernels.csr_rows(*arrays, order, y[:, None], kernels.SQUARED, setting, np.ones(len(order)), state)
    np.testing.assert_allclose(state[0, :, 0], expected, rtol=0, atol=1e-13)
