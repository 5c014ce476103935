"""Gradient similarity: gates by hand, and what it reduces to."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import mtl_zoo as mtl
from mtl_zoo.balancing.gradient_similarity import similarity_weights
from tests import fakes
from tests.balancing.methods import tensor

NAMES = ("main", "one", "other")


def update(rows, active=(True, True, True), auxiliary=NAMES[1:], **kwargs):
    method = mtl.balancing.GradientSimilarity(auxiliary, level="params", **kwargs)
    method.build(NAMES, len(rows[0]))
    found, weights = method.combine(
        tensor(rows), tensor([1.0, 1.0, 1.0]), tensor(active, "bool")
    )
    return np.asarray(found), np.asarray(weights)


def test_gates_by_hand():
    """Cosines with (2, 0): 0.6, -1 / sqrt(2)."""
    rows = [[2.0, 0.0], [3.0, 4.0], [-1.0, 1.0]]
    found, weights = update(rows)
    np.testing.assert_allclose(weights, [1, 1, 0])
    np.testing.assert_allclose(found, [5, 4])
    found, weights = update(rows, weighted=True)
    np.testing.assert_allclose(weights, [1, 0.6, 0], rtol=1e-6)
    np.testing.assert_allclose(found, [2 + 0.6 * 3, 0.6 * 4], rtol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_main_gradient_where_others_oppose(weighted):
    rows = [[1.0, 2.0, 0.0], [-1.0, -2.0, 5.0], [0.0, -1e3, 0.0]]
    np.testing.assert_array_equal(update(rows, weighted=weighted)[0], rows[0])


@pytest.mark.parametrize("weighted", [False, True])
def test_plain_sum_where_all_agree(weighted):
    """Weighted, only of gradients of one direction."""
    rows = np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.5, 1.0, 0.0]])
    if not weighted:
        rows += [[0.0, 0.0, 0.1], [0.0, 0.0, 3.0], [0.0, 0.5, 0.0]]
    found, _ = update(rows, weighted=weighted)
    np.testing.assert_allclose(found, rows.sum(axis=0), rtol=1e-6)


def test_orthogonal_gradients_are_used_unweighted_and_count_nothing_weighted():
    rows = [[1.0, 0.0], [0.0, 1.0], [0.0, -2.0]]
    np.testing.assert_array_equal(update(rows)[1], [1, 1, 1])
    np.testing.assert_array_equal(update(rows, weighted=True)[1], [1, 0, 0])


def test_several_main_tasks_are_one():
    """The sum of the first two, (1, 1), decides on the third."""
    rows = [[2.0, 0.0], [-1.0, 1.0], [-1.0, 3.0]]
    found, weights = update(rows, auxiliary=["other"])
    np.testing.assert_array_equal(weights, [1, 1, 1])  # though against the first
    np.testing.assert_array_equal(found, [0, 4])


@pytest.mark.parametrize("weighted", [False, True])
def test_main_losses_fall_whatever_the_others_do(weighted):
    rng = np.random.default_rng(0)
    for _ in range(50):
        rows = rng.normal(size=(3, 4)) * 10.0 ** rng.uniform(-2, 2, size=(3, 1))
        main = rows[0] + rows[1]
        found, _ = update(rows, auxiliary=["other"], weighted=weighted)
        assert found @ main >= (main @ main) * (1 - 1e-4)


@pytest.mark.parametrize("weighted", [False, True])
def test_nothing_agrees_with_an_absent_main_task(weighted):
    rows = [[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]]
    found, weights = update(rows, active=(False, True, True), weighted=weighted)
    np.testing.assert_array_equal(weights, 0)
    np.testing.assert_array_equal(found, 0)


def test_huge_and_tiny_gradients_are_gated_alike():
    rows = np.array([[1.0, 0.0], [1.0, 1.0], [-1.0, 1.0]])
    gramian = rows @ rows.T
    arguments = tensor([1, 0, 0], "bool"), tensor([1, 1, 1], "bool")
    for scale in (1e-20, 1.0, 1e20):
        weights = similarity_weights(tensor(gramian * scale), *arguments, True)
        np.testing.assert_allclose(weights, [1, np.sqrt(0.5), 0], rtol=1e-5)


def test_heads_of_gated_tasks_go_on_learning():
    """The shared variables move as the main task says, each head by its own loss."""
    x, labels = fakes.arrays()
    labels = {**labels, "size": -labels["size"]}
    method = mtl.balancing.GradientSimilarity(["size", "colour"])
    model = fakes.model(keras.optimizers.SGD(0.1), balancing=method)
    heads = {n: [v.numpy() for v in model.task_variables(n)] for n in fakes.NAMES}
    model.train_on_batch(x, labels)
    for name, before in heads.items():
        after = model.task_variables(name)
        assert any((b != a.numpy()).any() for b, a in zip(before, after, strict=True))


@pytest.mark.parametrize("auxiliary", [["kind", "size", "colour"], ["shape"]])
def test_auxiliary_tasks_are_some_of_the_model(auxiliary):
    with pytest.raises(ValueError, match=r"some, not all.*Received: auxiliary="):
        fakes.model(balancing=mtl.balancing.GradientSimilarity(auxiliary))
