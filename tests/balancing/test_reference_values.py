"""Values by hand and in NumPy, for what TorchJD does not have or does otherwise."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest

import mtl_zoo as mtl
from mtl_zoo.balancing.stch import smooth_maximum
from tests.balancing.methods import tensor

ALL = tensor([True, True], "bool")


def built(method, names=("a", "b"), size=0):
    method.build(names, size)
    return method


def test_uncertainty_by_hand():
    """Kendall et al. (2018): exp(-s) L + s / 2, and half the loss for regression."""
    method = built(mtl.balancing.UncertaintyWeighting(regression=["b"]))
    method.log_variances.assign([np.log(4.0), np.log(2.0)])
    total = float(method.total(tensor([8.0, 6.0]), ALL))
    assert total == pytest.approx(8 / 4 + np.log(4) / 2 + 6 / 2 / 2 + np.log(2) / 2)
    alone = float(method.total(tensor([8.0, 0.0]), tensor([True, False], "bool")))
    assert alone == pytest.approx(8 / 4 + np.log(4) / 2)


def test_imtl_l_by_hand():
    method = built(mtl.balancing.IMTLL())
    method.log_factors.assign([np.log(3.0), 0.0])
    assert float(method.total(tensor([2.0, 5.0]), ALL)) == pytest.approx(
        6 - np.log(3) + 5
    )


def test_dwa_by_windows():
    """Liu et al. (2019), equation 7, with windows of two steps."""
    losses = np.array([[4, 1], [2, 1], [2, 1], [1, 1], [1, 1], [1, 1], [9, 9.0]])
    method = built(mtl.balancing.DWA(window=2, temperature=2.0))
    found = [np.asarray(method.task_weights(tensor(row), ALL)) for row in losses]
    np.testing.assert_allclose(found[:4], 1.0)
    for step, (last, earlier) in {
        4: ([1.5, 1.0], [3.0, 1.0]),
        6: ([1.0, 1.0], [1.5, 1.0]),
    }.items():
        exponent = np.exp(np.divide(last, earlier) / 2)
        np.testing.assert_allclose(
            found[step], 2 * exponent / exponent.sum(), rtol=1e-5
        )


def test_stch_warm_up_and_smooth_maximum():
    losses = np.array([2.0, 0.5])
    method = built(mtl.balancing.STCH(mu=0.5, warm_up=4))
    for step in range(4):  # the mean is of the last quarter: the last step
        total = float(method.total(tensor(losses * (step + 1)), ALL))
        assert total == pytest.approx(np.log(losses * (step + 1)).sum(), abs=1e-6)
    now = np.array([4.0, 1.5])
    relative = np.log(now / (losses * 4))
    expected = 2 * 0.5 * np.log(np.exp(relative / 0.5).sum())
    assert float(method.total(tensor(now), ALL)) == pytest.approx(expected, rel=1e-5)


def test_smooth_maximum_tends_to_the_maximum():
    values = tensor([0.3, 5.0, 1.0])
    active = tensor([True, False, True], "bool")
    assert float(smooth_maximum(values, active, 1e-3)) == pytest.approx(1.0, abs=1e-6)


def test_famo_by_numpy():
    """Liu et al. (2023), algorithm 1, with Adam for the logits."""
    method = built(mtl.balancing.FAMO(0.1, decay=0.01, progress_on="same batch"))
    logits, mean, square = np.zeros(2), np.zeros(2), np.zeros(2)
    before = np.array([2.0, 0.5])
    for step in range(1, 5):
        z = np.exp(logits) / np.exp(logits).sum()
        weights = z / before / np.sum(z / before)
        found = np.asarray(method.task_weights(tensor(before), ALL))
        np.testing.assert_allclose(found, weights, rtol=1e-5)
        after = before * np.array([0.7, 0.95])
        method.after_step(tensor(before), tensor(after), ALL)
        delta = np.log(before) - np.log(after)
        slope = z * (delta - z @ delta) + 0.01 * logits
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        logits = logits - 0.1 * (mean / (1 - 0.9**step)) / (
            np.sqrt(square / (1 - 0.999**step)) + 1e-8
        )
        before = after
    np.testing.assert_allclose(method.logits, logits, rtol=1e-4)
    assert method.logits.numpy()[0] < 0 < method.logits.numpy()[1]  # the fast one less


def test_famo_of_the_next_batch_sees_the_same_progress_a_step_later():
    losses = np.array([[2.0, 0.5], [1.4, 0.47], [0.9, 0.45], [0.7, 0.4]])
    ahead = built(mtl.balancing.FAMO(0.1, progress_on="same batch"))
    later = built(mtl.balancing.FAMO(0.1))
    for now, behind in itertools.pairwise(losses):
        expected = np.asarray(ahead.task_weights(tensor(now), ALL))
        np.testing.assert_allclose(later.task_weights(tensor(now), ALL), expected)
        ahead.after_step(tensor(now), tensor(behind), ALL)
    later.task_weights(tensor(losses[-1]), ALL)
    np.testing.assert_allclose(later.logits, ahead.logits)
    with pytest.raises(ValueError, match='progress_on="same batch"'):
        mtl.balancing.FAMO(progress_on="never")


def test_famo_of_the_next_batch_waits_for_one_with_a_label():
    absent = tensor([True, False], "bool")
    method = built(mtl.balancing.FAMO(0.1))
    method.task_weights(tensor([2.0, 0.5]), ALL)
    method.task_weights(tensor([2.0, 0.0]), absent)
    assert method.logits.numpy()[1] == 0.0
    method.task_weights(tensor([2.0, 0.25]), ALL)  # half of what it was
    assert method.logits.numpy()[1] < 0.0
    never = built(mtl.balancing.FAMO(0.1))
    for _ in range(3):
        never.task_weights(tensor([2.0, 0.0]), absent)
    assert never.logits.numpy()[1] == 0.0


def test_gradnorm_equalises_lengths_and_follows_rates():
    """At one rate, w |g| become equal; a slower task gets a longer gradient."""
    gramian = tensor(np.diag([16.0, 1.0]))
    method = built(mtl.balancing.GradNorm(alpha=1.5, learning_rate=0.005))
    for _ in range(800):
        weights = np.asarray(method.task_weights(gramian, tensor([1.0, 1.0]), ALL))
    np.testing.assert_allclose(weights * [4, 1], np.mean(weights * [4, 1]), rtol=0.05)
    assert weights.sum() == pytest.approx(2.0, rel=1e-5)
    for _ in range(800):
        weights = np.asarray(method.task_weights(gramian, tensor([0.5, 1.0]), ALL))
    rates = np.array([0.5, 1.0]) / 0.75
    lengths = weights * [4, 1]
    expected = rates**1.5 / np.sum(rates**1.5)
    np.testing.assert_allclose(lengths / lengths.sum(), expected, rtol=0.05)


def test_gradnorm_slope_is_the_derivative_of_its_objective():
    """By finite differences, with the targets held fixed (Chen et al., equation 2)."""
    from mtl_zoo.balancing.gradnorm import gradnorm_slope

    rng = np.random.default_rng(0)
    norms, weights = rng.uniform(0.5, 2, 4), rng.uniform(0.5, 2, 4)
    losses, first = rng.uniform(0.5, 2, 4), rng.uniform(0.5, 2, 4)
    mean = np.mean(weights * norms)
    target = mean * (losses / first / np.mean(losses / first)) ** 1.5

    def objective(w):
        return np.sum(np.abs(w * norms - target)) / mean

    numeric = [
        (objective(weights + 1e-6 * e) - objective(weights - 1e-6 * e)) / 2e-6
        for e in np.eye(4)
    ]
    found = gradnorm_slope(
        tensor(norms),
        tensor(weights),
        tensor(losses),
        tensor(first),
        tensor([True] * 4, "bool"),
        1.5,
    )
    np.testing.assert_allclose(found, numeric, rtol=1e-4)


def test_db_mtl_by_numpy():
    """Lin et al. (2023), algorithm 1, over three steps."""
    rng = np.random.default_rng(0)
    method = built(mtl.balancing.DBMTL(beta=0.9, sigma=0.5, level="params"), size=6)
    averages = np.zeros((2, 6))
    for step in range(1, 4):
        rows, losses = rng.normal(size=(2, 6)), rng.uniform(0.5, 2, 2)
        kept = 0.9 / step**0.5
        averages = kept * averages + (1 - kept) * rows / (losses[:, None] + 1e-8)
        norms = np.linalg.norm(averages, axis=1)
        expected = (norms.max() / norms) @ averages
        update, _ = method.combine(tensor(rows), tensor(losses), ALL)
        np.testing.assert_allclose(update, expected, rtol=1e-4)


def test_moco_by_numpy():
    """Fernando et al. (2023), algorithm 1; on constant gradients it finds MGDA's."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(2, 6)) * [[1.0], [3.0]]
    method = built(mtl.balancing.MoCo(beta=0.5, gamma=0.5, level="params"), size=6)
    averages, w = np.zeros((2, 6)), np.full(2, 0.5)
    for step in range(300):
        averages = averages + 0.5 * (rows - averages)
        gramian = averages @ averages.T
        moved = w - 0.5 * gramian @ w / np.trace(gramian)
        share = np.clip((moved[0] - moved[1] + 1) / 2, 0, 1)
        w = np.array([share, 1 - share])
        update, _ = method.combine(tensor(rows), tensor([1.0, 1.0]), ALL)
        if step < 3:
            np.testing.assert_allclose(update, w @ averages, rtol=1e-4, atol=1e-6)
    shortest, _ = mtl.balancing.solvers.min_norm_point(tensor(rows @ rows.T))
    np.testing.assert_allclose(update, np.asarray(shortest) @ rows, atol=2e-2)


def test_excess_mtl_by_numpy():
    """He et al. (2024), algorithm 1: no weight is won by a gradient that is noise."""
    rng = np.random.default_rng(0)
    method = built(mtl.balancing.ExcessMTL(step_size=0.1, level="params"), size=5)
    squares, weights, first = np.zeros((2, 5)), np.ones(2), None
    for _ in range(4):
        rows = rng.normal(size=(2, 5)) * [[1.0], [0.1]]
        squares += rows**2
        risks = np.sum(rows**2 / np.sqrt(squares), axis=1)
        if first is None:
            first = risks
        else:
            weights = weights * np.exp(0.1 * risks / first)
        weights = 2 * weights / weights.sum()
        update, found = method.combine(tensor(rows), tensor([1.0, 1.0]), ALL)
        np.testing.assert_allclose(found, weights, rtol=1e-4)
        np.testing.assert_allclose(update, weights @ rows, rtol=1e-4, atol=1e-6)


def test_aligned_gradients_are_orthogonal_and_of_one_length():
    """Senushkin et al. (2023): the condition number of B G is 1."""
    from mtl_zoo.balancing.solvers import spectrum

    g = np.random.default_rng(0).normal(size=(4, 9))
    for scale in ("min", "median", "rmse"):
        method = built(mtl.balancing.AlignedMTL(scale, level="params"), tuple("abcd"))
        update, _ = method.combine(
            tensor(g), tensor(np.ones(4)), tensor([True] * 4, "bool")
        )
        values = np.linalg.eigvalsh(g @ g.T)
        common = {"min": values[0], "median": values[1], "rmse": values.mean()}[scale]
        inverse = np.asarray(spectrum(tensor(g @ g.T, "float64"), 1e-16).inverse(0.5))
        aligned = np.sqrt(common) * inverse @ g
        np.testing.assert_allclose(aligned @ aligned.T, common * np.eye(4), atol=1e-8)
        np.testing.assert_allclose(update, aligned.sum(axis=0), rtol=1e-3, atol=1e-4)


def test_config_has_one_cosine_and_the_sum_of_projections():
    """Liu et al. (2025), equations 2 and 3."""
    g = np.random.default_rng(0).normal(size=(3, 8)) * [[1.0], [10.0], [0.1]]
    method = built(mtl.balancing.ConFIG(level="params"), tuple("abc"))
    update, _ = method.combine(
        tensor(g), tensor(np.ones(3)), tensor([True] * 3, "bool")
    )
    update = np.asarray(update, "float64")
    length = np.linalg.norm(update)
    cosines = g @ update / np.linalg.norm(g, axis=1) / length
    np.testing.assert_allclose(cosines, cosines[0], rtol=1e-4)
    assert cosines[0] > 0
    assert length == pytest.approx(np.sum(g @ update) / length, rel=1e-4)


def test_mgda_of_divided_gradients_has_weights_of_sum_one():
    g = np.random.default_rng(0).normal(size=(3, 8)) * [[1.0], [100.0], [0.01]]
    for normalisation in ("none", "l2", "loss", "loss+"):
        method = built(mtl.balancing.MGDA(normalisation, level="params"), tuple("abc"))
        update, weights = method.combine(
            tensor(g), tensor([1.0, 2.0, 0.5]), tensor([True] * 3, "bool")
        )
        assert float(keras.ops.sum(weights)) == pytest.approx(1.0, rel=1e-5)
        products = g @ np.asarray(update, "float64")
        assert np.all(products >= -1e-6 * np.abs(products).max())


def test_fixed_and_scheduled_follow_the_order_of_the_model():
    fixed = built(mtl.balancing.Fixed({"b": 2.0, "a": 5.0}))
    np.testing.assert_array_equal(fixed.task_weights(tensor([1.0, 1.0]), ALL), [5, 2])
    scheduled = built(mtl.balancing.Scheduled({"b": lambda step: step, "a": 1.0}))
    for step in range(3):
        weights = scheduled.task_weights(tensor([1.0, 1.0]), ALL)
        np.testing.assert_array_equal(weights, [1.0, step])


def test_random_weights_are_a_softmax_of_normal_numbers():
    method = built(mtl.balancing.RLW(seed=0))
    found = np.array(
        [method.task_weights(tensor([1.0, 1.0]), ALL) for _ in range(2000)]
    )
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-5)
    logits = np.log(found[:, 0] / found[:, 1])  # a difference of two normal numbers
    assert logits.mean() == pytest.approx(0.0, abs=0.15)
    assert logits.std() == pytest.approx(np.sqrt(2), rel=0.07)
