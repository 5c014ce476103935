"""Solvers: optimality on random Gramians of all sizes, ranks and scales."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from mtl_zoo.balancing import solvers
from tests.balancing.methods import tensor

KINDS = ("full", "deficient", "scaled", "parallel", "conflicting", "equal")
SIZES = (2, 3, 5, 8, 16)


nonnegative_minimum = tf.function(solvers.nonnegative_minimum)


@functools.cache
def graph(name: str, **kwargs):
    """Return a solver as a graph: eagerly, its loops take their time."""
    return tf.function(functools.partial(getattr(solvers, name), **kwargs))


def matrices(tasks: int, kind: str, count: int = 8) -> np.ndarray:
    """Gradients `(count, T, N)`."""
    rng = np.random.default_rng([tasks, KINDS.index(kind)])
    width = max(1, tasks // 2) if kind == "deficient" else 3 * tasks
    found = rng.normal(size=(count, tasks, width))
    if kind == "scaled":
        found *= 10.0 ** rng.uniform(-3, 3, size=(count, tasks, 1))
    if kind == "parallel":
        found = found[:, :1] + 1e-3 * found
    if kind == "conflicting":
        found = found - 1.2 * found.mean(axis=1, keepdims=True)
    if kind == "equal":
        found[:, 1] = found[:, 0]
    return found


def gramians(gradients: np.ndarray) -> np.ndarray:
    return gradients @ np.swapaxes(gradients, -1, -2)


def everywhere(function):
    for name, values in (("kind", KINDS), ("tasks", SIZES)):
        function = pytest.mark.parametrize(name, values)(function)
    return pytest.mark.parametrize("dtype", ["float32", "float64"])(function)


@everywhere
def test_min_norm_point_is_optimal(tasks, kind, dtype):
    """No vertex of the hull is on the near side of the plane through the point."""
    g = matrices(tasks, kind)
    w, residual = (
        np.asarray(x) for x in graph("min_norm_point")(tensor(gramians(g), dtype))
    )
    assert np.all(w >= 0) and residual.max() < 1e-6
    np.testing.assert_allclose(w.sum(-1), 1.0, rtol=1e-9)
    point = np.einsum("bt,btn->bn", w, g)
    products = np.einsum("btn,bn->bt", g, point)
    square = np.sum(point**2, axis=-1)
    shortest = np.min(np.linalg.norm(g, axis=-1), axis=-1)
    lengths = np.linalg.norm(g, axis=-1) * shortest[:, None]
    # 10 rounding units on the diagonal of the cosines shift the point by their root.
    slack = 2e-3 if dtype == "float32" else 1e-6
    assert np.all(products - square[:, None] >= -slack * lengths)


@pytest.mark.parametrize("factor", [1e-12, 1e-10, 1e10, 1e12])
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "deficient"])
def test_scale_of_the_gramian_does_not_matter(kind, factor):
    gramian = gramians(matrices(5, kind))
    for solve, power in (
        (graph("min_norm_point"), 0.0),
        (graph("worst_improvement"), 0.0),
        (graph("proportionally_fair"), -0.5),
        (graph("proportionally_fair", alpha=2.0), -2.0 / 3.0),
    ):
        one, _ = solve(tensor(gramian, "float32"))
        other, residual = solve(tensor(gramian * factor, "float32"))
        assert np.max(residual) < 1e-4
        np.testing.assert_allclose(
            other, np.asarray(one) * factor**power, rtol=1e-2, atol=1e-6 * factor**power
        )


def test_min_norm_point_of_two_by_the_formula():
    """Sener and Koltun (2018), equation 4: the clipped foot of the perpendicular."""
    rng = np.random.default_rng(0)
    for g in rng.normal(size=(50, 2, 4)) * 10.0 ** rng.uniform(-2, 2, (50, 2, 1)):
        share = (g[1] - g[0]) @ g[1] / np.sum((g[1] - g[0]) ** 2)
        w, _ = graph("min_norm_point")(tensor(g @ g.T, "float64"))
        np.testing.assert_allclose(w[0], np.clip(share, 0, 1), atol=1e-9)


@pytest.mark.parametrize("tasks", [2, 3, 4, 5])
def test_nonnegative_minimum_against_all_supports(tasks):
    """Brute force: the best feasible solution over every choice of free entries."""
    rng = np.random.default_rng(tasks)
    for _ in range(20):
        root = rng.normal(size=(tasks, tasks + 2))
        q, b = root @ root.T, rng.normal(size=tasks)
        best, least = np.zeros(tasks), 0.0
        for count in range(1, tasks + 1):
            for free in itertools.combinations(range(tasks), count):
                x = np.zeros(tasks)
                x[list(free)] = np.linalg.solve(q[np.ix_(free, free)], b[list(free)])
                value = x @ q @ x / 2 - b @ x
                if np.all(x >= 0) and value < least:
                    best, least = x, value
        x, residual = nonnegative_minimum(
            tensor(q, "float64"),
            tensor(b, "float64"),
            tensor([True] * tasks, "bool"),
            1e-16,
        )
        assert float(residual) < 1e-12
        np.testing.assert_allclose(x, best, atol=1e-9)


@everywhere
def test_nonnegative_minimum_is_that_of_scipy(tasks, kind, dtype):
    """The distance from a vector to a cone is that of Lawson and Hanson's NNLS."""
    for g in matrices(tasks, kind, count=3):
        unit = g / np.linalg.norm(g, axis=1, keepdims=True)
        target = unit.mean(axis=0) * 0.3 - unit[0]
        x, residual = nonnegative_minimum(
            tensor(unit @ unit.T, dtype),
            tensor(unit @ target, dtype),
            tensor([True] * tasks, "bool"),
            np.finfo(dtype).eps,
        )
        assert float(residual) < 1e-4
        found = np.linalg.norm(np.asarray(x, "float64") @ unit - target)
        _, least = scipy.optimize.nnls(unit.T, target)
        assert found <= least + (2e-3 if dtype == "float32" else 1e-6)


@everywhere
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_fair_weights_solve_their_equation(tasks, kind, dtype, alpha):
    gramian = gramians(matrices(tasks, kind))
    w, residual = graph("proportionally_fair", alpha=alpha)(tensor(gramian, dtype))
    w = np.asarray(w)
    assert np.all(w > 0)
    if kind == "deficient":  # there may be no solution, but one of `A + 10 eps`
        return
    assert np.max(residual) < 1e-4
    left = np.einsum("bij,bj->bi", gramian, w) * w ** (1 / alpha)
    slack = 5e-2 if dtype == "float32" else 1e-6
    np.testing.assert_allclose(left, 1.0, atol=slack)


def test_fair_weights_where_gradients_cancel_are_large_and_told_apart():
    gramian = np.array([[1.0, -1.0], [-1.0, 1.0]])
    w, _ = graph("proportionally_fair")(tensor(gramian, "float32"))
    assert np.all(np.isfinite(w)) and np.all(np.asarray(w) > 100)


@everywhere
@pytest.mark.parametrize("radius", [0.0, 0.4, 0.9])
def test_worst_improvement_is_optimal(tasks, kind, dtype, radius):
    """The primal and the dual problem of CAGrad have one value."""
    for g in matrices(tasks, kind, count=2):
        v, residual = graph("worst_improvement", radius=radius)(tensor(g @ g.T, dtype))
        v = np.asarray(v, "float64")
        assert np.all(v >= 0) and float(residual) < 1e-4
        mean = g.mean(axis=0)
        ball = radius * np.linalg.norm(mean)
        added = v @ g
        slack = 1e-2 if dtype == "float32" else 1e-5
        size = np.linalg.norm(g, axis=1).min() * np.linalg.norm(mean)
        assert np.linalg.norm(added) <= ball * (1 + slack)
        if radius == 0:
            assert v.sum() == 0
        if v.sum() == 0:
            assert ball < 1e-6
            continue
        # An entry of the Gramian is known up to the rounding of the product of norms.
        length = np.linalg.norm(g, axis=1) * np.linalg.norm(mean + added)
        primal = np.min(g @ (mean + added) + 10 * np.finfo(dtype).eps * length)
        w = v / v.sum()
        dual = w @ g @ mean + ball * np.linalg.norm(w @ g)
        assert primal <= dual + slack * size
        assert dual - primal <= slack * max(size, abs(dual))


def test_projection_onto_the_simplex_is_the_nearest_point():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 6)) * 2
    active = rng.random((200, 6)) < 0.8
    active[:, 0] = True
    found = np.asarray(solvers.onto_simplex(tensor(points), tensor(active, "bool")))
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-5)
    assert np.all(found >= 0) and np.all(found[~active] == 0)
    for point, here, nearest in zip(points, active, found, strict=True):
        for _ in range(20):  # no other point of the simplex has a smaller angle to it
            other = np.where(here, rng.random(6), 0)
            other /= other.sum()
            assert (point - nearest) @ (other - nearest) <= 1e-4


def test_spectrum_leaves_out_rounding():
    g = matrices(6, "deficient", count=1)[0]
    found = solvers.spectrum(tensor(g @ g.T, "float32"), 1.2e-7)
    assert int(np.sum(found.kept)) == 3
    inverse = np.asarray(found.inverse())
    np.testing.assert_allclose(inverse, np.linalg.pinv(g @ g.T), atol=1e-4)


def test_absent_and_zero_gradients_are_masked():
    g = matrices(4, "full", count=1)[0]
    gramian = g @ g.T
    gramian[1], gramian[:, 1] = 0, 0
    active = tensor([True, True, False, True], "bool")
    for solve in (
        graph("min_norm_point"),
        graph("worst_improvement"),
        graph("proportionally_fair"),
    ):
        w, _ = solve(tensor(gramian, "float32"), active)
        kept = [0, 3]
        alone, _ = solve(tensor(gramian[np.ix_(kept, kept)], "float32"))
        assert w[1] == 0 and w[2] == 0
        np.testing.assert_allclose(np.asarray(w)[kept], alone, rtol=1e-6)


@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_worst_improvement_is_found_without_its_fallback(tasks):
    """The pivoting gives the level exactly; Newton's method would stop at 1e-7."""
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(50, tasks, 3 * tasks)).astype("float32")
    gramians = tensor(gradients @ np.swapaxes(gradients, -1, -2))
    _, residual = graph("worst_improvement")(gramians)
    assert np.max(residual) < 1e-12
