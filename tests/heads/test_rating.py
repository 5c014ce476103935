"""Ratings on a scale: the paper's equations by hand, and the correlation."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from mtl_zoo import evaluation, losses
from mtl_zoo.heads import Rating


def test_the_rating_is_the_mean_of_the_steps():
    head = Rating(1, 5, feature="x", dropout=0.3)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    raw = head({"x": x})
    logits = x @ head.output_kernel.numpy() + head.logits.bias.numpy()
    np.testing.assert_allclose(raw, logits, atol=1e-6)
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    decoded = head.decode(raw)
    np.testing.assert_allclose(decoded["value"], chances @ np.arange(1, 6), rtol=1e-5)
    np.testing.assert_allclose(decoded["probabilities"], chances, rtol=1e-5)
    np.testing.assert_allclose(head.label_probabilities(raw), chances, rtol=1e-5)


def test_loss_by_hand():
    logits = np.log([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.25] * 4])
    # 2.25 on a scale from 1 is 3/4 on step 2 and 1/4 on step 3; 9 is beyond its end.
    expected = [
        0.75 * np.log(0.75 / 0.2) + 0.25 * np.log(0.25 / 0.3),
        np.log(1 / 0.4),
        np.log(1 / 0.25),
    ]
    found = losses.Ratings(1).call(np.array([2.25, 1.0, 9.0]), logits)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_loss_is_least_where_the_mean_is_the_rating():
    head, loss = Rating(0, 2, feature="x"), losses.Ratings(0)
    logits, optimizer = tf.Variable(tf.zeros((1, 3))), keras.optimizers.Adam(0.1)
    for _ in range(300):
        with tf.GradientTape() as tape:
            value = loss.call(tf.constant([1.3]), logits)
        optimizer.apply_gradients([(tape.gradient(value, logits), logits)])
    assert float(value[0]) == pytest.approx(0.0, abs=1e-2)
    assert float(head.decode(logits)["value"][0]) == pytest.approx(1.3, abs=0.05)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("shift", [0.0, 300.0])
def test_correlation_is_that_of_scipy_over_batches(shape, shift):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=60) + shift
    found = 0.3 * truth + rng.normal(size=60) - shift
    metric = evaluation.Pearson()
    for at in (0, 7, 30):
        stop = {0: 7, 7: 30, 30: 60}[at]
        metric.update_state(truth[at:stop], found[at:stop].reshape(shape))
    expected = scipy.stats.pearsonr(truth, found).statistic
    assert float(metric.result()) == pytest.approx(
        expected, abs=1e-3 if shift else 1e-5
    )


def test_correlation_of_ratings_without_those_of_no_weight():
    rng = np.random.default_rng(1)
    logits, truth = rng.normal(size=(20, 5)).astype("f4"), rng.uniform(1, 5, 20)
    value = np.asarray(Rating(1, 5).decode(logits)["value"])
    weight = (np.arange(20) % 3 > 0).astype("float32")
    metric = evaluation.Pearson()
    metric.update_state(np.where(weight > 0, truth, np.nan), logits, weight)
    metric.update_state(truth, logits, np.zeros(20))
    kept = weight > 0
    expected = scipy.stats.pearsonr(truth[kept], value[kept]).statistic
    assert float(metric.result()) == pytest.approx(expected, abs=1e-5)


def test_without_variation_there_is_no_correlation():
    metric = evaluation.Pearson()
    assert float(metric.result()) == 0.0
    metric.update_state([1.0, 2.0], [3.0, 3.0])
    assert float(metric.result()) == 0.0


def test_config_round_trip_and_float32():
    head = Rating(1, 5, feature="x", dropout=0.1)
    assert Rating.from_config(head.get_config()).get_config() == head.get_config()
    assert losses.Ratings.from_config(losses.Ratings(2).get_config()).lowest == 2
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = Rating(1, 5, feature="x")
    finally:
        keras.config.set_dtype_policy("float32")
    assert half({"x": tf.ones((1, 3), "float16")}).dtype == tf.float32


def test_errors_say_what_was_received():
    with pytest.raises(ValueError, match="Received: lowest=5, highest=5"):
        Rating(5, 5)
