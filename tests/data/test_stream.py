import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo.data import stream


def indices(number, seed, count):
    taken = stream.training_stream(number, seed).take(count)
    return np.array([int(index) for index, _ in taken]).reshape(-1, number)


def test_every_epoch_is_another_permutation():
    epochs = indices(number=50, seed=3, count=200)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), [np.arange(50)] * 4)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_seed_decides():
    np.testing.assert_array_equal(indices(20, 1, 60), indices(20, 1, 60))
    assert (indices(20, 1, 60) != indices(20, 2, 60)).any()


def test_element_seeds_differ_between_visits_of_an_example():
    seeds = [tuple(seed.numpy()) for _, seed in stream.training_stream(5, 0).take(50)]
    assert len(set(seeds)) == 50


def test_one_example_is_enough_and_none_is_not():
    assert indices(1, 0, 3).tolist() == [[0], [0], [0]]
    with pytest.raises(ValueError, match="num_examples=0"):
        stream.training_stream(0, seed=0)


def test_order_does_not_depend_on_threads_or_speed():
    def example(index, seed):
        work = tf.random.stateless_normal(
            (1 + 200 * tf.cast(index % 7, tf.int32),), seed
        )
        return index, tf.reduce_sum(work)

    def run(threads):
        dataset = stream.batches(stream.training_stream(20, 0), example, 4)
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        return [b for b in dataset.with_options(options).take(15).as_numpy_iterator()]

    for one, many in zip(run(1), run(4), strict=True):
        np.testing.assert_array_equal(one[0], many[0])
        np.testing.assert_array_equal(one[1], many[1])
