"""Dependency trees: scores as in the paper, loss and metrics by hand, in the graph."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo import evaluation, losses
from mtl_zoo.heads import DependencyParsing
from tests.test_spanning_tree import is_tree

RELATIONS = ("root", "nsubj", "nsubj:pass", "obj")
WIDTH = 6


def features(words=5, seed=0):
    rng = np.random.default_rng(seed)
    there = np.arange(words) < np.array([words, words // 2, 0])[:, None]
    starts = np.tile(np.arange(words) * 5, (3, 1))
    vectors = rng.normal(size=(3, words, WIDTH)) * there[..., None]
    return {
        "words": tf.constant(vectors, tf.float32),
        "starts": tf.constant(np.where(there, starts, 0), tf.int32),
        "ends": tf.constant(np.where(there, starts + 4, 0), tf.int32),
    }


def head(seed=0, **kwargs):
    made = DependencyParsing(
        RELATIONS, **{"arc_units": 4, "relation_units": 3, **kwargs}
    )
    made.build({n: v.shape for n, v in features().items()})
    rng = np.random.default_rng(seed)
    for weight in made.trainable_weights:
        weight.assign(rng.normal(0.0, 1.0, weight.shape))
    return made


def raw(arcs, relations=None):
    """A raw output of one text of four letters a word."""
    words = len(arcs)
    if relations is None:
        relations = np.zeros((words, words + 1, len(RELATIONS)))
    starts = np.arange(words)[None] * 5
    return {
        "arcs": tf.constant([arcs], tf.float32),
        "relations": tf.constant([relations], tf.float32),
        "starts": tf.constant(starts),
        "ends": tf.constant(starts + 4),
    }


def label(heads, relations, scored=None):
    scored = [True] * len(heads) if scored is None else scored
    return {
        "heads": tf.constant([heads]),
        "relations": tf.constant([relations]),
        "scored": tf.constant([scored]),
    }


def test_scores_by_loops_eq_3_and_6():
    made, given = head(), features()
    found = made(given)

    def hidden(layer, x):
        z = x @ layer.kernel.numpy() + layer.bias.numpy()
        return np.where(z > 0, z, 0.2 * z)

    for text, count in enumerate((5, 2)):
        words = given["words"].numpy()[text, :count]
        heads = np.concatenate([made.root.numpy()[None], words])
        for i in range(count):
            d = hidden(made.arc_dependent, words[i])
            r = hidden(made.relation_dependent, words[i])
            for j in range(count + 1):
                h = hidden(made.arc_head, heads[j])
                arc = d @ made.arc_kernel.numpy() @ h + made.arc_prior.numpy() @ h
                if j == i + 1:
                    arc = -1e4
                h = hidden(made.relation_head, heads[j])
                relations = [
                    r @ made.relation_kernel.numpy()[:, k] @ h
                    + r @ made.relation_of_dependent.numpy()[:, k]
                    + h @ made.relation_of_head.numpy()[:, k]
                    + made.relation_prior.numpy()[k]
                    for k in range(len(RELATIONS))
                ]
                np.testing.assert_allclose(found["arcs"][text, i, j], arc, rtol=1e-3)
                np.testing.assert_allclose(
                    found["relations"][text, i, j], relations, rtol=1e-3, atol=1e-4
                )
        assert (found["arcs"].numpy()[text, :, count + 1 :] == -1e4).all()


@pytest.mark.parametrize("seed", range(4))
def test_decoded_heads_are_trees(seed):
    made = head(seed)
    decoded = {k: np.asarray(v) for k, v in made.decode(made(features(9))).items()}
    for text, count in enumerate((9, 4, 0)):
        assert not count or is_tree(decoded["heads"][text, :count])
        assert (decoded["relations"][text, :count] >= 0).all()
        for name, nothing in (("heads", -1), ("relations", -1), ("scores", 0)):
            assert (decoded[name][text, count:] == nothing).all()
    assert ((decoded["scores"] >= 0) & (decoded["scores"] <= 1)).all()


def test_relation_probabilities_are_those_of_arc_and_relation():
    made = head()
    found = made(features())
    chances = np.asarray(made.label_probabilities(found))
    np.testing.assert_allclose(chances[0].sum(axis=-1), 1.0, rtol=1e-5)
    assert not chances[1, 2:].any() and not chances[2].any()


def test_loss_by_hand():
    arcs = [[0.0, -1e4, np.log(3.0)], [np.log(4.0), 0.0, -1e4]]
    relations = np.zeros((2, 3, 4))
    relations[0, 2, 3] = np.log(3.0)
    # Word 1 on word 2: 3/4, obj: 3/6. Word 2 on the root: 4/5; relation unknown.
    truth = label([2, 0], [3, -1])
    loss = losses.Dependencies()
    found = loss.call(truth, raw(arcs, relations))
    expected = -np.log(3 / 4) - np.log(3 / 6) - np.log(4 / 5)
    np.testing.assert_allclose(found, [expected], rtol=1e-6)
    np.testing.assert_array_equal(loss.count(truth, raw(arcs)), [2.0])


def test_words_without_head_do_not_count():
    arcs = np.random.default_rng(0).normal(size=(3, 4))
    loss = losses.Dependencies()
    one = loss.call(label([2, -1, -1], [1, 2, -1]), raw(arcs))
    arcs[1:] += 7.0 * np.arange(4)
    np.testing.assert_allclose(loss.call(label([2, -1, -1], [1, 0, 0]), raw(arcs)), one)


def test_attachment_scores_by_hand():
    # Heads 2, 0, 2, 3 with relations obj, root, nsubj, obj.
    arcs = np.zeros((4, 5))
    arcs[np.arange(4), [2, 0, 2, 3]] = 5.0
    relations = np.zeros((4, 5, 4))
    relations[np.arange(4), :, [3, 0, 1, 3]] = 1.0
    uas, las = evaluation.UAS(), evaluation.LAS(RELATIONS)
    # The third is nsubj:pass, of which nsubj counts; the fourth hangs elsewhere.
    truth = label([2, 0, 2, 2], [1, 0, 2, 3])
    for metric, expected in ((uas, 3 / 4), (las, 2 / 4)):
        metric.update_state(truth, raw(arcs, relations))
        assert float(metric.result()) == pytest.approx(expected)
        metric.update_state(truth, raw(arcs, relations), sample_weight=[0.0])
        assert float(metric.result()) == pytest.approx(expected)


def test_words_that_are_not_scored_are_not_in_the_tree():
    arcs = np.zeros((3, 4))
    arcs[0, 2], arcs[0, 3], arcs[1, 0], arcs[2, 0] = 9.0, 5.0, 9.0, 5.0
    metric = evaluation.UAS()
    metric.update_state(label([3, 1, 0], [0, 0, 0], [True, False, True]), raw(arcs))
    assert float(metric.result()) == 1.0


def test_saved_model_returns_trees(tmp_path):
    made = head()
    made(features())
    shapes = {
        n: tf.TensorSpec((None, None, *v.shape[2:]), v.dtype)
        for n, v in features().items()
    }
    module = tf.Module()
    module.made = made
    module.parse = tf.function(lambda f: made.decode(made(f)), input_signature=[shapes])
    tf.saved_model.save(module, str(tmp_path / "saved"))
    again = tf.saved_model.load(str(tmp_path / "saved"))
    for words in (5, 8):
        expected = made.decode(made(features(words)))
        for name, found in again.parse(features(words)).items():
            np.testing.assert_allclose(found, expected[name], atol=1e-5)


def test_config_round_trip_and_every_weight_has_a_gradient():
    made, given = head(dropout=0.1), features()
    assert type(made).from_config(made.get_config()).get_config() == made.get_config()
    truth = {
        "heads": np.array([[2, 0, 2, 3, 4], [0, 1, -1, -1, -1], [-1] * 5]),
        "relations": np.array([[1, 0, 3, 2, 1], [0, 3, -1, -1, -1], [-1] * 5]),
    }
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(losses.Dependencies().call(truth, made(given)))
    gradients = tape.gradient(loss, made.trainable_weights)
    for weight, gradient in zip(made.trainable_weights, gradients, strict=True):
        assert np.any(gradient), weight.path


def test_scores_are_float32_in_half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        made = DependencyParsing(RELATIONS, arc_units=4, relation_units=3)
    finally:
        keras.config.set_dtype_policy("float32")
    given = features()
    found = made({**given, "words": tf.cast(given["words"], tf.float16)})
    assert found["arcs"].dtype == found["relations"].dtype == tf.float32
    assert np.isfinite(found["arcs"]).all()


def test_it_learns_to_parse():
    keras.utils.set_random_seed(0)
    made = head(dropout=0.0, arc_units=16, relation_units=8)
    given = features(8)
    truth = {
        "heads": np.array([[3, 1, 0, 3, 6, 3, 2, 1], [2, 0, 2, 3] + [-1] * 4, [-1] * 8])
    }
    truth["relations"] = np.where(truth["heads"] < 0, -1, truth["heads"] % 4)
    optimizer, loss = keras.optimizers.Adam(0.03), losses.Dependencies()

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(loss.call(truth, made(given, training=True)))
        gradients = tape.gradient(value, made.trainable_weights)
        optimizer.apply_gradients(zip(gradients, made.trainable_weights, strict=True))

    for _ in range(150):
        step()
    metric = mtl.evaluation.LAS(RELATIONS)
    metric.update_state(truth, made(given))
    assert float(metric.result()) > 0.9


def test_errors_say_what_was_received():
    for relations in ([], ["obj", "obj"]):
        with pytest.raises(ValueError, match="Received"):
            DependencyParsing(relations)
