"""What `run_sgd` refuses, and what it says then; schedules and compressors at their own doors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_array, csc_array, csr_array

import fastdistill as fd
from tests.test_sgd import N, P, problem, sparse

X, Y, _, TEACHER, _ = problem("squared")
THETA = TEACHER[:, 0]
LABELS = np.arange(N) % 3


def damaged(**parts):
    """X as CSR with other data, indices or indptr."""
    whole = sparse(X)
    found = csr_array(X.shape)
    for name in ("data", "indices", "indptr"):
        setattr(found, name, np.array(parts.get(name, getattr(whole, name))))
    return found


def with_entry(array, index, value):
    out = np.array(array)
    out[index] = value
    return out


WHOLE = sparse(X)
NAN_X = with_entry(X, (2, 1), np.nan)
BINARY = LABELS == 1
BAD = [
    # X and y
    ({"X": np.zeros((0, 3)), "y": []}, ValueError, "X is empty"),
    ({"X": np.zeros((3, 0)), "y": [1.0, 2, 3]}, ValueError, "X is empty"),
    ({"X": X[0]}, ValueError, "X must be 2-D"),
    ({"X": NAN_X}, ValueError, r"X contains NaN at index \(2, 1\)"),
    ({"X": with_entry(X, (0, 0), np.inf).astype(np.float32)}, ValueError, "X contains inf"),
    ({"X": X + 1j}, ValueError, "Complex"),
    ({"X": csr_array((0, 3)), "y": []}, ValueError, "samples and features"),
    ({"X": csr_array(X.astype(complex))}, ValueError, "real numbers"),
    ({"X": csr_array(NAN_X)}, ValueError, "X contains NaN"),
    ({"y": Y[:-1]}, ValueError, "y has 12 rows, but there are 13 samples"),
    ({"y": with_entry(Y, 3, np.nan)}, ValueError, "y contains NaN at index 3"),
    ({"y": np.zeros((N, 0))}, ValueError, "y is empty"),
    ({"loss": "hinge"}, ValueError, "loss must be one of 'squared', 'logistic', 'softmax', got 'hinge'"),
    ({"loss": "softmax", "y": LABELS + 0.5}, ValueError, "class numbers"),
    ({"loss": "softmax", "y": LABELS - 1}, ValueError, "class numbers"),
    ({"loss": "softmax", "y": 2 * LABELS}, ValueError, "class 1 of 5 has no sample"),
    ({"loss": "softmax", "y": LABELS, "teacher": np.ones((P, 4))}, ValueError, "class 3 of 4 has no sample"),
    ({"loss": "softmax", "y": LABELS, "teacher": np.ones((P, 2))}, ValueError, "coefficients are for 2 classes"),
    ({"loss": "softmax", "y": np.ones((N, 3))}, ValueError, "sum"),
    ({"loss": "logistic", "y": LABELS}, ValueError, "labels 0 and 1"),
    ({"loss": "logistic", "y": np.full(N, 0.5)}, ValueError, "labels 0 and 1"),
    ({"loss": "logistic", "y": BINARY[:, None]}, ValueError, "1-D"),
    ({"sample_weight": -np.ones(N)}, ValueError, "must not be negative"),
    ({"sample_weight": np.ones(3)}, ValueError, "3 entries"),
    # CSR
    ({"X": damaged(indices=with_entry(WHOLE.indices, 4, P))}, ValueError, "column index 4, but 4 columns"),
    ({"X": damaged(indices=with_entry(WHOLE.indices, 4, -1))}, ValueError, "column index -1"),
    ({"X": damaged(indices=WHOLE.indices[::-1])}, ValueError, "not ascending in row 0"),
    ({"X": damaged(indices=with_entry(WHOLE.indices, -1, WHOLE.indices[-2]))}, ValueError, "not ascending in row 12"),
    ({"X": damaged(indptr=with_entry(WHOLE.indptr, 0, 1))}, ValueError, "indptr"),
    ({"X": damaged(indptr=with_entry(WHOLE.indptr, -1, 10**6))}, ValueError, "indptr"),
    ({"X": damaged(indptr=with_entry(WHOLE.indptr, 3, 99))}, ValueError, "indptr"),
    # teacher, start, reference
    ({"teacher": THETA[:-1], "kd_weight": 1.0}, ValueError, r"teacher has coefficients of shape \(3,\)"),
    ({"teacher": np.ones((P, 2)), "kd_weight": 1.0}, ValueError, "teacher has coefficients of shape"),
    ({"teacher": with_entry(THETA, 1, np.nan)}, ValueError, "teacher contains NaN at index 1"),
    ({"teacher": (THETA, np.inf)}, ValueError, "the intercept of teacher contains inf"),
    ({"teacher": (THETA, [1.0, 2.0])}, ValueError, "2 intercepts"),
    ({"teacher": fd.TeacherOutputs(Y[:-1])}, ValueError, "outputs of shape"),
    ({"teacher": fd.TeacherOutputs(with_entry(Y, 0, np.nan))}, ValueError, "teacher contains NaN"),
    ({"teacher": fd.TeacherOutputs(Y), "loss": "logistic", "y": BINARY}, ValueError, "probabilities, got values from"),
    (
        {"teacher": fd.TeacherOutputs(np.eye(4)[:, :3][LABELS] / 2), "loss": "softmax", "y": LABELS},
        ValueError,
        "sum to 1",
    ),
    ({"teacher": "ridge"}, TypeError, "teacher must hold real numbers"),
    ({"kd_weight": 0.5}, ValueError, "kd_weight=0.5 needs a teacher"),
    ({"variant": "soft_labels", "kd_weight": [0.0, 1.0]}, ValueError, "needs a teacher"),
    ({"coef_init": np.ones(3)}, ValueError, "coef_init has coefficients of shape"),
    ({"coef_init": (np.ones(P), 2.0)}, ValueError, "coef_init has an intercept, but the run has none"),
    ({"reference": np.ones((P, 3))}, ValueError, "reference has coefficients of shape"),
    ({"reference": with_entry(THETA, 0, np.inf)}, ValueError, "reference contains inf"),
    # numbers
    ({"step_size": 0.0}, ValueError, "step_size must be positive"),
    ({"step_size": -0.1}, ValueError, "step_size must be positive, got -0.1"),
    ({"step_size": [0.1, -0.2]}, ValueError, "step_size must be positive, got -0.2"),
    ({"step_size": np.inf}, ValueError, "step_size contains inf"),
    ({"step_size": np.nan}, ValueError, "step_size contains NaN"),
    ({"step_size": []}, ValueError, "step_size is empty"),
    ({"step_size": [[0.1]]}, ValueError, "step_size must be 0-D or 1-D"),
    ({"step_size": "small"}, TypeError, "step_size must hold real numbers"),
    ({"teacher": THETA, "kd_weight": -0.5}, ValueError, "kd_weight must be at least 0, got -0.5"),
    ({"teacher": THETA, "kd_weight": np.inf}, ValueError, "kd_weight contains inf"),
    ({"teacher": THETA, "kd_weight": "best"}, ValueError, "'optimal', got 'best'"),
    ({"kd_weight": "optimal"}, ValueError, "needs the coefficients of a teacher"),
    (
        {"teacher": fd.TeacherOutputs(Y), "kd_weight": "optimal", "reference": THETA},
        ValueError,
        "needs the coefficients of a teacher",
    ),
    ({"teacher": THETA, "reference": THETA, "kd_weight": "optimal", "variant": "svrg"}, ValueError, "moves it"),
    (
        {"teacher": THETA, "reference": THETA, "kd_weight": "optimal", "sample_weight": np.ones(N)},
        ValueError,
        "equal sample weights",
    ),
    ({"teacher": (THETA, 1.0), "reference": THETA, "kd_weight": "optimal"}, ValueError, "the run has none"),
    ({"teacher": THETA, "kd_weight": [0.1, 0.2], "step_size": [0.1] * 3}, ValueError, "one length, got"),
    ({"step_size": [0.1, 0.2], "random_state": [1]}, ValueError, "one length, got"),
    ({"n_epochs": -1}, ValueError, "n_epochs must be at least 0"),
    ({"n_epochs": 2.0}, TypeError, "n_epochs must be an integer"),
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
    ({"batch_size": N + 1}, ValueError, "batch_size=14 is more than the 13 samples"),
    ({"batch_size": N + 1, "order": "replace"}, ValueError, "batch_size=14 is more than the 13 samples"),
    ({"order": "random"}, ValueError, "order must be one of 'shuffle', 'replace', 'sequential', got 'random'"),
    ({"variant": "sgd"}, ValueError, "variant must be one of"),
    ({"momentum": 1.0}, ValueError, "momentum must be below 1"),
    ({"momentum": -0.1}, ValueError, "momentum must be at least 0"),
    ({"l2": -1.0}, ValueError, "l2 must be at least 0"),
    ({"l2": np.nan}, ValueError, "l2 must be finite"),
    ({"temperature": 0.0}, ValueError, "temperature must be above 0"),
    ({"temperature": 2.0}, ValueError, "temperature applies only to variant"),
    ({"temperature": 2.0, "variant": "soft_labels"}, ValueError, "temperature applies only to variant"),
    ({"temperature": 2.0, "loss": "logistic", "y": BINARY}, ValueError, "temperature applies only to variant"),
    ({"teacher_every": 2}, ValueError, "teacher_every applies only to variant"),
    ({"teacher_every": 0, "variant": "svrg"}, ValueError, "teacher_every must be at least 1"),
    ({"record_every": -1}, ValueError, "record_every must be at least 0"),
    ({"n_jobs": 0}, ValueError, "n_jobs must be at least 1"),
    ({"fit_intercept": 1}, TypeError, "fit_intercept must be True or False"),
    ({"average": "yes"}, TypeError, "average must be True or False"),
    ({"random_state": 0.5}, TypeError, "random_state must be"),
    ({"random_state": -1}, ValueError, "random_state must be at least 0"),
    ({"random_state": []}, TypeError, "random_state must be"),
    # compressors
    ({"compressor": "topk"}, TypeError, "compressor must be RandK"),
    ({"compressor": fd.TopK}, TypeError, "compressor must be RandK"),
    ({"compressor": fd.TopK(P + 1)}, ValueError, r"TopK\(5\) keeps more coefficients than there are: 4"),
    ({"compressor": fd.RandK(P + 1)}, ValueError, r"RandK\(5\) keeps more"),
    ({"compressor": fd.Mask([1, 0])}, ValueError, "mask has 2 entries, but there are 4"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_named(wrong, error, message):
    with pytest.raises(error, match=message):
        fd.run_sgd(**{"X": X, "y": Y, "step_size": 0.1, "n_epochs": 1, **wrong})


def test_other_sparse_formats_with_wrong_indices():
    columns = csc_array(X)
    columns.indices = columns.indices + 5
    with pytest.raises(ValueError, match="ind"):
        fd.run_sgd(columns, Y, step_size=0.1)
    twice = coo_array((np.ones(2), ([0, 0], [1, 1])), shape=(2, 2))  # COO means their sum
    np.testing.assert_allclose(fd.run_sgd(twice, [4.0, 0], step_size=0.1, n_epochs=1).coef, [0.0, 0.8])


def test_what_is_no_fitted_linear_model_is_no_teacher():
    from sklearn.linear_model import LinearRegression
    from sklearn.tree import DecisionTreeRegressor

    for model in (LinearRegression(), DecisionTreeRegressor().fit(X, Y)):
        with pytest.raises(TypeError, match="has no coef_: pass a fitted linear estimator, or TeacherOutputs"):
            fd.run_sgd(X, Y, step_size=0.1, teacher=model, kd_weight=0.5)


def test_a_start_of_other_configurations():
    two = fd.run_sgd(X, Y, step_size=[0.1, 0.2], random_state=0, n_epochs=1)
    for step_size in (0.1, [0.1, 0.1, 0.1]):
        with pytest.raises(ValueError, match="run of 2 configurations"):
            fd.run_sgd(X, Y, step_size=step_size, coef_init=two)
    both = fd.run_sgd(X, Y, step_size=[0.1, 0.2], coef_init=two, n_epochs=1, order="sequential")
    for q, step in enumerate((0.1, 0.2)):
        alone = fd.run_sgd(X, Y, step_size=step, coef_init=two.coef[q], n_epochs=1, order="sequential")
        np.testing.assert_allclose(both.coef[q], alone.coef, rtol=1e-13)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fd.RandK(0), ValueError, "k must be at least 1"),
        (lambda: fd.RandK(1.5), TypeError, "k must be an integer"),
        (lambda: fd.TopK(-1), ValueError, "k must be at least 1"),
        (lambda: fd.Bernoulli(0.0), ValueError, "q must be above 0"),
        (lambda: fd.Bernoulli(1.5), ValueError, "q must be at most 1"),
        (lambda: fd.Mask([0.5, 1.0]), ValueError, "zeros and ones"),
        (lambda: fd.Mask([[1.0]]), ValueError, "1-D"),
        (lambda: fd.RandomRounding(0), ValueError, "levels must be at least 1"),
        (lambda: fd.RandK(3).omega(2), ValueError, "keeps more"),
        (lambda: fd.Mask([1, 0]).omega(3), ValueError, "2 entries"),
        (lambda: fd.InverseTime(0.1, 0.0), ValueError, "epochs must be above 0"),
        (lambda: fd.Geometric(0.1, -1.0), ValueError, "ratio must be above 0"),
        (lambda: fd.Geometric(0.1, 2.0), ValueError, "grows without bound"),
        (lambda: fd.Geometric(0.1, 2.0, limit=0.5), ValueError, "limit must be at least 1"),
        (lambda: fd.run_sgd(X, Y, step_size=fd.InverseTime(-1.0, 1.0)), ValueError, "step_size must be positive"),
    ],
)
def test_compressors_and_schedules_check_their_numbers(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_schedules_may_grow_long_and_hold_many_values():
    grown = fd.Geometric([0.1, 0.2], 2.0, limit=3.0)
    np.testing.assert_array_equal(grown.factor([0, 1, 2, 5000]), [1.0, 2.0, 3.0, 3.0])
    run = fd.run_sgd(X, Y, step_size=0.05, teacher=THETA, kd_weight=grown, n_epochs=3, random_state=0)
    assert run.coef.shape == (2, P)
    np.testing.assert_array_equal(run.kd_weight, [0.1, 0.2])


def test_zero_weight_is_plain_and_svrg_reads_it_as_one():
    plain = fd.run_sgd(X, Y, step_size=0.05, random_state=0)
    np.testing.assert_array_equal(fd.run_sgd(X, Y, step_size=0.05, random_state=0, teacher=THETA).coef, plain.coef)
    svrg = fd.run_sgd(X, Y, step_size=0.05, random_state=0, variant="svrg")
    assert svrg.kd_weight == 1.0
    assert not np.array_equal(svrg.coef, plain.coef)


def test_sparse_data_are_read_in_place():
    from fastdistill.sgd.problem import Problem

    for index in (np.int32, np.int64):
        S = sparse(X, index)
        kept = Problem(S, Y, "squared", 0.0, False, None, None).X
        assert np.shares_memory(kept.data, S.data)
        for name in ("indices", "indptr"):  # 64-bit ones become 32-bit ones
            assert np.shares_memory(getattr(kept, name), getattr(S, name)) == (index == np.int32)
            assert getattr(kept, name).dtype == np.int32
    dense = Problem(X, Y, "squared", 0.0, False, None, None).X
    assert np.shares_memory(dense, X)
    assert not dense.flags.writeable
    assert X.flags.writeable


class Own:
    """A schedule of a user's own."""

    def __init__(self, initial, values):
        self.initial, self.values = initial, values

    def factor(self, t):
        return self.values


@pytest.mark.parametrize("name", ["step_size", "kd_weight"])
@pytest.mark.parametrize("values", [-0.5, np.nan, np.inf])
def test_factors_of_a_schedule_are_checked(name, values):
    options = {"step_size": 0.1, "kd_weight": 0.5, "teacher": np.ones(2), "n_epochs": 1}
    with pytest.raises(ValueError, match=f"schedule of {name} gave the factor"):
        fd.run_sgd(np.ones((3, 2)), np.ones(3), **{**options, name: Own(0.1, values)})


def test_a_schedule_may_give_one_factor_for_all_steps_of_an_epoch():
    X, y = np.eye(3), np.arange(3.0)
    halved = fd.run_sgd(X, y, step_size=Own(0.2, 0.5), n_epochs=2, random_state=0)
    np.testing.assert_array_equal(halved.coef, fd.run_sgd(X, y, step_size=0.1, n_epochs=2, random_state=0).coef)


@pytest.mark.parametrize("options", [{}, {"teacher": np.ones((2, 1))}])
def test_softmax_is_of_two_classes_or_more(options):
    y = np.zeros(3, dtype=int) if options else np.ones((3, 1))
    with pytest.raises(ValueError, match="two classes or more, but there are 1"):
        fd.run_sgd(np.ones((3, 2)), y, "softmax", step_size=0.1, n_epochs=1, **options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_temperatures_near_zero_are_those_of_certainty(loss, dtype):
    X, y = np.random.default_rng(0).standard_normal((6, 2)).astype(dtype), np.arange(6) % 2
    teacher = np.array([1.0, -1.0]) if loss == "logistic" else np.array([[1.0, 0.0], [-1.0, 0.0]])
    options = {"teacher": teacher, "kd_weight": 0.5, "variant": "soft_labels", "step_size": 0.1, "n_epochs": 1}
    for batch_size in (1, 2):
        cold, colder = (
            fd.run_sgd(X, y, loss, temperature=t, batch_size=batch_size, random_state=0, **options).coef
            for t in (1e-30, 1e-300)
        )
        np.testing.assert_allclose(colder, cold, rtol=1e-6)
