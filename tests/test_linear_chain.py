"""Against brute force over all paths."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo import linear_chain

TAGS, TIME = 3, 4
LENGTHS = (4, 3, 1, 0, 2)


@pytest.fixture
def chain():
    rng = np.random.default_rng(0)
    emissions = rng.normal(size=(len(LENGTHS), TIME, TAGS)).astype("float32")
    transitions = rng.normal(size=(TAGS, TAGS)).astype("float32")
    mask = np.arange(TIME) < np.array(LENGTHS)[:, None]
    return emissions, transitions, mask


def scores_of_all_paths(emissions, transitions, length):
    paths = list(itertools.product(range(TAGS), repeat=length))
    scores = [
        sum(emissions[t, tag] for t, tag in enumerate(path))
        + sum(transitions[a, b] for a, b in itertools.pairwise(path))
        for path in paths
    ]
    return paths, np.array(scores, "float64")


def modes():
    """Eager, in a graph that knows no size, and compiled by XLA."""
    return {
        "eager": lambda function: function,
        "unknown sizes": lambda function: tf.function(
            function,
            autograph=False,
            input_signature=[
                tf.TensorSpec([None, None, TAGS]),
                tf.TensorSpec([TAGS, TAGS]),
                tf.TensorSpec([None, None], tf.bool),
            ],
        ),
        "xla": lambda function: tf.function(
            function, autograph=False, jit_compile=True
        ),
    }


@pytest.fixture(params=modes())
def mode(request):
    return modes()[request.param]


def test_the_normalizer_sums_over_all_paths(chain, mode):
    found = mode(linear_chain.log_normalizer)(*map(tf.constant, chain)).numpy()
    for row, length in enumerate(LENGTHS):
        if not length:
            assert found[row] == 0
            continue
        _, scores = scores_of_all_paths(chain[0][row], chain[1], length)
        assert found[row] == pytest.approx(np.log(np.exp(scores).sum()), rel=1e-5)


def test_viterbi_finds_the_best_path(chain, mode):
    found = mode(linear_chain.viterbi)(*map(tf.constant, chain)).numpy()
    for row, length in enumerate(LENGTHS):
        if length:
            paths, scores = scores_of_all_paths(chain[0][row], chain[1], length)
            assert tuple(found[row, :length]) == paths[scores.argmax()]
        assert (found[row, length:] == 0).all()


def test_marginals_sum_over_paths_through_a_tag(chain, mode):
    found = mode(linear_chain.marginals)(*map(tf.constant, chain)).numpy()
    for row, length in enumerate(LENGTHS):
        assert (found[row, length:] == 0).all()
        if not length:
            continue
        paths, scores = scores_of_all_paths(chain[0][row], chain[1], length)
        chances = np.exp(scores) / np.exp(scores).sum()
        for t, tag in itertools.product(range(length), range(TAGS)):
            through = [path[t] == tag for path in paths]
            assert found[row, t, tag] == pytest.approx(chances[through].sum(), abs=1e-5)


def test_path_score_is_the_sum_along_the_path(chain):
    emissions, transitions, mask = chain
    tags = np.random.default_rng(1).integers(0, TAGS, (len(LENGTHS), TIME))
    tags[~mask] = -1
    found = linear_chain.path_score(emissions, transitions, tags, mask).numpy()
    for row, length in enumerate(LENGTHS):
        paths, scores = scores_of_all_paths(emissions[row], transitions, length)
        expected = scores[paths.index(tuple(tags[row, :length]))]
        assert found[row] == pytest.approx(expected, abs=1e-5)


def test_transitions_may_differ_between_samples(chain):
    emissions, transitions, mask = chain
    tiled = np.tile(transitions, (len(LENGTHS), 1, 1))
    for function in (
        linear_chain.log_normalizer,
        linear_chain.viterbi,
        linear_chain.marginals,
    ):
        np.testing.assert_allclose(
            function(emissions, tiled, mask),
            function(emissions, transitions, mask),
            atol=1e-6,
        )


def test_the_gradient_of_the_normalizer_is_the_marginals(chain):
    emissions, transitions, mask = map(tf.constant, chain)
    with tf.GradientTape() as tape:
        tape.watch(emissions)
        total = linear_chain.log_normalizer(emissions, transitions, mask)
    np.testing.assert_allclose(
        tape.gradient(total, emissions),
        linear_chain.marginals(emissions, transitions, mask),
        atol=1e-6,
    )


def test_what_lies_behind_the_mask_changes_nothing(chain):
    emissions, transitions, mask = chain
    longer = np.pad(emissions, ((0, 0), (0, 3), (0, 0)), constant_values=7)
    wider = np.pad(mask, ((0, 0), (0, 3)))
    np.testing.assert_allclose(
        linear_chain.log_normalizer(longer, transitions, wider),
        linear_chain.log_normalizer(emissions, transitions, mask),
        atol=1e-6,
    )
    np.testing.assert_array_equal(
        linear_chain.viterbi(longer, transitions, wider)[:, :TIME],
        linear_chain.viterbi(emissions, transitions, mask),
    )


def test_forbidden_transitions_and_long_rows_stay_finite():
    time = 2000
    rng = np.random.default_rng(0)
    emissions = tf.constant(rng.normal(size=(2, time, TAGS)), tf.float32)
    transitions = tf.constant([[0.0, -1e4, 0.0], [0.0, 0.0, -1e4], [0.0, 0.0, 0.0]])
    mask = tf.ones((2, time), tf.bool)
    with tf.GradientTape() as tape:
        tape.watch(emissions)
        total = linear_chain.log_normalizer(emissions, transitions, mask)
    gradient = tape.gradient(total, emissions)
    assert np.isfinite(total).all() and np.isfinite(gradient).all()
    np.testing.assert_allclose(tf.reduce_sum(gradient, -1), 1.0, atol=1e-3)
    tags = linear_chain.viterbi(emissions, transitions, mask).numpy()
    pairs = set(zip(tags[:, :-1].ravel(), tags[:, 1:].ravel(), strict=True))
    assert not pairs & {(0, 1), (1, 2)}


def test_one_word_needs_no_transition(mode):
    emissions = tf.constant([[[0.0, 3.0, -9.0]]])
    mask = tf.constant([[True]])
    transitions = tf.fill([TAGS, TAGS], 100.0)
    best = mode(linear_chain.viterbi)(emissions, transitions, mask)
    assert best.numpy() == [[1]]
    chances = mode(linear_chain.marginals)(emissions, transitions, mask)
    np.testing.assert_allclose(chances[0, 0], tf.nn.softmax(emissions[0, 0]), atol=1e-6)
    assert float(linear_chain.log_normalizer(emissions, transitions, mask)[0]) == (
        pytest.approx(np.log(1 + np.exp(3) + np.exp(-9)), rel=1e-6)
    )
