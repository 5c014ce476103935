"""Statistics of gradients, their callback, and affinities between tasks."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.balancing_statistics import BalancingStatistics
from mtl_zoo.training.affinity import affinity
from tests import fakes
from tests.balancing.methods import tensor


def test_statistics_are_those_of_numpy():
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(6, 3, 5))
    active = np.ones((6, 3), bool)
    active[2:4, 1] = False
    metric = BalancingStatistics(["a", "b", "c"])
    for rows, here in zip(steps, active, strict=True):
        rows = rows * here[:, None]
        metric.update_state(
            tensor([1.0, 2.0, 3.0]), tensor(rows @ rows.T), tensor(here, "bool")
        )
    found = metric.summary()
    assert found["weights"] == pytest.approx({"a": 1.0, "b": 2.0, "c": 3.0})
    for i, j, pair in ((0, 1, "a/b"), (0, 2, "a/c"), (1, 2, "b/c")):
        both = active[:, i] & active[:, j]
        left, right = steps[both, i], steps[both, j]
        norms = np.linalg.norm(left, axis=1), np.linalg.norm(right, axis=1)
        cosines = np.sum(left * right, axis=1) / norms[0] / norms[1]
        similar = 2 * norms[0] * norms[1] / (norms[0] ** 2 + norms[1] ** 2)
        assert found["cosine"][pair] == pytest.approx(cosines.mean(), abs=1e-5)
        assert found["conflict"][pair] == pytest.approx(np.mean(cosines < 0))
        assert found["magnitude_similarity"][pair] == pytest.approx(
            similar.mean(), 1e-5
        )
    complete = [rows for rows, here in zip(steps, active, strict=True) if here.all()]
    log = np.mean([np.log(np.linalg.cond(rows)) for rows in complete])
    assert found["condition_number"] == pytest.approx(np.exp(log), rel=1e-3)


@pytest.mark.parametrize(
    "make",
    [
        mtl.balancing.Equal,
        lambda: mtl.balancing.UncertaintyWeighting(initial=1.0),
        mtl.balancing.MGDA,
    ],
)
def test_diagnostics_change_nothing(make):
    """Nor does the longer way that losses go then, heads and own weights included."""
    models = [fakes.model(balancing=make(), diagnostics=d) for d in (False, True)]
    for model in models:
        model.fit(fakes.batches(), epochs=2, verbose=0)
    for left, right in zip(*(m.trainable_variables for m in models), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)


def test_callback_keeps_every_epoch_and_writes_it(tmp_path):
    model = fakes.model(balancing=mtl.balancing.UPGrad(), diagnostics=True)
    callback = mtl.training.BalancingDiagnostics(
        log_dir=tmp_path / "logs", path=tmp_path / "balancing.json"
    )
    history = model.fit(
        fakes.batches(),
        validation_data=fakes.batches(),
        epochs=3,
        verbose=0,
        callbacks=[callback],
    ).history
    assert not any(name.startswith("val_conflict") for name in history)
    assert len(callback.epochs) == 3
    for epoch, share in zip(callback.epochs, history["conflict"], strict=True):
        assert set(epoch["cosine"]) == {"kind/size", "kind/colour", "size/colour"}
        assert epoch["unsolved"] == 0
        assert np.mean(list(epoch["conflict"].values())) == pytest.approx(share)
        assert all(weight > 0 for weight in epoch["weights"].values())
    written = json.loads((tmp_path / "balancing.json").read_text())
    assert written == {"epochs": callback.epochs}
    (events,) = (tmp_path / "logs").glob("events*")
    tags = {
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert {"balancing/cosine/kind/size", "balancing/condition_number"} <= tags
    again = mtl.training.BalancingDiagnostics()
    again.set_state(callback.get_state())
    assert again.epochs == callback.epochs


def test_callback_needs_diagnostics():
    with pytest.raises(ValueError, match="diagnostics=True"):
        fakes.model().fit(
            fakes.batches(), verbose=0, callbacks=[mtl.training.BalancingDiagnostics()]
        )


def test_affinity_by_hand():
    """Steps of the trunk for one task, taken and measured one by one."""
    model = fakes.model()
    x, labels = fakes.arrays()

    def losses():
        return np.array(
            [float(t.loss(labels[t.name], model(x)[t.name])) for t in model.tasks]
        )

    before, rate = losses(), 0.05
    weights = [v.numpy() for v in model.variables]
    found = np.asarray(affinity(model, (x, labels), rate))
    for old, variable in zip(weights, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)
    for index, task in enumerate(model.tasks):
        with tf.GradientTape() as tape:
            loss = task.loss(labels[task.name], model(x)[task.name])
        gradients = tape.gradient(loss, model.shared_variables)
        start = [v.numpy() for v in model.shared_variables]
        for variable, gradient in zip(model.shared_variables, gradients, strict=True):
            variable.assign_sub(rate * gradient)
        np.testing.assert_allclose(found[index], 1 - losses() / before, atol=1e-5)
        for variable, value in zip(model.shared_variables, start, strict=True):
            variable.assign(value)
    assert np.all(np.diagonal(found) > 0)


def test_affinities_are_averaged_over_an_epoch():
    model = fakes.model(keras.optimizers.SGD(0.05))
    callback = mtl.training.InterTaskAffinity(fakes.batches(), every=2)
    model.fit(fakes.batches(), epochs=2, verbose=0, callbacks=[callback])
    assert len(callback.epochs) == 2
    assert callback.epochs[0]["kind/kind"] > 0 and len(callback.epochs[0]) == 9
    with pytest.raises(ValueError, match="at least 1"):
        mtl.training.InterTaskAffinity(fakes.batches(), every=0)


def test_absent_task_has_no_affinity():
    model = fakes.model()
    x, labels = fakes.arrays()
    found = np.asarray(
        affinity(model, (x, labels, {"size": np.zeros(32, "float32")}), 0.05)
    )
    assert np.all(np.isnan(found[1])) and np.all(np.isnan(found[:, 1]))
    assert np.all(np.isfinite(found[np.ix_([0, 2], [0, 2])]))
