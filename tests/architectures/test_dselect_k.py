"""DSelect-k: what its gates choose, for all samples or for each."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.architectures.dselect_k import DSelectGate
from tests.architectures import structures


def gate(**kwargs):
    keras.utils.set_random_seed(0)
    made = DSelectGate(**{"experts": 4, "selections": 2, "per_sample": True, **kwargs})
    made.build((None, 3))
    return made


def test_each_sample_chooses_by_hand():
    """One expert a digit pattern: digits of the first input, in binary."""
    one = gate(selections=1)
    positions = np.zeros((3, 1, 2))
    positions[0, 0, 0], positions[1, 0, 1] = 10.0, 10.0
    one.positions.assign(positions)
    signs = np.array([[-1, -1, 0], [1, -1, 0], [-1, 1, 0], [1, 1, 0]], "float32")
    np.testing.assert_allclose(one(signs), np.eye(4), atol=1e-6)
    assert float(one.losses[0]) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("per_sample", [True, False])
def test_at_most_k_experts_have_weight_once_decided(per_sample):
    made = gate(experts=8, per_sample=per_sample)
    made.positions.assign(1e6 * made.positions)
    inputs = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    weights = np.asarray(made(inputs))
    assert np.all((weights > 1e-6).sum(axis=1) <= 2)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-5)
    assert (len(np.unique(weights.round(4), axis=0)) > 1) == per_sample


def test_penalty_of_samples_is_the_mean_of_theirs():
    made = gate(experts=3)
    made.positions.assign(0.3 * np.random.default_rng(0).normal(size=(3, 2, 2)))
    inputs = np.random.default_rng(1).normal(size=(5, 3)).astype("float32")
    alone = []
    for row in inputs:
        made(row[None])
        alone.append(float(made.losses[0]))
    made(inputs)
    assert float(made.losses[0]) == pytest.approx(np.mean(alone), rel=1e-5)


def test_model_whose_samples_choose_trains_and_comes_back(tmp_path):
    model = structures.model("DSelectK", per_sample=True)
    gates = [one.positions.numpy() for one in model.gates]
    assert np.isfinite(structures.train(model)["loss"]).all()
    for one, before in zip(model.gates, gates, strict=True):
        assert np.any(one.positions.numpy() != before)
    inputs = structures.data()[0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    weights = model.gate_weights(inputs)["north"]
    np.testing.assert_allclose(again.gate_weights(inputs)["north"], weights)
    assert np.asarray(weights).std(axis=0).max() > 0
    assert isinstance(again, mtl.architectures.DSelectK) and again.per_sample


def test_gradient_reaches_what_each_sample_chooses_by():
    made = gate()
    inputs = tf.random.stateless_normal((6, 3), (0, 1))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(made(inputs) * tf.range(4.0)) + made.losses[0]
    for gradient in tape.gradient(value, made.trainable_variables):
        assert np.any(np.asarray(gradient))
