"""The loss of tags, by hand."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo.losses import Tags


def raw(batch=2, words=3, tags=3, crf=True, seed=0):
    rng = np.random.default_rng(seed)
    found = {
        "emissions": rng.normal(size=(batch, words, tags)).astype("float32"),
        "starts": np.tile(np.arange(words) * 2, (batch, 1)),
        "ends": np.tile(np.arange(words) * 2 + 1, (batch, 1)),
    }
    if crf:
        found["transitions"] = np.tile(
            rng.normal(size=(1, tags, tags)).astype("float32"), (batch, 1, 1)
        )
    return {k: tf.constant(v) for k, v in found.items()}


def test_chain_by_brute_force():
    outputs = raw()
    emissions = outputs["emissions"].numpy()
    transitions = outputs["transitions"].numpy()[0]
    labels = np.array([[0, 2, 1], [1, 1, 0]])

    def score(row, path):
        chosen = sum(emissions[row, i, t] for i, t in enumerate(path))
        return chosen + sum(transitions[i, j] for i, j in itertools.pairwise(path))

    for row, path in enumerate(labels):
        every = [score(row, p) for p in itertools.product(range(3), repeat=3)]
        expected = np.log(np.sum(np.exp(every))) - score(row, path)
        found = Tags().call({"tags": labels}, outputs)[row]
        assert float(found) == pytest.approx(expected, rel=1e-5)


def test_without_chain_it_is_the_cross_entropy_of_the_words():
    outputs = raw(crf=False)
    labels = np.array([[0, -1, 1], [-1, -1, -1]])
    each = keras.losses.sparse_categorical_crossentropy(
        np.maximum(labels, 0), outputs["emissions"], from_logits=True
    )
    expected = np.where(labels >= 0, each, 0).sum(1)
    np.testing.assert_allclose(
        Tags().call({"tags": labels}, outputs), expected, rtol=1e-5
    )
    np.testing.assert_array_equal(Tags().count({"tags": labels}, outputs), [2.0, 0.0])


def test_config_round_trip():
    loss = Tags(name="other")
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(loss)
    )
    assert again.get_config() == loss.get_config()
