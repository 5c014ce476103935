"""What every method of balancing does, and what those do that promise it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import mtl_zoo as mtl
from tests import fakes
from tests.balancing import methods


def gradients(tasks: int = 4, size: int = 12, seed: int = 0, kind: str = "normal"):
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(tasks, size))
    if kind == "conflicting":
        found -= 1.2 * found.mean(axis=0)
    if kind == "scaled":
        found *= 10.0 ** rng.uniform(-2, 2, size=(tasks, 1))
    return found


LOSSES = np.array([0.5, 2.0, 1.0, 0.1, 3.0])


@pytest.mark.parametrize("name", methods.ALL)
def test_config_brings_back_the_method(name):
    method = methods.of(name)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(method), safe_mode=True
    )
    assert type(again) is type(method)
    assert again.get_config() == method.get_config()


@pytest.mark.parametrize("name", methods.ALL)
def test_promises_are_known(name):
    assert set(getattr(mtl.balancing, name).promises) <= set(mtl.balancing.PROMISES)


@pytest.mark.parametrize("kind", ["normal", "conflicting", "scaled"])
@pytest.mark.parametrize("name", methods.promising("same for any order"))
def test_same_for_any_order(name, kind):
    rows, order = gradients(kind=kind), np.array([2, 0, 3, 1])
    names = tuple("abcd")
    _, weights = methods.update_of(name, rows, LOSSES[:4], names=names, steps=3)
    if name in ("Fixed", "Scheduled"):
        return  # given by name
    _, permuted = methods.update_of(
        name,
        rows[order],
        LOSSES[:4][order],
        names=tuple(names[i] for i in order),
        steps=3,
    )
    np.testing.assert_allclose(permuted, weights[order], rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["normal", "conflicting", "scaled"])
@pytest.mark.parametrize("tasks", [2, 3, 5])
@pytest.mark.parametrize("name", methods.promising("no task gets worse"))
def test_no_task_gets_worse(name, tasks, kind):
    for seed in range(5):
        rows = gradients(tasks, seed=seed, kind=kind)
        update, _ = methods.update_of(name, rows, LOSSES[:tasks])
        cosines = rows @ update / np.linalg.norm(rows, axis=1)
        assert np.min(cosines) >= -1e-4 * np.linalg.norm(update)


@pytest.mark.parametrize("name", methods.promising("same for any scale"))
def test_same_direction_for_any_scale(name):
    factor = np.array([1.0, 100.0, 0.01, 7.0])
    rows = gradients()
    first, _ = methods.update_of(name, rows, LOSSES[:4])
    second, _ = methods.update_of(name, rows * factor[:, None], LOSSES[:4] * factor)
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    if name in methods.OF_LOSSES:  # the weights undo the factors
        _, one = methods.update_of(name, rows, LOSSES[:4])
        _, two = methods.update_of(name, rows, LOSSES[:4] * factor)
        ratio = two * factor / one
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    else:
        assert cosine > 1 - 1e-5


@pytest.mark.parametrize("name", methods.promising("plain for one task"))
def test_plain_for_one_task(name):
    rows = gradients(1)
    update, _ = methods.update_of(name, rows, LOSSES[:1])
    np.testing.assert_allclose(update, rows[0], rtol=1e-5)


@pytest.mark.parametrize("name", methods.ALL)
def test_absent_task_is_as_if_it_were_not_there(name):
    """For the others, whatever the method; random ones draw for all tasks."""
    rows = gradients(3)
    losses = LOSSES[:3].copy()
    rows[1], losses[1] = 0.0, 0.0
    active = np.array([True, False, True])
    update, weights = methods.update_of(
        name, rows, losses, active, names=("x", "y", "z")
    )
    assert np.all(np.isfinite(update)) and np.all(np.isfinite(weights))
    if name in methods.OF_GRADIENTS:
        assert weights[1] == 0
    if name in ("RLW", "PCGrad", "GradVac", "GradDrop", "Fixed", "Scheduled", "MoCo"):
        return  # drawn or given for each task; MoCo's weights start at 1 / T
    fewer, _ = methods.update_of(name, rows[[0, 2]], losses[[0, 2]])
    np.testing.assert_allclose(update, fewer, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", methods.ALL)
def test_batch_without_any_label_gives_numbers(name):
    rows, losses = np.zeros((3, 5)), np.zeros(3)
    update, weights = methods.update_of(name, rows, losses, np.zeros(3, bool))
    np.testing.assert_array_equal(update, 0.0)
    assert np.all(np.isfinite(weights))


@pytest.mark.parametrize("name", methods.ALL)
def test_saved_model_goes_on_where_it_was(name, tmp_path):
    """State included: the next steps of the loaded model are those of the first."""
    method = methods.of(name, fakes.NAMES)
    model = fakes.model(keras.optimizers.Adam(0.01), balancing=method)
    model.fit(fakes.batches(), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    for left, right in zip(method.variables, again.balancing.variables, strict=True):
        np.testing.assert_array_equal(left, right)
    for each in (model, again):
        each.fit(fakes.batches(), verbose=0)
    for left, right in zip(model.variables, again.variables, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
