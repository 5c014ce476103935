"""A class for each word: logits by hand, loss, accuracy, what is decoded."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo import evaluation, losses
from mtl_zoo.heads import WordClassification

CLASSES = ("NOUN", "VERB", "PUNCT")


def features(width=4, seed=0):
    """Two texts, of three words and of one."""
    rng = np.random.default_rng(seed)
    there = np.array([[1, 1, 1], [1, 0, 0]])
    return {
        "words": tf.constant(
            rng.normal(size=(2, 3, width)) * there[..., None], "float32"
        ),
        "starts": tf.constant(there * [0, 5, 9]),
        "ends": tf.constant(there * [4, 8, 10]),
        "cases": tf.constant(there * [2, 0, 1]),
    }


LABEL = {
    "tags": np.array([[0, 1, 2], [2, -1, -1]]),
    "scored": np.array([[True, True, False], [True, False, False]]),
}


def test_logits_and_decoded_by_hand():
    head = WordClassification(CLASSES, dropout=0.5)
    given = features()
    raw = head(given)
    kernel, bias = (w.numpy() for w in head.emissions.weights)
    expected = given["words"].numpy() @ kernel + bias
    np.testing.assert_allclose(raw["emissions"], expected, atol=1e-6)
    decoded = {n: np.asarray(v) for n, v in head.decode(raw).items()}
    best = expected.argmax(-1)
    assert decoded["labels"].tolist() == [best[0].tolist(), [best[1, 0], -1, -1]]
    chances = np.exp(expected) / np.exp(expected).sum(-1, keepdims=True)
    np.testing.assert_allclose(decoded["scores"][0], chances.max(-1)[0], rtol=1e-5)
    assert decoded["scores"][1, 1:].tolist() == [0.0, 0.0]
    assert decoded["ends"].tolist() == [[4, 8, 10], [4, 0, 0]]
    found = np.asarray(head.label_probabilities(raw))
    np.testing.assert_allclose(found[0], chances[0], rtol=1e-5)
    assert not found[1, 1:].any()


def test_capitals_reach_the_logits():
    head = WordClassification(CLASSES, cases=5)
    given = features()
    one = head(given)["emissions"]
    other = head({**given, "cases": tf.zeros_like(given["cases"])})["emissions"]
    assert np.any(np.asarray(one)[0] != np.asarray(other)[0])


def test_loss_is_the_cross_entropy_of_words():
    head = WordClassification(CLASSES)
    raw = head(features())
    logs = np.asarray(tf.nn.log_softmax(raw["emissions"]))
    expected = [-logs[0, [0, 1, 2], [0, 1, 2]].sum(), -logs[1, 0, 2]]
    found = losses.Tags().call(LABEL, raw)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_accuracy_counts_scored_words_of_labelled_texts():
    raw = {
        "emissions": tf.one_hot([[0, 2, 0], [2, 0, 0]], 3),
        **{n: features()[n] for n in ("starts", "ends")},
    }
    metric = evaluation.WordAccuracy()
    assert float(metric.result()) == 0.0
    metric.update_state(LABEL, raw)
    assert float(metric.result()) == pytest.approx(2 / 3)
    metric.update_state(LABEL, raw, sample_weight=[0.0, 1.0])
    assert float(metric.result()) == pytest.approx(3 / 4)


def test_every_weight_has_a_gradient_and_config_round_trip():
    head = WordClassification(CLASSES, cases=3, dropout=0.2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(losses.Tags().call(LABEL, head(features())))
    gradients = tape.gradient(loss, head.trainable_weights)
    assert len(gradients) == 4 and all(np.any(g) for g in gradients)
    again = WordClassification.from_config(head.get_config())
    assert again.get_config() == head.get_config()


def test_float32_in_half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        head = WordClassification(CLASSES, cases=3)
    finally:
        keras.config.set_dtype_policy("float32")
    given = features()
    raw = head({**given, "words": tf.cast(given["words"], "float16")})
    assert raw["emissions"].dtype == tf.float32


@pytest.mark.parametrize("names", [["NOUN"], ["NOUN", "NOUN"], []])
def test_errors_say_what_was_received(names):
    with pytest.raises(ValueError, match="Received"):
        WordClassification(names)
