"""Trees are trees, with one root, and the best of all."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo.spanning_tree import maximum_spanning_tree


def is_tree(heads) -> bool:
    """Whether heads, 0 being the root, form a tree with one word on the root."""
    if sum(head == 0 for head in heads) != 1:
        return False
    for word in range(1, len(heads) + 1):
        seen = set()
        while word:
            if word in seen:
                return False
            seen.add(word)
            word = heads[word - 1]
    return True


def trees(words):
    """All trees of so many words."""
    every = itertools.product(range(words + 1), repeat=words)
    return np.array([heads for heads in every if is_tree(heads)])


def score(scores, heads):
    return sum(scores[word, head] for word, head in enumerate(heads))


# Cayley: n ** (n - 2) trees, each with n choices of the root.
@pytest.mark.parametrize("words", range(1, 6))
def test_best_of_all_trees(words):
    every = trees(words)
    assert len(every) == words ** (words - 1)
    scores = np.random.default_rng(words).normal(size=(300, words, words + 1))
    scores = scores.astype("float32")
    found = np.asarray(maximum_spanning_tree(scores, np.ones((300, words), bool)))
    assert found.dtype == np.int32
    totals = scores[:, np.arange(words), every].sum(axis=-1)  # (300, trees)
    best = every[totals.argmax(axis=1)]
    np.testing.assert_array_equal(found, best)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_long_sentences_have_one_root_and_no_cycle(scale):
    rng = np.random.default_rng(0)
    scores = (scale * rng.normal(size=(16, 40, 41))).astype("float32")
    lengths = np.append(rng.integers(1, 41, 15), 0)
    mask = np.arange(40) < lengths[:, None]
    found = np.asarray(maximum_spanning_tree(scores, mask))
    for heads, length in zip(found, lengths, strict=True):
        assert not length or is_tree(heads[:length])
        assert (heads[length:] == -1).all()


def test_trees_need_not_be_projective():
    scores = np.zeros((1, 4, 5), "float32")
    heads = [3, 4, 0, 3]  # Arcs 3 -> 1 and 4 -> 2 cross.
    scores[0, np.arange(4), heads] = 1.0
    found = maximum_spanning_tree(scores, np.ones((1, 4), bool))
    assert np.asarray(found).tolist() == [heads]


def test_what_is_no_word_has_no_effect_wherever_it_is():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(1, 6, 7)).astype("float32")
    mask = np.array([[True, False, True, True, False, True]])
    (places,) = np.nonzero(mask[0])
    nodes = np.append(0, places + 1)
    small = scores[:, places][:, :, nodes]
    alone = np.asarray(maximum_spanning_tree(small, np.ones((1, 4), bool)))
    found = np.asarray(maximum_spanning_tree(scores, mask))
    np.testing.assert_array_equal(found[0, places], nodes[alone[0]])
    assert (found[~mask] == -1).all()


@pytest.mark.parametrize("compiled", [False, True])
def test_in_a_graph_of_unknown_shape_and_in_xla(compiled):
    scores = np.random.default_rng(2).normal(size=(4, 5, 6)).astype("float32")
    mask = np.ones((4, 5), bool)
    shapes = (None, None, None), (None, None)
    graph = tf.function(
        lambda s, m: maximum_spanning_tree(s, m),
        input_signature=[tf.TensorSpec(shapes[0]), tf.TensorSpec(shapes[1], tf.bool)],
        jit_compile=compiled,
    )
    expected = maximum_spanning_tree(scores, mask)
    np.testing.assert_array_equal(graph(scores, mask), expected)
