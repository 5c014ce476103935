"""Word tags: never an impossible sequence, the best one, padding without effect."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo import losses
from mtl_zoo.heads import Tagging
from mtl_zoo.heads.tagging import best_tags

TYPES = ("LOC", "PER")
WIDTH = 6


def features(batch=3, words=7, seed=0):
    rng = np.random.default_rng(seed)
    lengths = [words, words // 2, 0][:batch]
    starts = np.tile(np.arange(words) * 5, (batch, 1))
    there = np.arange(words) < np.array(lengths)[:, None]
    vectors = rng.normal(size=(batch, words, WIDTH)) * there[..., None]
    return {
        "words": tf.constant(vectors, tf.float32),
        "starts": tf.constant(np.where(there, starts, 0), tf.int32),
        "ends": tf.constant(np.where(there, starts + 4, 0), tf.int32),
        "cases": tf.constant(rng.integers(0, 4, there.shape) * there, tf.int32),
    }


def head(seed=0, **kwargs):
    made = Tagging(TYPES, **{"max_entities": 4, **kwargs})
    made.build({n: v.shape for n, v in features().items()})
    rng = np.random.default_rng(seed)
    for weight in made.trainable_weights:
        weight.assign(rng.normal(0.0, 1.5, weight.shape))
    return made


def possible(tags):
    """Whether a sequence is BIO."""
    before = 0
    for tag in tags:
        inside = tag > 0 and tag % 2 == 0
        if inside and before not in (tag, tag - 1):
            return False
        before = tag
    return True


@pytest.mark.parametrize("seed", range(5))
def test_best_of_all_possible_sequences(seed):
    made = head(seed)
    given = features(words=4, seed=seed)
    raw = {k: np.asarray(v) for k, v in made(given).items()}
    tags = np.asarray(best_tags(raw)[0])
    for row, length in enumerate((4, 2)):

        def score(path, row=row):
            total = sum(raw["emissions"][row, i, t] for i, t in enumerate(path))
            pairs = itertools.pairwise(path)
            return total + sum(raw["transitions"][row][i, j] for i, j in pairs)

        paths = itertools.product(range(5), repeat=length)
        best = max((p for p in paths if possible(p)), key=score)
        assert tags[row, :length].tolist() == list(best)
        assert not tags[row, length:].any()


def test_capitals_by_hand():
    """What reaches the hidden layer: own case, the neighbours', the mean."""
    given = features(words=4)
    given["cases"] = tf.constant([[1, 0, 2, 0], [3, 0, 0, 0], [0, 0, 0, 0]])
    made = head(cases=3)
    units = np.zeros(made.hidden.kernel.shape, "float32")
    reads = {"own": (4 + 2, 0), "before": (0 + 1, 1), "mean": (12 + 2, 2)}
    for row, column in reads.values():
        units[WIDTH + row, column] = 1.0
    made.hidden.kernel.assign(units)
    made.hidden.bias.assign(np.zeros(3))
    made.hidden.activation = keras.activations.linear
    shown = [0, 1, 3]  # tags that a text may begin with
    emissions = np.zeros((WIDTH + 3, 5), "float32")
    emissions[[WIDTH, WIDTH + 1, WIDTH + 2], shown] = 1.0
    made.emissions.kernel.assign(emissions)
    made.emissions.bias.assign(np.zeros(5))
    made.first.assign(np.zeros(5))
    found = np.asarray(made(given)["emissions"])[:, :, shown]
    # The first text has four words, the second two, the third none.
    own, before, mean = (found[0, :, i] for i in range(3))
    assert own.tolist() == [0, 0, 1, 0]
    assert before.tolist() == [0, 1, 0, 0]
    assert mean.tolist() == [0.25] * 4
    assert not found[1, :, 2].any() and not found[2].any()


def test_capitals_do_not_matter_without_cases():
    given, other = features(), features()
    other["cases"] = tf.zeros_like(other["cases"])
    for cases, same in ((0, True), (5, False)):
        made = head(cases=cases)
        one, two = made(given)["emissions"], made(other)["emissions"]
        assert np.array_equal(one, two) == same


def test_impossible_sequences_are_never_found():
    for seed in range(20):
        tags = np.asarray(best_tags(head(seed)(features(words=9, seed=seed)))[0])
        assert all(possible(row) for row in tags)


def test_decoded_by_hand():
    made = head(crf=False)
    raw = made(features(1, 4))
    scores = np.full((1, 4, 5), -9.0, "float32")
    for word, tag in enumerate((3, 4, 0, 1)):
        scores[0, word, tag] = 9.0
    found = made.decode({**raw, "emissions": tf.constant(scores)})
    assert np.asarray(found["starts"]).tolist() == [[0, 15, -1, -1]]
    assert np.asarray(found["ends"]).tolist() == [[9, 19, -1, -1]]
    assert np.asarray(found["labels"]).tolist() == [[1, 0, -1, -1]]
    assert np.asarray(found["count"]).tolist() == [2]
    np.testing.assert_allclose(np.asarray(found["scores"])[0, :2], 1.0, atol=1e-6)


@pytest.mark.parametrize("kwargs", [{}, {"crf": False}, {"cases": 3}])
def test_padding_has_no_effect(kwargs):
    made = head(**kwargs)
    alone = features(1, 7)
    padded = {
        k: tf.pad(v, [[0, 2], [0, 5]] + [[0, 0]] * (len(v.shape) - 2))
        for k, v in alone.items()
    }
    labels = {"tags": tf.constant([[1, 2, 0, 3, 4, 0, 1]])}
    more = {"tags": tf.pad(labels["tags"], [[0, 2], [0, 5]], constant_values=-1)}
    one, other = made(alone), made(padded)
    for name, value in made.decode(one).items():
        np.testing.assert_allclose(made.decode(other)[name][:1], value, atol=1e-6)
    loss = losses.Tags()
    np.testing.assert_allclose(
        loss.call(more, other), [*loss.call(labels, one), 0.0, 0.0], atol=1e-4
    )


def test_the_probability_is_that_of_the_tag_among_all_sequences():
    made = head(3)
    raw = {k: np.asarray(v) for k, v in made(features(1, 3)).items()}
    weight = np.zeros((3, 5))
    for path in itertools.product(range(5), repeat=3):
        score = sum(raw["emissions"][0, i, t] for i, t in enumerate(path))
        score += sum(raw["transitions"][0][i, j] for i, j in itertools.pairwise(path))
        for word, tag in enumerate(path):
            weight[word, tag] += np.exp(score)
    tags, found = best_tags(raw)
    share = weight / weight.sum(1, keepdims=True)
    expected = share[np.arange(3), np.asarray(tags)[0]]
    np.testing.assert_allclose(found[0], expected, rtol=1e-4)


@pytest.mark.parametrize("kwargs", [{}, {"crf": False}, {"cases": 3}])
def test_every_weight_gets_a_gradient(kwargs):
    made = head(**kwargs)
    labels = {"tags": tf.constant([[1, 2, 0, 3, 4, 0, 1], [3, 4, 0] + [-1] * 4])}
    with tf.GradientTape() as tape:
        raw = made({k: v[:2] for k, v in features().items()}, training=True)
        loss = tf.reduce_sum(losses.Tags().call(labels, raw))
    gradients = tape.gradient(loss, made.trainable_weights)
    for weight, gradient in zip(made.trainable_weights, gradients, strict=True):
        assert gradient is not None and np.any(gradient), weight.path


@pytest.mark.parametrize("words", [1, 2, 9])
def test_graph_of_any_width_equals_eager(words):
    made = head()
    given = features(words=words)
    signature = {
        k: tf.TensorSpec([None] * len(v.shape[:2]) + v.shape[2:], v.dtype)
        for k, v in given.items()
    }
    graph = tf.function(lambda f: made.decode(made(f)), input_signature=[signature])
    for name, value in graph(given).items():
        np.testing.assert_allclose(
            value, made.decode(made(given))[name], atol=1e-5, err_msg=name
        )


def test_rate_of_the_field_is_a_factor_on_its_weights():
    made, fast = head(), head(crf_rate=10.0)
    fast.first.assign(made.first / 10.0)
    fast.transitions.assign(made.transitions / 10.0)
    for one, other in zip(
        tf.nest.flatten(made(features())),
        tf.nest.flatten(fast(features())),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_scores_are_float32_in_half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        made = Tagging(TYPES)
    finally:
        keras.config.set_dtype_policy("float32")
    given = features()
    raw = made({**given, "words": tf.cast(given["words"], tf.float16)})
    assert raw["emissions"].dtype == raw["transitions"].dtype == tf.float32


def test_config_round_trip():
    made = head(crf=False, cases=3, dropout=0.3, crf_rate=10.0)
    again = Tagging.from_config(made.get_config())
    assert again.get_config() == made.get_config()


def test_bad_arguments_say_what_is_expected():
    for types in ([], ["A", "A"]):
        with pytest.raises(ValueError, match=r"at least one type.*different.*types="):
            Tagging(types)
    with pytest.raises(ValueError, match=r"must be positive.*crf_rate=0"):
        Tagging(["A"], crf_rate=0)
    with pytest.raises(ValueError, match="needs the feature 'words'"):
        Tagging(["A"])({"sentence": tf.zeros((1, 4))})
