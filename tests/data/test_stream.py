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


def test_rows_are_permuted_anew_each_epoch_and_continue_from_a_checkpoint(tmp_path):
    rows = {"a": np.arange(10), "b": np.arange(10) * 2.0}
    iterator = iter(stream.row_batches(rows, 3, seed=1))
    found = [next(iterator) for _ in range(4)]  # into the second epoch
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "state"))
    found += [next(iterator) for _ in range(2)]
    first, second = (np.stack([b["a"] for b in found[i : i + 3]]) for i in (0, 3))
    assert len(set(first.ravel())) == len(set(second.ravel())) == 9
    assert (first != second).any()
    np.testing.assert_array_equal(found[0]["b"], 2.0 * found[0]["a"].numpy())

    same = iter(stream.row_batches(rows, 3, seed=1))
    np.testing.assert_array_equal(next(same)["a"], found[0]["a"])
    tf.train.Checkpoint(iterator=same).restore(path).assert_consumed()
    np.testing.assert_array_equal(next(same)["a"], found[4]["a"])
    other = next(iter(stream.row_batches(rows, 3, seed=2)))
    assert (other["a"] != found[0]["a"]).numpy().any()


def test_no_batch_is_larger_than_the_rows():
    with pytest.raises(ValueError, match=r"1 to 10 rows.*batch_size=11"):
        stream.row_batches(np.arange(10), 11, seed=0)
