"""Which set comes next: how often, in which order, and after a restart."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo.data import sampling

SIZES = {"b": 900, "a": 100}
DRAWS = 4000


def streams():
    """Endless numbers; thousands tell the set."""
    return {
        name: tf.data.Dataset.counter(start=1000 * (i + 1)).map(lambda x: x)
        for i, name in enumerate(SIZES)
    }


def drawn(rule, count, seed=0):
    both = sampling.mix(
        {n: tf.data.Dataset.from_tensors(n).repeat() for n in SIZES}, rule, seed
    )
    return [x.decode() for x in both.take(count).as_numpy_iterator()]


@pytest.mark.parametrize(
    ("rule", "position", "expected"),
    [
        (sampling.Uniform(), 5, [0.5, 0.5]),
        (sampling.Proportional(SIZES), 5, [0.9, 0.1]),
        (sampling.Temperature(SIZES, 2.0), 5, [0.75, 0.25]),  # 30 : 10
        (sampling.RoundRobin(), 5, [0.0, 1.0]),
        (sampling.Blocks(3), 2, [1.0, 0.0]),
        (sampling.Blocks(3), 5, [0.0, 1.0]),
        (sampling.Blocks(3), 6, [1.0, 0.0]),
        (sampling.Annealed(SIZES, epochs=3, per_epoch=10), 9, [0.9, 0.1]),
        (
            sampling.Annealed(SIZES, epochs=3, per_epoch=10),
            10,
            np.array([900**0.6, 100**0.6]) / (900**0.6 + 100**0.6),
        ),
        (
            sampling.Annealed(SIZES, epochs=3, per_epoch=10),
            1000,
            np.array([900**0.2, 100**0.2]) / (900**0.2 + 100**0.2),
        ),
    ],
)
def test_probabilities(rule, position, expected):
    found = rule.probabilities(list(SIZES), tf.constant(position, tf.int64))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("rule", "chance"),
    [
        (sampling.Uniform(), 0.5),
        (sampling.Proportional(SIZES), 0.9),
        (sampling.Temperature(SIZES, 2.0), 0.75),
    ],
)
def test_frequencies_are_the_probabilities(rule, chance):
    share = Counter(drawn(rule, DRAWS))["b"] / DRAWS
    assert abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / DRAWS)


def test_round_robin_takes_turns():
    assert drawn(sampling.RoundRobin(), 5) == ["b", "a", "b", "a", "b"]


def test_the_seed_decides_the_order():
    rule = sampling.Uniform()
    assert drawn(rule, 50, seed=1) == drawn(rule, 50, seed=1)
    assert drawn(rule, 50, seed=1) != drawn(rule, 50, seed=2)


def test_names_keep_their_order_whatever_that_of_the_sizes():
    rule = sampling.Proportional({"a": 100, "b": 900})
    np.testing.assert_allclose(rule.probabilities(["b", "a"], 0), [0.9, 0.1], 1e-5)


def test_every_stream_goes_on_where_it_was():
    found = list(
        sampling.mix(streams(), sampling.Uniform(), 0).take(100).as_numpy_iterator()
    )
    for thousand in (1000, 2000):
        own = [x for x in found if x // 1000 * 1000 == thousand]
        assert own == list(range(thousand, thousand + len(own)))


RESTART = """
import sys, tensorflow as tf
from mtl_zoo.data import sampling
streams = {n: tf.data.Dataset.counter(start=1000 * (i + 1)).map(lambda x: x)
           for i, n in enumerate("ba")}
rule = sampling.Annealed({"b": 900, "a": 100}, epochs=3, per_epoch=10)
iterator = iter(sampling.mix(streams, rule, 7).batch(3))
tf.train.Checkpoint(iterator=iterator).read(sys.argv[1]).assert_consumed()
print([x for _ in range(5) for x in next(iterator).numpy().tolist()])
"""


def test_a_new_process_goes_on_exactly(tmp_path):
    rule = sampling.Annealed(SIZES, epochs=3, per_epoch=10)
    iterator = iter(sampling.mix(streams(), rule, 7).batch(3))
    for _ in range(4):
        next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).write(str(tmp_path / "here"))
    expected = [x for _ in range(5) for x in next(iterator).numpy().tolist()]
    done = subprocess.run(
        [sys.executable, "-c", RESTART, path], capture_output=True, text=True
    )
    assert done.stdout.strip() == str(expected), done.stderr


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sampling.Proportional({"a": 0}), "above 0"),
        (lambda: sampling.Proportional({}), "above 0"),
        (lambda: sampling.Temperature(SIZES, 0), "above 0"),
        (lambda: sampling.Annealed(SIZES, epochs=1, per_epoch=5), "at least 2 epochs"),
        (lambda: sampling.Blocks(0), "at least 1 position"),
        (lambda: sampling.mix({}, sampling.Uniform(), 0), "at least one stream"),
        (
            lambda: sampling.mix(
                {"a": tf.data.Dataset.range(3)}, sampling.Uniform(), 0
            ),
            "ends after 3",
        ),
        (
            lambda: sampling.mix(streams(), sampling.Proportional({"c": 1}), 0),
            "Expected sizes for the streams",
        ),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_stream_that_ends_unannounced_ends_the_mixture():
    """Rather than leave one of the sets out from there on, silently."""
    short = tf.data.Dataset.range(3).filter(lambda x: x >= 0)
    both = sampling.mix(
        {"b": short, "a": tf.data.Dataset.counter()}, sampling.RoundRobin(), 0
    )
    assert len(list(both)) == 6
